"""A small model and a project of drawn cases, on which a training takes seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hlfd.labels import KIDNEY_LABELS
from hlfd.models.package import ModelPackage
from hlfd.project import Project
from hlfd.runs import Run, RunSettings
from hlfd.volume import LabelMap, Volume
from Testing.engine.conftest import make_patient

CLASSES = ("background", "kidney", "tumor", "cyst")
ROLES = ("train", "validation", "test")
QUICK = RunSettings(model="tiny", steps=12, patch=16, replay_share=0.0, device="cpu", lr=0.002)


def write_tiny_model(root: Path, version: str = "1.0.0", with_teacher: bool = False) -> ModelPackage:
    """Write an untrained model ``tiny`` with locator and refiner for voxels of 6 mm, and a teacher where wanted."""
    import torch

    from hlfd.models.writer import PackageFacts, TrainedNetwork, write_package
    from hlfd.networks import build_network

    def make(classes: tuple[str, ...], widths: tuple[int, ...] = (8, 16), openvino: bool = True) -> TrainedNetwork:
        torch.manual_seed(len(classes))
        parameters = {"in_channels": 1, "classes": len(classes), "widths": widths}
        network = build_network("s2d_unet", **parameters)
        return TrainedNetwork(network, "s2d_unet", parameters, 6.0, [(-100.0, 700.0)], classes, openvino)

    region = {"organs": ["kidney"]}
    facts = PackageFacts(
        "tiny", version, "Tiny", "kidney tumor", KIDNEY_LABELS, region, licence="Apache-2.0", notice="For tests."
    )
    teacher = make(CLASSES, (8, 24), openvino=False) if with_teacher else None
    return write_package(root, facts, make(CLASSES), make(("background", "kidney")), teacher)


def draw_case(number: int = 0) -> tuple[Volume, LabelMap]:
    """Return a drawn patient with voxels of 6 mm, and the labels."""
    volume, masks = make_patient(spacing=(6.0, 6.0, 6.0), extent=(240.0, 180.0, 144.0 + 6 * number))
    array = np.zeros(volume.shape, np.uint8)
    for label in KIDNEY_LABELS:
        array[masks[label.name]] = label.value
    return volume, LabelMap(array, volume.affine, KIDNEY_LABELS)


def write_tiny_project(folder: Path, package: ModelPackage) -> Path:
    """Make a project of three drawn cases, one of each role."""
    project = Project.create(folder, package, "tiny cases")
    for number, role in enumerate(ROLES):
        project.add(*draw_case(number), role=role)
    return folder


@contextmanager
def training_place(root: Path) -> Iterator[Path]:
    """A user's models and lock in ``root``, apart from everyone else's, with a tiny model and the project of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HLFD_MODELS", str(root / "models"))
        patch.setenv("HLFD_RUN_LOCK", str(root / "training.lock"))
        patch.setenv("OMP_NUM_THREADS", "1")
        write_tiny_project(root / "project", write_tiny_model(root / "models"))
        yield root


def wait_for(run: Run, condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until something is so; fail with what the run printed where it is not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s; the run is {run.state.value}: {run.error} {run.log_tail()}")
        time.sleep(0.02)


def wait_for_end(run: Run, seconds: float = 300.0) -> None:
    """Wait until no process works on the run."""
    wait_for(run, lambda: not run.state.active, seconds)
