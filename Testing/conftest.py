"""Fixtures of all tests: small synthetic images, and the shared data where they are at hand."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap, Volume

PROJECT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process here once all results are told.

    VTK, Qt, torch and OpenVINO in one interpreter are unloaded in no safe order: a run whose 3,000 tests had passed
    ended in a segmentation fault after its summary. What users run is tested in processes of its own, with their exit
    status.
    """
    status = getattr(config, "hlfd_status", None)
    if status is None:
        return
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the exit status for ``pytest_unconfigure``."""
    session.config.hlfd_status = exitstatus


@pytest.fixture(autouse=True)
def threads_of_torch() -> Iterator[None]:
    """Give torch back the threads it had: a segmenter sets those of its settings for the whole process."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    yield
    if torch and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real label maps and the real CT: HLFD_SHARED_DATA, else ../shared/data beside the project."""
    folder = Path(os.environ.get("HLFD_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"shared data not found at {folder}; set HLFD_SHARED_DATA")
    return folder


def _rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@pytest.fixture(scope="session")
def make_affine() -> Callable[..., np.ndarray]:
    """Build an IJK->RAS affine from spacing (i, j, k), rotation axis and angle, handedness and origin."""

    def build(
        spacing=(1.0, 1.0, 1.0), axis=(0.0, 0.0, 1.0), degrees=0.0, left_handed=False, origin=(0.0, 0.0, 0.0)
    ) -> np.ndarray:
        affine = np.eye(4)
        flip = [1.0, 1.0, -1.0 if left_handed else 1.0]
        affine[:3, :3] = _rotation(np.array(axis, float), degrees) * flip * np.array(spacing)
        affine[:3, 3] = origin
        return affine

    return build


@pytest.fixture
def ct_values() -> np.ndarray:
    """HU of a small abdomen-like block (8, 12, 10): air around fat around soft tissue with some noise."""
    rng = np.random.default_rng(7)
    values = np.full((8, 12, 10), -1000.0)
    values[1:7, 1:11, 1:9] = -100
    values[2:6, 3:9, 3:7] = 40
    return (values + rng.normal(0, 8, values.shape)).round().astype(np.int16).clip(-1024)


@pytest.fixture
def ct_volume(ct_values, make_affine) -> Volume:
    """The small block as an oblique, anisotropic volume far from the origin."""
    affine = make_affine((0.78125, 0.78125, 2.5), (1, 2, 3), 25.0, origin=(-250.123456, 437.511719, -766.5))
    return Volume(ct_values, affine, "block")


@pytest.fixture
def kidney_map(ct_volume) -> LabelMap:
    """A label map on the grid of ``ct_volume`` with all four kidney labels."""
    array = np.zeros(ct_volume.shape, np.uint8)
    array[2:5, 3:6, 3:5] = 1
    array[2:5, 6:8, 5:7] = 4
    array[3, 4, 4] = 2
    array[4, 6, 5] = 3
    return LabelMap(array, ct_volume.affine, KIDNEY_LABELS)
