"""Runs a recipe: anatomies, locator, refiner, teacher, package, and its score on simulated test cases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import nn

from hlfd.config import look_up
from hlfd.data.phantom_source import PhantomSource
from hlfd.data.pool import PoolEntry, PoolSettings, build_pool
from hlfd.errors import ConfigError
from hlfd.events import CancelToken, OnEvent, Stage, ignore
from hlfd.losses import dice_ce_loss
from hlfd.networks import MergeClasses, SegmentationNetwork, build_network
from hlfd.networks.unfold import load_for_training
from hlfd.training.fit import fit
from hlfd.training.objective import Supervised
from hlfd.training.recipe import NETWORK_STAGES, STAGES, NetworkRecipe, Recipe, read_recipe
from hlfd.training.validation import PatchValidator

_CALIBRATION_PATCHES = 8


def run_recipe(
    path: Path,
    stages: Sequence[str] | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> Path:
    """Run ``stages`` (all by default) of the recipe at ``path`` and return its folder.

    Finished stages are skipped and broken ones resumed. Raises ``ConfigError`` for a wrong recipe or stage.
    """
    recipe = read_recipe(path)
    for stage in stages or ():
        look_up(stage, list(STAGES), "stage")
    for stage in STAGES:
        if stages and stage not in stages:
            continue
        if stage in NETWORK_STAGES and stage not in recipe.networks:
            continue
        on_event(Stage(stage))
        if stage == "pool":
            for part in ("train", "validation"):
                pool(recipe, part, on_event, cancel)
        elif stage in NETWORK_STAGES:
            train_network(recipe, stage, on_event, cancel)
        elif stage == "package":
            from hlfd.training.packaging import package_recipe

            package_recipe(recipe, path)
        else:
            from hlfd.training.assess import assess_recipe

            assess_recipe(recipe, on_event, cancel)
    return recipe.folder


def pool(recipe: Recipe, part: str, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> list[PoolEntry]:
    """Return the anatomies of ``train``, ``validation`` or ``test``, made where they are missing."""
    settings: PoolSettings = getattr(recipe, part)
    return build_pool(recipe.folder / "pool" / part, settings, max(1, recipe.workers), on_event, cancel)


def build_for_training(entry: NetworkRecipe) -> SegmentationNetwork:
    """Build the network of a recipe with one channel per HU window and one per training class."""
    channels = {"in_channels": len(entry.patch.windows), "classes": len(entry.classes) + 1}
    return build_network(entry.network, **channels, **entry.parameters)


def trained_network(recipe: Recipe, stage: str) -> MergeClasses:
    """Return the trained network of ``stage`` with its training classes merged into the exported ones."""
    from hlfd.checkpoint import load_weights

    weights = recipe.folder / stage / "best.safetensors"
    if not weights.is_file():
        raise ConfigError(f'"{weights}" is missing.', f"Run the stage {stage} of the recipe first.")
    network = build_for_training(recipe.networks[stage])
    load_weights(network, weights)
    return MergeClasses(network, recipe.networks[stage].channel_groups())


def train_network(
    recipe: Recipe, stage: str, on_event: OnEvent = ignore, cancel: CancelToken | None = None
) -> dict[str, float]:
    """Train one network of the recipe, resuming an earlier run, and return its best validation metrics."""
    entry = recipe.networks[stage]
    network = build_for_training(entry)
    train_source = PhantomSource(pool(recipe, "train"), entry.patch, entry.classes, recipe.seed)
    held_out = PhantomSource(pool(recipe, "validation"), entry.patch, entry.classes, recipe.seed + 1)
    if entry.initial:
        _begin_with(network, entry, train_source)
    names = ["background", *entry.classes]
    weights = tuple(entry.class_weights.get(name, 1.0) for name in names)
    validator = PatchValidator(
        [held_out.sample(index) for index in range(recipe.validation_patches)],
        names=["background", *entry.exported],
        groups=entry.channel_groups(),
    )
    result = fit(
        network,
        Supervised(partial(dice_ce_loss, class_weights=weights, smooth=1.0)),
        train_source,
        entry.training,
        folder=recipe.folder / stage,
        validate=validator,
        on_event=on_event,
        cancel=cancel,
    )
    (recipe.folder / stage / "result.json").write_text(json.dumps(result.metrics, indent=1), encoding="utf-8")
    return result.metrics


def _begin_with(network: SegmentationNetwork, entry: NetworkRecipe, source: PhantomSource) -> None:
    """Load the recipe's initial weights; a resumed run replaces them by its checkpoint's."""
    assert entry.initial is not None
    merged = MergeClasses(network, entry.channel_groups())  # as packages and runs hold them
    images = (source.sample(index)["image"][None] for index in range(_CALIBRATION_PATCHES))
    load_for_training(merged, Path(entry.initial), images)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
