"""Writes a MONAI bundle that runs the whole pipeline; importing this module needs torch.

Format: https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hlfd import __version__
from hlfd.events import OnEvent, Stage
from hlfd.models.build import load_network
from hlfd.models.export_code import copy_engine
from hlfd.models.export_networks import check_logits, network_facts
from hlfd.models.package import ModelPackage
from hlfd.networks import SegmentationNetwork

RUNTIME = "hlfd.models.export_runtime"


class MonaiAxes(nn.Module):
    """A 3-D network on MONAI's axes: (B, C, i, j, k) in and out, around one on (B, C, k, j, i)."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.network(image.permute(0, 1, 4, 3, 2))
        return logits.permute(0, 1, 4, 3, 2)


def write_bundle(package: ModelPackage, folder: Path, on_event: OnEvent) -> dict[str, Any]:
    """Write the bundle's folders; returns the facts of its networks for ``export.json``."""
    on_event(Stage("copy"))
    place = f"models/{package.name}/{package.version}"
    copy_package(package, folder / place)
    copy_engine(RUNTIME, folder)
    on_event(Stage("export refiner"))
    checked = write_torchscript(package, folder / "models" / "model.ts")
    (folder / "configs").mkdir()
    for name, values in (("inference", inference_config(place)), ("metadata", metadata(package))):
        (folder / "configs" / f"{name}.json").write_text(json.dumps(values, indent=4) + "\n", encoding="utf-8")
    facts = {role: {**network_facts(entry), "file": entry.weights.name} for role, entry in package.networks().items()}
    facts["refiner"].update(checked)
    return {"networks": facts, "package_folder": place}


def copy_package(package: ModelPackage, folder: Path) -> None:
    """Copy ``model.json`` and the files that it names."""
    folder.mkdir(parents=True)
    for name in ("model.json", *package.metadata["sha256"]):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package.folder / name, target)


def write_torchscript(package: ModelPackage, path: Path) -> dict[str, Any]:
    """Write the refiner as TorchScript on MONAI's axes, checked against torch at another size than the traced one."""
    network = load_network(package.refiner)
    divisor = network.description.divisor
    example = torch.zeros(1, network.description.in_channels, divisor, 2 * divisor, divisor)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of shape arithmetic that stays exact here
        scripted = torch.jit.trace(MonaiAxes(network).eval(), example)
        scripted.save(str(path))
        loaded = torch.jit.load(str(path))

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = loaded(torch.from_numpy(image).permute(0, 1, 4, 3, 2))[0].numpy()
        return logits.transpose(0, 3, 2, 1)

    return {"torchscript": path.name, **check_logits(network, run, "torch.jit", path.name)}


def inference_config(package_folder: str) -> dict[str, Any]:
    """Return ``configs/inference.json``: MONAI loads and saves, HLFD segments in between."""
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "image": "",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "auto",
        "backend": "auto",
        "mode": "auto",
        "threads": 0,
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location='cpu')",
        "files": "$[@image] if @image else sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @files]",
            "transform": "@preprocessing",
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True}],
        },
        "inferer": {
            "_target_": f"{RUNTIME}.BundleSegmenter",
            "package": f"$@bundle_root + '/{package_folder}'",
            **{key: f"@{key}" for key in ("device", "backend", "mode", "threads")},
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "seg",
                    "output_ext": ".nii.gz",
                    "output_dtype": "$torch.uint8",
                    "separate_folder": False,
                    "resample": False,
                }
            ],
        },
        "evaluator": {
            "_target_": f"{RUNTIME}.CaseLoop",
            **{key: f"@{key}" for key in ("dataset", "inferer", "postprocessing")},
        },
        "run": ["$@evaluator.run()"],
    }


def metadata(package: ModelPackage) -> dict[str, Any]:
    """Return ``configs/metadata.json``; ``network_data_format`` is that of ``models/model.ts``, the refiner alone."""
    import monai

    entry = package.refiner
    size = [f"{entry.divisor}*n"] * 3
    windows = " and ".join(f"[{low:g}, {high:g}]" for low, high in entry.windows)
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json",
        "version": package.version,
        "changelog": {package.version: f"exported by HLFD {__version__}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"SimpleITK": "2.3", "safetensors": "0.4.3", "nibabel": "5.2"},
        "name": package.metadata.get("title") or package.name,
        "task": package.task,
        "description": package.notice,
        "authors": "HLFD",
        "license": package.licence,
        "copyright": "See LICENSE",
        "intended_use": package.notice,
        "label_map": {"0": "background", **{str(label.value): label.name for label in package.labels}},
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield",
                    "modality": "CT",
                    "num_channels": len(entry.windows),
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [-1, 1],
                    "is_patch_data": True,
                    "channel_def": {
                        str(n): f"HU {low:g}..{high:g} as -1..1" for n, (low, high) in enumerate(entry.windows)
                    },
                    "note": f"RAS, {entry.spacing_mm:g} mm, HU windows {windows} mapped to -1..1 and clipped",
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(entry.classes),
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(n): name for n, name in enumerate(entry.classes)},
                }
            },
        },
    }
