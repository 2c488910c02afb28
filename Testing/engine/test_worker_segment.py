"""The job ``segment``: the same result as without a worker, models that stay loaded, and what a full GPU leads to."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.errors import CancelledError, ConfigError, EmptyInputError, GpuOutOfMemoryError, ModelError
from hlfd.events import Stage, Warn
from hlfd.inference import Segmenter, segmenter
from hlfd.models.registry import find
from hlfd.worker import job_segment
from hlfd.worker.context import JobContext


@pytest.fixture(autouse=True)
def own_models(models_folder, tmp_path, monkeypatch):
    """The user's models are a copy of those of the tests, which a test may damage."""
    root = tmp_path / "Models"
    shutil.copytree(models_folder, root)
    monkeypatch.setenv("HLFD_MODELS", str(root))
    return root


@pytest.fixture
def context(tmp_path, patient):
    """Build the context of a job; it keeps its warm models and its events."""
    folder = tmp_path / "job"
    folder.mkdir()
    volume, events = patient[0], []
    arguments = {"settings": {"model": "exact"}, "affine": volume.affine.tolist(), "name": volume.name}
    made = JobContext(folder, arguments, {"volume": volume.array}, events.append)
    made.events = events
    return made


def labels_of(context, answer):
    whole = np.zeros(context.arrays["volume"].shape, np.uint8)
    part = np.load(context.folder / "out-labels.npy")
    whole[tuple(slice(a, a + n) for a, n in zip(answer["start"], part.shape))] = part
    return whole


def test_the_answer_equals_a_run_without_worker(context, patient):
    expected = Segmenter(find("exact"), SegmentSettings(model="exact")).run(patient[0])
    answer = job_segment.run(context)
    assert np.array_equal(labels_of(context, answer), expected.label_map.array)
    assert answer["result"]["lesions"] == expected.to_dict()["lesions"]
    assert [label["name"] for label in answer["labels"]] == [label.name for label in expected.label_map.labels]
    assert answer["notice"] == "Demonstration, not for clinical use."


def test_a_volume_without_organ_gives_an_empty_part(context):
    context.arrays = {"volume": np.full((20, 30, 30), -1000, np.int16)}
    answer = job_segment.run(context)
    assert np.load(context.folder / "out-labels.npy").size == 0
    assert answer["start"] == [0, 0, 0]


def test_the_model_stays_loaded(context):
    for _ in range(2):
        job_segment.run(context)
    assert context.events.count(Stage("load model")) == 1


def test_a_model_whose_file_was_damaged_since_is_not_used_on(context, own_models):
    job_segment.run(context)
    weights = own_models / "exact" / "1.0.0" / "refiner.bin"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    with pytest.raises(ModelError, match="was changed or is damaged") as caught:
        job_segment.run(context)
    assert caught.value.code == "model_corrupt"
    assert "refiner.bin" in caught.value.message


def test_other_settings_load_the_model_anew(context):
    job_segment.run(context)
    context.arguments = {**context.arguments, "settings": {"model": "exact", "mode": "box"}}
    assert job_segment.run(context)["result"]["mode"] == "box"


def test_a_cancelled_job_stops_at_the_next_stage(context):
    context.on_event = lambda event: context.cancel.cancel() if event == Stage("refine") else None
    with pytest.raises(CancelledError):
        job_segment.run(context)
    assert not (context.folder / "out-labels.npy").exists()


def test_a_job_without_volume_is_refused(context):
    context.arrays = {}
    with pytest.raises(EmptyInputError, match="no volume"):
        job_segment.run(context)


def test_a_misspelt_setting_names_the_nearest(context):
    context.arguments = {**context.arguments, "settings": {"devise": "cpu"}}
    with pytest.raises(ConfigError, match='Did you mean "device"'):
        job_segment.run(context)


@pytest.fixture
def full_gpu(monkeypatch):
    """Let the pipeline believe in a GPU on which not even a network fits; returns the devices that were tried."""
    tried = []
    choose, load = segmenter.choose_backend, segmenter.load_backend

    def choose_gpu(settings, entries):
        return choose(settings, entries) if settings.device == "cpu" else ("torch", "cuda:0")

    def load_on(entry, kind, device, threads):
        tried.append(device)
        if device.startswith("cuda"):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return load(entry, kind, device, threads)

    monkeypatch.setattr(segmenter, "choose_backend", choose_gpu)
    monkeypatch.setattr(segmenter, "load_backend", load_on)
    return tried


def test_a_full_gpu_leads_to_the_cpu_and_the_result_says_so(context, full_gpu, patient):
    answer = job_segment.run(context)
    assert answer["result"]["device"] == "cpu"
    assert answer["result"]["warnings"] == (
        "The GPU ran out of memory, so the image was worked on in smaller blocks.",
        "The GPU has too little free memory, so the CPU was used.",
    )
    assert [event.message for event in context.events if isinstance(event, Warn)] == list(answer["result"]["warnings"])
    assert full_gpu[:2] == ["cuda:0", "cuda:0"]
    assert np.count_nonzero(labels_of(context, answer)) > 1000


def test_the_next_job_tries_the_gpu_again(context, full_gpu):
    job_segment.run(context)
    full_gpu.clear()
    job_segment.run(context)
    assert full_gpu[0] == "cuda:0"


def test_where_the_cpu_was_chosen_a_gpu_error_is_not_hidden(context, monkeypatch):
    def load(entry, kind, device, threads):
        raise GpuOutOfMemoryError("The GPU is full.")

    monkeypatch.setattr(segmenter, "load_backend", load)
    context.arguments = {**context.arguments, "settings": {"model": "exact", "device": "cpu"}}
    with pytest.raises(GpuOutOfMemoryError):
        job_segment.run(context)
