"""Real MRML scenes and small volumes; without slicer-core the tests here are skipped with that reason."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap, Volume

SHAPE = (12, 16, 20)


@pytest.fixture
def application():
    pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
    from HLFDSegmentLib.headless import HeadlessScene

    return HeadlessScene()


@pytest.fixture
def scene(application):
    return application.scene


def make_affine(kind: str) -> np.ndarray:
    """Return an IJK->RAS matrix: identity, anisotropic, left-handed, oblique, or oblique and left-handed."""
    affine = np.eye(4)
    affine[:3, 3] = [12.5, -40.0, 310.25]
    if kind == "identity":
        return np.eye(4)
    scale = {"anisotropic": [0.7, 0.8, 3.0], "left-handed": [-0.7, 0.8, 3.0]}.get(kind, [0.9, 1.1, 2.0])
    turn = np.eye(3)
    if kind.startswith("oblique"):
        turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
        turn *= np.sign(np.linalg.det(turn))
    if kind == "oblique left-handed":
        scale = [-0.9, 1.1, 2.0]
    affine[:3, :3] = turn * scale
    return affine


@pytest.fixture(params=["identity", "anisotropic", "left-handed", "oblique", "oblique left-handed"])
def affine(request):
    return make_affine(request.param)


def make_label_array() -> np.ndarray:
    """Return labels (k, j, i) with two kidneys, a tumour in the left one and no cyst."""
    array = np.zeros(SHAPE, np.uint8)
    array[2:9, 4:10, 2:7] = 1
    array[4:6, 5:8, 3:6] = 2
    array[3:8, 4:11, 13:18] = 4
    return array


@pytest.fixture
def volume(affine):
    array = np.random.default_rng(1).integers(-1000, 1500, SHAPE).astype(np.int16)
    return Volume(array, affine, "abdomen")


@pytest.fixture
def label_map(affine):
    return LabelMap(make_label_array(), affine, KIDNEY_LABELS)


@pytest.fixture
def straight_volume():
    return Volume(np.where(make_label_array() > 0, 150, -50).astype(np.int16), make_affine("anisotropic"), "abdomen")


@pytest.fixture
def straight_label_map():
    return LabelMap(make_label_array(), make_affine("anisotropic"), KIDNEY_LABELS)
