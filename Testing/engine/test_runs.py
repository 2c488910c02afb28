"""Runs: a training in its own process, followed, paused, cancelled and found again by the files in its folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from hlfd.config import read_yaml
from hlfd.errors import BusyError, ConfigError, MissingInputError, ModelError, UsageError
from hlfd.events import Metric, Progress, Stage
from hlfd.models.package import file_sha256, load_package
from hlfd.models.registry import find
from hlfd.project import Project
from hlfd.runs import DistilSettings, Run, RunSettings, Sample, State, command, export, list_runs, register, start_run
from hlfd.runs.distil import localised, of_project
from hlfd.runs.files import EventReader, read_object
from hlfd.runs.lock import holder
from hlfd.runs.outcome import rows_of, worse_in
from hlfd.runs.process import lives, start_time
from hlfd.runs.recorder import Recorder, panel_names
from hlfd.runs.settings import read_settings, write_settings
from hlfd.runs.work import roles_of
from Testing.tiny_training import QUICK, training_place, wait_for, wait_for_end, write_tiny_model

ENDLESS = replace(QUICK, steps=100_000)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A user's models and lock, apart from everyone else's."""
    with training_place(tmp_path_factory.mktemp("runs")) as root:
        yield root


@pytest.fixture(scope="module")
def finished(place) -> Run:
    """A run that nobody disturbed."""
    run = start_run(place / "project", QUICK)
    wait_for_end(run)
    assert run.state is State.FINISHED, f"{run.error} {run.log_tail()}"
    return run


@pytest.fixture
def started(place, request):
    """Start runs, which are gone after the test."""
    runs: list[Run] = []

    def start(settings: RunSettings = ENDLESS) -> Run:
        runs.append(start_run(place / "project", settings))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()
        wait_for_end(run)
        run.remove()


def trains(run: Run) -> bool:
    """Return whether it came to a first step."""
    return (run.files.work / "run" / "metrics.jsonl").is_file() and "step" in run.files.events.read_text("utf-8")


class TestAFinishedRun:
    def test_its_events_tell_what_a_panel_draws(self, finished):
        events = Run(finished.folder).poll()
        assert [event.name for event in events if isinstance(event, Stage)][:1] == ["prepare"]
        names = {name for event in events if isinstance(event, Metric) for name in event.values}
        assert {"loss", "loss/dice_ce", "dice", "dice/kidney", "dice/tumor"} <= names
        assert any(isinstance(event, Progress) and event.total == QUICK.steps for event in events)

    def test_an_example_slice_is_kept_for_each_validation(self, finished):
        events = Run(finished.folder).poll()
        samples = [event for event in events if isinstance(event, Sample)]
        validated = [event.step for event in events if isinstance(event, Metric) and "dice" in event.values]
        assert samples[0].step == 0
        assert samples[-1].step == validated[-1] > 0  # it may have stopped before its last step
        with np.load(finished.folder / samples[-1].file, allow_pickle=False) as data:
            assert data["image"].shape == data["label"].shape == data["prediction"].shape
            assert data["label"].max() > 0
            assert list(data["names"]) == ["background", "kidney", "tumor", "cyst"]

    def test_its_result_compares_held_out_cases_and_keeps_their_label_maps(self, finished):
        result = finished.result()
        assert {row["case"] for row in result["rows"]} == {"case-0003"}
        assert {"tumor", "kidney_and_masses"} <= {row["label"] for row in result["rows"]}
        assert set(result["summary"]["tumor"]) == {"before", "after"}
        assert not result["flattered"]
        files = result["predictions"]["case-0003"]
        assert all(Path(files[name]).is_file() for name in ("image", "before", "after", "reference"))
        assert load_package(Path(result["package"])).version == "1.0.0.1"

    def test_its_package_is_registered_once_and_leaves_the_old_one(self, finished, place):
        before = file_sha256(place / "models" / "tiny" / "1.0.0" / "refiner.safetensors")
        package = register(finished)
        assert register(finished).folder == package.folder == find("tiny").folder
        assert file_sha256(place / "models" / "tiny" / "1.0.0" / "refiner.safetensors") == before
        provenance = package.metadata["provenance"]
        assert provenance["finetuned_from"] == "tiny 1.0.0"
        assert provenance["local_cases"] == {"train": 1, "held_out": 2}

    def test_a_model_that_has_its_version_already_is_not_replaced(self, finished, place, tmp_path, monkeypatch):
        monkeypatch.setenv("HLFD_MODELS", str(tmp_path))
        other = write_tiny_model(tmp_path, version="1.0.0.1")
        before = {path.name: file_sha256(path) for path in other.folder.iterdir()}
        package = register(finished)
        assert package.version == "1.0.0.2"
        assert (
            load_package(package.folder).metadata["provenance"]
            == find(finished.result()["package"]).metadata["provenance"]
        )
        assert register(finished).folder == package.folder
        assert {path.name: file_sha256(path) for path in other.folder.iterdir()} == before

    def test_its_package_can_be_taken_along_as_a_zip_file(self, finished, tmp_path):
        path = export(finished, "zip", tmp_path / "model.zip")
        assert "tiny/1.0.0.1/model.json" in zipfile.ZipFile(path).namelist()

    def test_its_paths_follow_a_project_that_is_moved(self, finished, tmp_path):
        shutil.copytree(finished.folder.parents[1], tmp_path / "moved")
        result = Run(tmp_path / "moved" / "runs" / finished.id).result()
        assert Path(result["package"]).is_relative_to(tmp_path)
        assert all(Path(path).is_file() for path in result["predictions"]["case-0003"].values())
        assert register(finished).version == load_package(Path(result["package"])).version

    def test_it_is_found_again_in_its_project(self, finished, place):
        found = list_runs(place / "project")[0]
        assert (found.folder, found.state, found.settings.model) == (finished.folder, State.FINISHED, "tiny/1.0.0")

    def test_it_cannot_be_resumed(self, finished):
        with pytest.raises(UsageError, match="is finished"):
            finished.resume()


def test_a_run_that_is_killed_and_paused_ends_with_the_weights_of_an_unbroken_one(finished, started):
    run = started(replace(QUICK, model="tiny/1.0.0"))
    wait_for(run, lambda: trains(run) or not run.state.active)
    run.kill()
    wait_for(run, lambda: run.state is State.INTERRUPTED)
    run.resume()
    wait_for(run, lambda: run.state is State.RUNNING)
    run.pause()
    wait_for_end(run)
    if run.state is State.PAUSED:
        run.resume()
        wait_for_end(run)
    assert run.state is State.FINISHED, f"{run.error} {run.log_tail()}"
    first, second = (Path(each.result()["package"]) / "refiner.safetensors" for each in (finished, run))
    assert file_sha256(first) == file_sha256(second)


def test_a_second_run_is_refused_and_the_first_one_cancelled(started, place):
    run = started()
    with pytest.raises(BusyError, match=rf"running already: {run.id} in .*project"):
        start_run(place / "project", QUICK)
    wait_for(run, lambda: trains(run) or not run.state.active)
    assert holder() == run.folder
    run.cancel()
    wait_for_end(run)
    assert run.state is State.CANCELLED
    assert not run.files.work.exists()
    assert holder() is None
    assert len(Project.open(place / "project").cases) == 3


def test_a_run_that_shall_not_outlive_its_owner_pauses_when_that_is_killed(place):
    program = (
        "import sys, time; from dataclasses import replace; from hlfd.runs import start_run\n"
        "from Testing.tiny_training import QUICK\n"
        "print(start_run(sys.argv[1], replace(QUICK, steps=100000, after_close='pause')).folder, flush=True)\n"
        "time.sleep(600)"
    )
    command_line = [sys.executable, "-c", program, str(place / "project")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        run = Run(Path(owner.stdout.readline().strip()))
        wait_for(run, lambda: trains(run) or not run.state.active)
        owner.send_signal(signal.SIGKILL)
    wait_for_end(run)
    assert run.state is State.PAUSED
    run.cancel()
    assert run.state is State.CANCELLED
    run.remove()


class TestRefusals:
    def test_a_project_that_is_not_there(self, place):
        with pytest.raises(MissingInputError):
            start_run(place / "nowhere", QUICK)

    def test_an_unknown_student(self, place):
        with pytest.raises(ModelError, match="no model"):
            start_run(place / "project", replace(QUICK, model="unheard-of"))

    def test_settings_that_make_no_sense(self):
        with pytest.raises(ConfigError, match="continue"):
            RunSettings(after_close="continu")

    def test_a_run_without_result(self, tmp_path):
        write_settings(tmp_path / "settings.json", QUICK)
        run = Run(tmp_path)
        assert run.state is State.INTERRUPTED
        with pytest.raises(UsageError, match="no result"):
            run.result()


class TestFiles:
    def test_settings_are_read_as_they_were_written(self, tmp_path):
        for settings in (QUICK, DistilSettings("recipe.yaml", stages=("prepare",), folds=(0, 1))):
            write_settings(tmp_path / "settings.json", settings)
            assert read_settings(tmp_path / "settings.json") == settings

    def test_events_are_read_once_and_a_torn_line_is_left_for_later(self, tmp_path):
        path = tmp_path / "events.jsonl"
        reader = EventReader(path)
        assert reader.read() == []
        recorder = Recorder(path)
        recorder.on_event(Stage("train"))
        with path.open("ab") as stream:
            stream.write(b'{"event": "metric", "step": 3, "val')
        assert reader.read() == [Stage("train")]
        with path.open("ab") as stream:
            stream.write(b'ues": {"loss": 1.0}}\n')
        assert reader.read() == [Metric(3, {"loss": 1.0})]
        assert reader.read() == []

    def test_after_a_kill_in_the_middle_of_a_line_the_next_event_is_read(self, tmp_path):
        path = tmp_path / "events.jsonl"
        path.write_bytes(b'{"event": "stage", "na')
        Recorder(path).on_event(Stage("train"))
        assert EventReader(path).read() == [Stage("train")]

    def test_numbers_have_the_names_that_panels_draw(self):
        values = {"train/loss": 1.0, "train/segmentation": 0.7, "train/kd/kd": 0.3, "train/hlfd/logits": 0.1}
        assert panel_names(values) == {"loss": 1.0, "loss/dice_ce": 0.7, "loss/kd": 0.3, "loss/hlfd/logits": 0.1}
        assert panel_names({"validation/dice": 0.5, "validation/dice_tumor": 0.4, "train/lr": 1}) == {
            "dice": 0.5,
            "dice/tumor": 0.4,
        }

    def test_a_process_is_known_by_its_start_and_not_by_its_number_alone(self):
        assert lives(os.getpid(), start_time(os.getpid()))
        assert not lives(os.getpid(), "another start")
        assert not lives(0, "")

    def test_a_run_whose_process_is_gone_is_interrupted(self, tmp_path):
        write_settings(tmp_path / "settings.json", QUICK)
        run = Run(tmp_path)
        run.files.state.write_text(json.dumps({"state": "running", "pid": 2**22 - 3, "started": "1"}), "utf-8")
        assert run.state is State.INTERRUPTED
        run.cancel()
        assert read_object(run.files.state) == {"state": "cancelled"}


class TestOutcome:
    def test_what_became_worse_is_said_in_sentences(self):
        def sides(before: float, after: float) -> dict:
            return {
                side: {"groups": {"tumor": {"dice": dice, "nsd_1mm": dice, "volume_error_ml": 1.0}}}
                for side, dice in (("before", before), ("after", after))
            }

        rows = rows_of({"a": sides(0.5, 0.9), "b": sides(0.8, 0.6)})
        assert [(row["case"], row["dice_before"], row["dice_after"]) for row in rows] == [
            ("a", 0.5, 0.9),
            ("b", 0.8, 0.6),
        ]
        summary = {"tumor": {"before": {"dice": 0.65}, "after": {"dice": 0.75}}}
        assert worse_in(rows, summary) == ["Tumor in b: Dice 0.80 before, 0.60 after."]

    def test_structures_that_a_case_has_not_have_no_numbers(self):
        empty = {"groups": {"cyst": {"both_empty": True, "dice": 1.0, "nsd_1mm": 1.0, "volume_error_ml": 0.0}}}
        rows = rows_of({"a": {"before": empty, "after": empty}})
        assert rows[0]["dice_before"] is None


class TestRoles:
    def test_the_roles_of_a_project_count(self, place):
        roles = roles_of(place / "project", 0)
        assert (roles.train, roles.stop, roles.test) == (("case-0001",), ("case-0002",), ("case-0003",))

    def test_other_data_sets_have_none(self, tmp_path):
        assert roles_of(tmp_path, 0) is None


class TestCommands:
    def test_a_fine_tuning(self):
        text = command(RunSettings(model="kidney/1.2.3", minutes=10, method="hlfd"), data="/my data")
        assert text == "hlfd finetune kidney/1.2.3 --data '/my data' --out finetuned --method hlfd --minutes 10"
        plain = command(RunSettings(teacher="none", steps=50, lr=0.001), data="d", out="o")
        assert plain == "hlfd finetune kidney --data d --out o --method none --steps 50 --lr 0.001"

    def test_a_distillation_on_several_gpus(self):
        settings = DistilSettings("kits23", "/data", stages=("teacher",))
        assert command(settings, processes=4) == (
            "torchrun --standalone --nproc-per-node=4 -m hlfd train kits23 --data /data --stages teacher --fold 0"
        )


class TestDistillationFromScratch:
    def test_a_recipe_reads_a_project_with_its_own_labels(self, place, tmp_path):
        import yaml

        recipe = tmp_path / "recipe.yaml"
        data_set = {"layout": "kits", "label_values": {"kidney": [1], "tumor": [2], "cyst": [3]}, "folds": 5}
        recipe.write_text(yaml.safe_dump({"name": "own", "data_set": data_set}), encoding="utf-8")
        project = Project.open(place / "project")
        with pytest.raises(UsageError, match="has 3 cases in use"):
            localised(recipe, project.folder, tmp_path / "work")
        project.cases = (*project.cases, project.cases[0])  # as if there were a fourth
        changed = of_project(data_set, project)
        assert (changed["layout"], changed["folds"]) == ("project", 4)
        named = {label.value: label.name for label in project.labels}
        structures = {name: {named[value] for value in values} for name, values in changed["label_values"].items()}
        assert structures == {
            "kidney": {"left kidney", "right kidney"},
            "tumor": {"kidney tumor"},
            "cyst": {"kidney cyst"},
        }

    def test_a_recipe_keeps_everything_in_the_folder_of_the_run(self, tmp_path):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("name: own\nfolder: runs/own\ndata_set: {layout: kits}\n", encoding="utf-8")
        copy = localised(recipe, tmp_path, tmp_path / "work")
        assert read_yaml(copy) == {"name": "own", "folder": str(tmp_path / "work"), "data_set": {"layout": "kits"}}
