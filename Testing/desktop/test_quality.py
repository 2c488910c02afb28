"""A calibrated model tells the person how sure it is, and when a CT is none that it knows."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

QUALITY = {
    "limits": {"soft": [0.29, None], "tissue": [5, 135]},
    "confidence": {"bias": -9.2, "weights": {"certainty": 10.6, "lesion": 1.1, "size": 1.6}},
}


def add_model(own_models, quality: dict) -> None:
    """Put a newer version of the shipped model, with this calibration, among the person's own models."""
    from hlfd.models.amend import add_quality
    from hlfd.models.package import load_package
    from hlfd.models.registry import find

    shipped = find("kidney")
    folder = own_models / "kidney" / f"{shipped.version}.1"
    shutil.copytree(shipped.folder, folder)
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps({**description, "version": folder.name}), encoding="utf-8")
    add_quality(load_package(folder), quality)


@pytest.fixture
def calibrated(own_models) -> None:
    add_model(own_models, QUALITY)


@pytest.fixture
def sceptical(own_models) -> None:
    """A model to which every mass is doubtful."""
    add_model(own_models, {**QUALITY, "confidence": {"bias": -50.0, "weights": {}}})


@pytest.fixture
def sceptical_person(sceptical, person):
    return person


@pytest.fixture
def calibrated_person(calibrated, person):
    return person


def test_the_table_says_how_sure_each_lesion_is(calibrated_person):
    person = calibrated_person
    person.load_ct()
    person.segment()
    assert not person.ui.lesionTable.isColumnHidden(5)
    told = [row[5].split(",")[0] for row in person.lesions() if row[0][0].isdigit()]
    assert told[0] in ("likely", "uncertain", "doubtful")
    assert set(told) <= {"likely", "uncertain", "doubtful", "-"}  # a dash for islands that interpolation made


def test_a_ct_with_wrong_hu_is_named_and_nothing_is_marked(calibrated_person):
    from hlfd.volume import Volume
    from HLFDSegmentLib.volumes import volume_from_node, volume_to_node

    person = calibrated_person
    node = person.load_ct()
    whole = volume_from_node(node)
    doubled = Volume((2 * whole.array.astype(np.int32)).astype(np.int16), whole.affine, "Doubled")
    person.ui.inputSelector.setCurrentNode(volume_to_node(person.desktop.scene, doubled, "Doubled"))
    person.segment()
    person.picture("panel-unlike")
    summary = person.ui.summaryLabel.text
    assert summary.startswith("Lesions found: 0.\nThis image is unlike those that the model was trained on: ")
    assert "HU" in summary
    assert not [row for row in person.lesions() if row[0][0].isdigit()]


def test_doubtful_masses_are_left_out_and_told_and_marked_when_wanted(sceptical_person):
    person = sceptical_person
    person.load_ct()
    person.segment()
    assert "Lesions found: 0." in person.ui.summaryLabel.text
    assert 'not marked. To see them, check "Mark doubtful masses too"' in person.ui.summaryLabel.text
    person.picture("panel-left-out")
    person.ui.doubtfulBox.checked = True
    person.segment()
    assert "not marked" not in person.ui.summaryLabel.text
    told = [row[5] for row in person.lesions() if row[0][0].isdigit()]
    assert told[0].startswith("doubtful, 0")
    assert {cell.split(",")[0] for cell in told} <= {"doubtful", "-"}
