"""Fixtures of the inference tests: a synthetic patient and packages whose networks are known exactly."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hlfd.labels import KIDNEY_LABELS
from hlfd.models.package import ModelPackage, NetworkEntry, file_sha256
from hlfd.volume import Volume

HU = {"background": 20.0, "kidney": 200.0, "tumor": 400.0, "cyst": 600.0}
WINDOW = (-1000.0, 1000.0)


def ellipsoid(shape, spacing, center_mm, radii_mm):
    """Return the mask (k, j, i) of an ellipsoid; centre and radii are (x, y, z) in mm from the first voxel."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    parts = [((axis * step - c) / r) ** 2 for axis, step, c, r in zip((x, y, z), spacing, center_mm, radii_mm)]
    return parts[0] + parts[1] + parts[2] <= 1


def make_patient(spacing=(2.5, 2.5, 2.5), extent=(240.0, 180.0, 160.0), name="patient"):
    """Return (Volume, dict of masks): a body with two kidneys, a tumour in the left one and a cyst in the right one.

    The array axes run to right, anterior, superior; left is the side of small x.
    """
    shape = tuple(int(extent[a] / spacing[a]) for a in (2, 1, 0))
    hu = np.full(shape, -1000, np.int16)
    body = ellipsoid(shape, spacing, (120, 90, 80), (105, 75, 1000))
    hu[body] = int(HU["background"])
    masks = {
        "left kidney": ellipsoid(shape, spacing, (65, 70, 80), (25, 25, 48)),
        "right kidney": ellipsoid(shape, spacing, (175, 70, 75), (25, 25, 48)),
        "kidney tumor": ellipsoid(shape, spacing, (48, 80, 95), (15, 15, 15)),
        "kidney cyst": ellipsoid(shape, spacing, (190, 80, 60), (12, 12, 12)),
    }
    for name_, value in (("left kidney", 200), ("right kidney", 200), ("kidney tumor", 400), ("kidney cyst", 600)):
        hu[masks[name_]] = value
    for lesion in ("kidney tumor", "kidney cyst"):
        for organ in ("left kidney", "right kidney"):
            masks[organ] &= ~masks[lesion]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-118.0, -92.0, 33.0)
    return Volume(hu, affine, name), masks


def write_nearest_mean_ir(path: Path, means_hu: list[float]) -> Path:
    """Write an OpenVINO model whose logits -(x - mean)^2 + x^2 choose the class with the nearest mean HU."""
    import openvino as ov
    from openvino import opset13 as ops

    half = (WINDOW[1] - WINDOW[0]) / 2
    means = np.array(means_hu, np.float32) / half
    image = ops.parameter([-1, 1, -1, -1, -1], np.float32, name="image")
    kernel = ops.constant((2 * means).reshape(-1, 1, 1, 1, 1).astype(np.float32))
    scaled = ops.convolution(image, kernel, [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1])
    logits = ops.add(scaled, ops.constant((-(means**2)).reshape(1, -1, 1, 1, 1).astype(np.float32)))
    ov.save_model(ov.Model([logits], [image], "nearest_mean"), str(path), compress_to_fp16=False)
    return path


def make_entry(folder: Path, name: str, spacing: float, classes: tuple[str, ...]) -> NetworkEntry:
    """Return the entry of a nearest-mean network over ``classes``, written into ``folder``."""
    ir = write_nearest_mean_ir(folder / f"{name}.xml", [HU[c] for c in classes])
    return NetworkEntry("none", {}, folder / f"{name}.safetensors", ir, spacing, (WINDOW,), classes, 8, {})


def make_package(folder: Path, locator, refiner, **region) -> ModelPackage:
    """Return a kidney package around two entries."""
    rules = {"organs": ["kidney"], **region}
    return ModelPackage(
        folder,
        "test",
        "1.0.0",
        "kidney tumor",
        True,
        "Apache-2.0",
        "",
        KIDNEY_LABELS,
        locator,
        refiner,
        None,
        rules,
        {},
    )


@pytest.fixture(scope="session")
def make():
    """The functions of this file by name: ellipsoid, patient, entry, package."""
    return SimpleNamespace(ellipsoid=ellipsoid, patient=make_patient, entry=make_entry, package=make_package)


@pytest.fixture(scope="session")
def patient():
    """A small patient: (Volume, dict of masks by label name)."""
    return make_patient()


@pytest.fixture(scope="session")
def exact_package(tmp_path_factory):
    """A package that labels every voxel by its HU: kidney 200, tumour 400, cyst 600."""
    folder = tmp_path_factory.mktemp("exact")
    locator = make_entry(folder, "locator", 3.0, ("background", "kidney"))
    refiner = make_entry(folder, "refiner", 1.5, ("background", "kidney", "tumor", "cyst"))
    return make_package(folder, locator, refiner)


@pytest.fixture(scope="session")
def random_package(tmp_path_factory):
    """A package of two small untrained students, in both backends' formats."""
    import torch

    from hlfd.checkpoint import save_weights
    from hlfd.networks import build_network, export_openvino, fold_batchnorm

    folder = tmp_path_factory.mktemp("random")
    entries = []
    for name, spacing, classes in (
        ("locator", 8.0, ("background", "kidney")),
        ("refiner", 4.0, ("background", "kidney", "tumor", "cyst")),
    ):
        torch.manual_seed(len(classes))
        parameters = {"in_channels": 2, "classes": len(classes), "widths": (8, 16)}
        network = fold_batchnorm(build_network("s2d_unet", **parameters).eval())
        save_weights(network, folder / f"{name}.safetensors", half=False)
        ir = export_openvino(network, folder / f"{name}.xml", half=False)
        windows = ((-200.0, 300.0), (-1000.0, 1000.0))
        entries.append(
            NetworkEntry("s2d_unet", parameters, folder / f"{name}.safetensors", ir, spacing, windows, classes, 4, {})
        )
    return make_package(folder, *entries)


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory):
    """A folder of installed models that holds exact/1.0.0, which labels every voxel by its HU."""
    root = tmp_path_factory.mktemp("installed") / "Models"
    folder = root / "exact" / "1.0.0"
    folder.mkdir(parents=True)
    description = {"schema": 1, "name": "exact", "version": "1.0.0", "task": "kidney tumor", "title": "Exact <b>"}
    description |= {"demonstration": True, "licence": "Apache-2.0", "notice": "Demonstration, not for clinical use."}
    description |= {"labels": [label.to_dict() for label in KIDNEY_LABELS], "region": {"organs": ["kidney"]}}
    description |= {"teacher": None, "provenance": {"data": "none"}, "metrics": {"simulated": {"dice": 0.93214}}}
    kidney = ("background", "kidney")
    for name, spacing, classes in (("locator", 3.0, kidney), ("refiner", 1.5, (*kidney, "tumor", "cyst"))):
        entry = make_entry(folder, name, spacing, classes)
        entry.weights.write_bytes(b"not used")
        files = {"weights": entry.weights.name, "openvino": entry.openvino.name}
        facts = {"network": "none", "parameters": {}, "spacing_mm": spacing, "windows": [list(WINDOW)]}
        description[name] = {**files, **facts, "classes": list(classes), "divisor": 8, "taps": {}}
    description["sha256"] = {path.name: file_sha256(path) for path in folder.iterdir()}
    (folder / "model.json").write_text(json.dumps(description))
    return root
