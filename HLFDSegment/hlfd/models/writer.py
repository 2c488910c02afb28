"""Writes trained networks as a model package; importing this module needs torch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hlfd.checkpoint import save_weights
from hlfd.errors import ModelError
from hlfd.labels import Label
from hlfd.models.card import model_card
from hlfd.models.install import put_in_place, write_error
from hlfd.models.package import SCHEMA, ModelPackage, file_sha256, load_package
from hlfd.networks import MergeClasses, SegmentationNetwork, export_openvino, fold_batchnorm
from hlfd.networks.lean_merge import deployed


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network and what it expects; the fields of a NETWORK in ``model.json``."""

    module: SegmentationNetwork
    """The network with its trained weights, batch norm not yet folded; ``MergeClasses`` where channels merge."""
    network: str
    """Its name in ``NETWORKS``."""
    parameters: dict[str, Any]
    """All parameters with which ``build_network`` made it (of the inner network where channels merge)."""
    spacing_mm: float
    windows: Sequence[Sequence[float]]
    classes: Sequence[str]
    """Names of the output channels, ``background`` first."""
    openvino: bool = True
    """Whether the package also carries it as OpenVINO IR."""


@dataclass(frozen=True)
class PackageFacts:
    """What a package says about itself, see ``hlfd.models.package``."""

    name: str
    version: str
    title: str
    task: str
    labels: Sequence[Label]
    region: dict[str, Any]
    licence: str
    notice: str
    demonstration: bool = True
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)


def write_package(
    root: Path,
    facts: PackageFacts,
    refiner: TrainedNetwork,
    locator: TrainedNetwork | None = None,
    teacher: TrainedNetwork | None = None,
    undistilled: TrainedNetwork | None = None,
) -> ModelPackage:
    """Write ``root/<name>/<version>/`` in one step, replacing an older one, and return the verified package.

    Batch norm is folded, weights are stored in half precision, the model card is made from ``facts``. Raises
    ``ModelError`` for networks that do not fit their description and ``OutputError`` when it cannot be written.
    """
    networks = {"locator": locator, "refiner": refiner, "teacher": teacher, "undistilled": undistilled}
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".write-", dir=root) as scratch:
            staged = Path(scratch) / "package"
            staged.mkdir()
            entries = {role: _write_network(staged, role, network) for role, network in networks.items()}
            _write_description(staged, facts, entries)
            load_package(staged)
            target = root / facts.name / facts.version
            put_in_place(staged, target)
    except OSError as error:
        raise write_error(root, error) from error
    return load_package(target)


def _write_network(folder: Path, role: str, trained: TrainedNetwork | None) -> dict[str, Any] | None:
    if trained is None:
        return None
    _check(role, trained)
    folded = fold_batchnorm(trained.module.cpu().float())
    weights = folder / f"{role}.safetensors"
    save_weights(folded, weights, half=True, metadata={"network": trained.network})
    ir = export_openvino(deployed(folded), folder / f"{role}.xml").name if trained.openvino else None
    entry = {
        "network": trained.network,
        "parameters": _plain(trained.parameters),
        "weights": weights.name,
        "openvino": ir,
        "spacing_mm": float(trained.spacing_mm),
        "windows": [[float(low), float(high)] for low, high in trained.windows],
        "classes": list(trained.classes),
        "divisor": trained.module.divisor,
        "taps": dict(trained.module.taps),
    }
    if isinstance(trained.module, MergeClasses):
        entry["groups"] = [list(group) for group in trained.module.groups]
    return entry


def _check(role: str, trained: TrainedNetwork) -> None:
    facts = trained.module.description
    if facts.classes != len(trained.classes) or facts.in_channels != len(trained.windows):
        raise ModelError(
            f"The {role} has {facts.in_channels} input and {facts.classes} output channels; {len(trained.windows)} "
            f"windows and {len(trained.classes)} classes were named."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _write_description(folder: Path, facts: PackageFacts, entries: dict[str, dict[str, Any] | None]) -> None:
    description = {
        "schema": SCHEMA,
        **{
            key: getattr(facts, key)
            for key in ("name", "version", "task", "title", "demonstration", "licence", "notice")
        },
        "labels": [label.to_dict() for label in facts.labels],
        **entries,
        "region": _plain(facts.region),
        "provenance": _plain(facts.provenance),
        "metrics": _plain(facts.metrics),
        **({"quality": _plain(facts.quality)} if facts.quality else {}),
    }
    (folder / "README.md").write_text(model_card(description), encoding="utf-8")
    description["sha256"] = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    (folder / "model.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
