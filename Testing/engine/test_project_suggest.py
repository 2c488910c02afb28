"""CTs that the student is unsure of come first; what is known or shows nothing does not get in the way."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.inference.segmenter import Segmenter
from hlfd.io import write_volume
from hlfd.labels import KIDNEY_LABELS
from hlfd.project import Project
from hlfd.project.suggest import Peer, load_peer, suggest, uncertainty
from hlfd.volume import LabelMap, Volume


class Decided(Segmenter):
    """The logits of the test's network are nearly alike; a trained one is decided."""

    def refiner_logits(self, hu, cancel=None):
        return 600 * super().refiner_logits(hu, cancel)


@pytest.fixture(scope="module")
def segmenter(exact_package):
    return Decided(exact_package, SegmentSettings(device="cpu", threads=1))


def with_kidneys_of(patient, hu):
    """Return the patient with kidneys of another HU: 200 is what the network knows, 290 lies near to tumor."""
    volume, masks = patient
    array = volume.array.copy()
    for side in ("left kidney", "right kidney"):
        array[masks[side]] = hu
    return Volume(array, volume.affine)


def test_the_nearer_to_another_class_the_more_unsure(patient, segmenter):
    sure = uncertainty(with_kidneys_of(patient, 200), segmenter)
    unsure = uncertainty(with_kidneys_of(patient, 290), segmenter)
    assert 0 < sure.entropy < unsure.entropy
    assert sure.disagreement is None


def test_a_teacher_that_agrees_adds_nothing_and_one_that_differs_does(patient, segmenter):
    volume, _ = patient
    none = uncertainty(volume, segmenter, Peer(segmenter.refiner_logits))
    much = uncertainty(volume, segmenter, Peer(lambda hu: segmenter.refiner_logits(hu)[[0, 1, 3, 2]]))
    assert none.disagreement == pytest.approx(0, abs=1e-6)
    assert 0 < much.disagreement <= 1


def test_the_cts_of_a_folder_are_ordered(tmp_path, patient, segmenter, exact_package):
    volume, masks = patient
    project = Project.create(tmp_path / "project", exact_package)
    labels = np.zeros(volume.shape, np.uint8)
    labels[masks["left kidney"]] = 1
    project.add(volume, LabelMap(labels, volume.affine, KIDNEY_LABELS))
    empty = np.where(volume.array > 100, np.int16(20), volume.array)
    cts = {"known": volume.array, "empty": empty, "sure": with_kidneys_of(patient, 201).array}
    cts["unsure"] = with_kidneys_of(patient, 290).array
    for name, array in cts.items():
        write_volume(Volume(array, volume.affine), tmp_path / f"{name}.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    names = [*cts, "broken"]
    rows = suggest(project, [(name, tmp_path / f"{name}.nii.gz") for name in names], segmenter)
    assert [row.name for row in rows][:2] == ["unsure", "sure"]
    assert {row.name for row in rows[2:]} == {"empty", "broken"}
    assert all(row.note and row.score is None for row in rows[2:])


def test_a_package_with_another_network_is_a_teacher(patient, random_package, segmenter, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("hlfd.teachers.own.find", lambda source: random_package)
    student = Segmenter(random_package, SegmentSettings(device="cpu", threads=1, mode="box"))
    peer = load_peer("random/1.0.0", student)
    volume, _ = patient
    found = uncertainty(volume, student, peer)
    assert found is not None
    assert found.entropy > 0
    assert found.disagreement == pytest.approx(0, abs=1e-3)  # the same network on the other backend
