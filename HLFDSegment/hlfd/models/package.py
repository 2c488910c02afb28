"""The model package: a folder ``<name>/<version>/`` described by ``model.json``.

``model.json`` (schema version 1)::

    {"schema": 1, "name": "kidney", "version": "1.0.0", "task": "kidney tumor", "title": "...",
     "demonstration": true, "licence": "CC-BY-NC-SA-4.0", "notice": "Demonstration, not for clinical use. ...",
     "labels": [Label.to_dict(), ...],                 # of the final label map
     "locator": NETWORK, "refiner": NETWORK, "teacher": NETWORK or null,
     "undistilled": NETWORK or null,                  # the refiner trained without distillation, for the viewer
     "region": {"organs": ["kidney"], "margin_mm": 16.0, ...},   # how regions are made from the locator's classes
     "quality": {"confidence": {...}, "limits": {...}, "min_confidence": 0.1},   # optional, see hlfd.inference.quality
     "provenance": {...}, "metrics": {...},
     "sha256": {"file name": "hex", ...}}              # of every other file in the folder

    NETWORK = {"network": "s2d_unet", "parameters": {...}, "weights": "refiner.safetensors",
               "openvino": "refiner.xml" or null,      # with refiner.bin beside it, also in sha256
               "spacing_mm": 1.5,                      # isotropic working spacing
               "windows": [[-200, 300], [-1000, 1000]],# one input channel per HU window, mapped to -1..1 and clipped
               "classes": ["background", "kidney", "tumor", "cyst"],  # output channels, after merging
               "divisor": 16, "taps": {"e1": "module.path", ...},
               "groups": [[0, 2, 3], [1], ...]}        # optional: trained channels merged into each class

Networks are rebuilt and loaded with ``hlfd.models.build.load_network``, which needs torch.

Weights are stored with batch norm folded into the convolutions, in half precision, and read as float32.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlfd.errors import ModelError
from hlfd.labels import Label

SCHEMA = 1
NETWORK_ROLES = ("locator", "refiner", "teacher", "undistilled")
"""What networks a package may hold; the refiner is always there."""


@dataclass(frozen=True)
class NetworkEntry:
    """One network of a package: how to build it, its files, and the input it expects."""

    network: str
    parameters: dict[str, Any]
    weights: Path
    openvino: Path | None
    spacing_mm: float
    windows: tuple[tuple[float, float], ...]
    classes: tuple[str, ...]
    divisor: int
    taps: dict[str, str]
    groups: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class ModelPackage:
    """A verified model package on disk. ``metadata`` is the whole ``model.json``."""

    folder: Path
    name: str
    version: str
    task: str
    demonstration: bool
    licence: str
    notice: str
    labels: tuple[Label, ...]
    locator: NetworkEntry | None
    refiner: NetworkEntry
    teacher: NetworkEntry | None
    region: dict[str, Any]
    metadata: dict[str, Any]
    undistilled: NetworkEntry | None = None

    def networks(self) -> dict[str, NetworkEntry]:
        """Return the networks that are there by role, in the order of ``NETWORK_ROLES``."""
        return {role: entry for role in NETWORK_ROLES if (entry := getattr(self, role)) is not None}


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _network(folder: Path, data: dict[str, Any] | None) -> NetworkEntry | None:
    if data is None:
        return None
    openvino = data.get("openvino")
    return NetworkEntry(
        network=str(data["network"]),
        parameters=dict(data["parameters"]),
        weights=folder / data["weights"],
        openvino=folder / openvino if openvino else None,
        spacing_mm=float(data["spacing_mm"]),
        windows=tuple((float(low), float(high)) for low, high in data["windows"]),
        classes=tuple(data["classes"]),
        divisor=int(data["divisor"]),
        taps=dict(data["taps"]),
        groups=tuple(tuple(int(channel) for channel in group) for group in data.get("groups") or ()),
    )


def verify_files(folder: Path, checksums: dict[str, str]) -> None:
    """Raise ``ModelError`` unless every named file is inside ``folder`` and has its SHA-256."""
    for name, expected in checksums.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError(f'model.json names a file outside its folder: "{name}".', "Import the package again.")
        if not path.is_file():
            raise ModelError(f'The model file "{path}" is missing.', "Import or download the package again.")
        if file_sha256(path) != expected:
            raise ModelError(f'The model file "{path}" was changed or is damaged.', "Import the package again.")


def load_package(folder: Path, verify: bool = True) -> ModelPackage:
    """Read and verify the package in ``folder``; raise ``ModelError`` that names what is missing or damaged."""
    folder = Path(folder)
    try:
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f'"{folder}" holds no readable model.json.', "Choose a model package folder.") from error
    except ValueError as error:
        raise ModelError(
            f'"{folder / "model.json"}" is not valid JSON: {error}.', "Import the package again."
        ) from error
    try:
        if data["schema"] != SCHEMA:
            raise ModelError(f"The package has schema {data['schema']}; {SCHEMA} was expected.", "Update HLFD.")
        if verify:
            verify_files(folder, data["sha256"])
        refiner = _network(folder, data["refiner"])
        if refiner is None:
            raise ModelError("model.json names no refiner network.", "Import the package again.")
        others = (_network(folder, data.get(role)) for role in ("locator", "teacher", "undistilled"))
        entries = (refiner, *others)
        for entry in entries:
            for path in (entry.weights, entry.openvino) if entry else ():
                if path is not None and path.name not in data["sha256"]:
                    raise ModelError(f'model.json has no SHA-256 for "{path.name}".', "Import the package again.")
        return ModelPackage(
            folder=folder,
            name=str(data["name"]),
            version=str(data["version"]),
            task=str(data["task"]),
            demonstration=bool(data["demonstration"]),
            licence=str(data["licence"]),
            notice=str(data["notice"]),
            labels=tuple(Label.from_dict(label) for label in data["labels"]),
            locator=entries[1],
            refiner=refiner,
            teacher=entries[2],
            region=dict(data["region"]),
            metadata=data,
            undistilled=entries[3],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f'"{folder / "model.json"}" lacks or misstates {error}.', "Import the package again."
        ) from error
