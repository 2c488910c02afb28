"""A small model and a project of drawn cases, on which a training takes seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from hlfd.io import write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS
from hlfd.models.package import ModelPackage
from hlfd.models.resources import find_recipe
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


def enlarged(volume: Volume, labels: LabelMap, shape: tuple[int, int, int]) -> tuple[Volume, LabelMap]:
    """Return a drawn case with more voxels (k, j, i) in the same place, and with noise that a file keeps."""
    picks = np.ix_(*(np.arange(n) * old // n for n, old in zip(shape, volume.shape)))
    scale = np.diag([*(old / n for n, old in zip(shape[::-1], volume.shape[::-1])), 1.0])
    noise = np.random.default_rng(0).integers(-15, 16, shape, np.int16)
    affine = volume.affine @ scale
    return Volume(volume.array.astype(np.int16)[picks] + noise, affine), LabelMap(
        labels.array[picks], affine, labels.labels
    )


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


def write_tiny_data_set(folder: Path) -> Path:
    """Write four drawn cases as KiTS lays them out, with its label values."""
    meanings = {"left kidney": 1, "right kidney": 1, "kidney tumor": 2, "kidney cyst": 3}
    table = np.zeros(256, np.uint8)
    for label in KIDNEY_LABELS:
        table[label.value] = meanings[label.name]
    for number in range(4):
        volume, labels = draw_case(number)
        case = folder / f"case_{number:05d}"
        case.mkdir(parents=True)
        write_volume(volume, case / "imaging.nii.gz")
        write_label_map(LabelMap(table[labels.array], labels.affine), case / "segmentation.nii.gz")
    return folder


def write_tiny_recipe(path: Path, steps: int = 4) -> Path:
    """Write the shipped recipe kits23 with small networks and patches, two folds and ``steps`` for each network."""
    recipe = yaml.safe_load(find_recipe("kits23").read_text(encoding="utf-8"))
    recipe |= {"name": "own", "title": "Own kidneys", "folder": str(path.parent / "run"), "workers": 1}
    recipe["validation_patches"] = recipe["data_set"]["folds"] = 2
    for role, network in recipe["networks"].items():
        network["patch"] |= {"spacing_mm": 6.0, "size": [16, 16, 16]}
        training = {"steps": steps, "batch_size": 1, "validate_every": 2, "workers": 0, "tensorboard": False}
        network["training"] |= training
        network["parameters"] = {"widths": [4, 8, 8] if role == "teacher" else [4, 8]}
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path
