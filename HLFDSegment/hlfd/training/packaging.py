"""From the trained networks of a recipe to its model package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from hlfd import __version__
from hlfd.checkpoint import read_metadata
from hlfd.errors import ConfigError
from hlfd.labels import KIDNEY_LABELS, LIVER_LABELS
from hlfd.models.package import ModelPackage, file_sha256
from hlfd.models.writer import PackageFacts, TrainedNetwork, write_package
from hlfd.networks import MergeClasses
from hlfd.training.recipe import NetworkRecipe, PackageRecipe, Recipe
from hlfd.training.run import parameter_count, trained_network

LABEL_TABLES = {"kidney": KIDNEY_LABELS, "liver": LIVER_LABELS}
_SHOWN = ("teacher", "undistilled")
"""Networks that the viewer shows and that segment nothing: a package may lack them."""


def package_recipe(recipe: Recipe, path: Path) -> ModelPackage:
    """Write ``<folder>/package/<name>/<version>/`` from the networks that the recipe has trained.

    Raises ``ConfigError`` when the locator or refiner is not trained yet; the teacher may be missing.
    """
    metrics = training_metrics(recipe)
    assessed = recipe.folder / "assess" / "summary.json"
    if assessed.is_file():
        metrics["simulated_test_cases"] = json.loads(assessed.read_text(encoding="utf-8"))
    return package_networks(recipe, recipe.folder / "package", provenance(recipe, path, _data(recipe)), metrics)


def _data(recipe: Recipe) -> str:
    """Return in words what the images of the training are."""
    first, last = recipe.train.cases
    shapes = {
        "kits19": f"the KiTS19 kidney and tumour shapes {first:05d} to {last:05d}",
        "kits23": f"the KiTS23 kidney, tumour and cyst shapes {first:05d} to {last:05d}",
        "procedural": "drawn shapes",
    }[recipe.train.shapes]
    for also in recipe.train_also:
        if also.cases != recipe.train.cases:
            shapes += " and {:05d} to {:05d}".format(*also.cases)
    text = f"Simulated CT around {shapes}; no real image."
    return f"{text} Livers and their lesions are drawn." if recipe.labels == "liver" else text


def package_networks(
    recipe: PackageRecipe, root: Path, origin: dict[str, Any], metrics: dict[str, Any]
) -> ModelPackage:
    """Write ``<root>/<name>/<version>/`` from the networks trained in the recipe's folder.

    ``origin`` and ``metrics`` go into the package. Raises ``ConfigError`` when the locator or refiner is not trained.
    """
    if recipe.labels not in LABEL_TABLES:
        raise ConfigError(f'labels is "{recipe.labels}"; {" or ".join(LABEL_TABLES)} was expected.')
    networks = {role: _trained(recipe, role) for role in recipe.networks}
    refiner = networks.pop("refiner", None)
    if refiner is None:
        raise ConfigError("The recipe has no trained refiner.", "Run its stage refiner first.")
    facts = PackageFacts(
        name=recipe.name,
        version=recipe.version,
        title=recipe.title,
        task=recipe.task,
        labels=LABEL_TABLES[recipe.labels],
        region=recipe.region,
        licence=recipe.licence,
        notice=recipe.notice,
        demonstration=recipe.demonstration,
        provenance=origin,
        metrics=metrics,
    )
    return write_package(root, facts, refiner, **networks)


def _trained(recipe: PackageRecipe, role: str) -> TrainedNetwork | None:
    """Return a trained network; None for one that only the viewer shows and that is not trained yet."""
    if role in _SHOWN and not (recipe.folder / role / "best.safetensors").is_file():
        return None
    entry = recipe.networks[role]
    return TrainedNetwork(
        module=_shifted(trained_network(recipe, role), entry),
        network=entry.network,
        parameters={"in_channels": len(entry.patch.windows), "classes": len(entry.classes) + 1, **entry.parameters},
        spacing_mm=entry.patch.spacing_mm,
        windows=entry.patch.windows,
        classes=["background", *entry.exported],
        openvino=role not in _SHOWN,
    )


def _shifted(network: MergeClasses, entry: NetworkRecipe) -> MergeClasses:
    """Add the recipe's ``logit_shift`` to the bias of the last layer."""
    if entry.logit_shift:
        last = network.network.get_submodule(network.network.taps["out"])
        bias = getattr(last, "bias", None)
        if bias is None or len(bias) != len(entry.classes) + 1:
            raise ConfigError(
                f'logit_shift cannot be added to the network "{entry.network}", whose last layer has no bias.'
            )
        with torch.no_grad():
            for name, value in entry.logit_shift.items():
                bias[1 + list(entry.classes).index(name)] += value
    return network


def provenance(recipe: PackageRecipe, path: Path, data: str) -> dict[str, Any]:
    """Return where the weights come from: recipe, its checksum, ``data`` in words, and steps."""
    steps: dict[str, Any] = {}
    for role, entry in recipe.networks.items():
        weights = recipe.folder / role / "best.safetensors"
        if weights.is_file():
            network = trained_network(recipe, role)
            steps[role] = {
                "network": entry.network,
                "parameters": parameter_count(network),
                "steps_planned": entry.training.steps,
                **({"went_on_from": Path(entry.initial).name} if entry.initial else {}),
                **({"keep_share": entry.keep_share} if entry.keep_share < 1 else {}),
                **({"logit_shift": entry.logit_shift} if entry.logit_shift else {}),
                **({"widened_from": entry.initial_parameters} if entry.initial_parameters is not None else {}),
                **({"began_anew": _new_classes(entry)} if _new_classes(entry) else {}),
                **({"distillation": _methods(entry)} if entry.distillation else {}),
                **read_metadata(weights),
            }
    return {
        "recipe": path.name,
        "recipe_sha256": file_sha256(path),
        "hlfd": __version__,
        "data": data,
        "networks": steps,
    }


def _new_classes(entry: NetworkRecipe) -> list[str]:
    """Return the training classes that the initial weights did not have."""
    had = entry.classes if entry.initial_classes is None else entry.initial_classes
    return [name for name in entry.classes if name not in had]


def _methods(entry: NetworkRecipe) -> str:
    assert entry.distillation is not None
    return ", ".join(f"{method.name} x {method.weight:g}" for method in entry.distillation.entries())


def training_metrics(recipe: PackageRecipe) -> dict[str, Any]:
    """Return what the training of each network measured on validation patches."""
    values: dict[str, Any] = {}
    for role in recipe.networks:
        result = recipe.folder / role / "result.json"
        if result.is_file():
            patches = json.loads(result.read_text(encoding="utf-8"))
            if patches:  # none without steps
                values[f"{role}_validation_patches"] = {name: round(value, 4) for name, value in patches.items()}
    return values
