"""Runs a recipe: anatomies, networks, package, its quality signal, and its score on simulated test cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from hlfd.config import look_up
from hlfd.data.phantom_source import PatchSettings, PhantomSource
from hlfd.data.pool import PoolEntry, PoolSettings, build_pool
from hlfd.distillation import TeacherSpec, build_objective
from hlfd.errors import ConfigError
from hlfd.events import CancelToken, OnEvent, Stage, ignore
from hlfd.files import write_json
from hlfd.losses import dice_ce_loss
from hlfd.networks import MergeClasses, SegmentationNetwork, build_network
from hlfd.networks.unfold import load_for_training, load_other_classes
from hlfd.networks.widen import widen
from hlfd.training.distributed import on_main
from hlfd.training.finetune_blend import blended
from hlfd.training.fit import fit
from hlfd.training.lesion_weights import LesionWeighted
from hlfd.training.objective import Objective, Supervised
from hlfd.training.recipe import NETWORK_STAGES, STAGES, NetworkRecipe, PackageRecipe, Recipe, read_recipe
from hlfd.training.source import PatchSource, Sample
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

    def pools() -> None:
        for part in ("train", "train_also", "validation"):
            pool(recipe, part, on_event, cancel)

    def package() -> None:
        from hlfd.training.packaging import package_recipe
        from hlfd.training.quality import keep_quality

        package_recipe(recipe, path)
        keep_quality(recipe)

    def quality() -> None:
        from hlfd.training.quality import quality_recipe

        quality_recipe(recipe, on_event, cancel)

    def assess() -> None:
        from hlfd.training.assess import assess_recipe

        assess_recipe(recipe, on_event, cancel)

    training = {
        role: partial(train_network, recipe, role, on_event, cancel)
        for role in NETWORK_STAGES
        if role in recipe.networks
    }
    ended = {"package": on_main(package), "quality": on_main(quality), "assess": on_main(assess)}
    run_stages({"pool": on_main(pools), **training, **ended}, STAGES, stages, on_event)
    return recipe.folder


def run_stages(
    actions: Mapping[str, Callable[[], object]], known: Sequence[str], chosen: Sequence[str] | None, on_event: OnEvent
) -> None:
    """Do the ``chosen`` actions (all by default) in their order; raise ``ConfigError`` for a stage not ``known``.

    Under ``torchrun`` all processes do them; what only writes files is made with ``on_main`` or ``in_shares``.
    """
    for stage in chosen or ():
        look_up(stage, list(known), "stage")
    for stage, action in actions.items():
        if not chosen or stage in chosen:
            on_event(Stage(stage))
            action()


def pool(recipe: Recipe, part: str, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> list[PoolEntry]:
    """Return the anatomies of ``train``, ``train_also`` or ``validation``, made where they are missing."""
    settings: PoolSettings | tuple[PoolSettings, ...] = getattr(recipe, part)
    entries = []
    for number, one in enumerate(settings if isinstance(settings, tuple) else (settings,), 1):
        folder = recipe.folder / "pool" / (part if number == 1 else f"{part}-{number}")
        entries += build_pool(folder, one, max(1, recipe.workers), on_event, cancel)
    return entries


def build_for_training(entry: NetworkRecipe, classes: int | None = None) -> SegmentationNetwork:
    """Build the network of a recipe with one channel per HU window and one per training class, or ``classes``."""
    channels = {"in_channels": len(entry.patch.windows), "classes": classes or len(entry.classes) + 1}
    return build_network(entry.network, **channels, **entry.parameters)


def trained_network(recipe: PackageRecipe, stage: str) -> MergeClasses:
    """Return the trained network of ``stage`` with its training classes merged into the exported ones."""
    from hlfd.checkpoint import load_weights

    weights = recipe.folder / stage / "best.safetensors"
    if not weights.is_file():
        raise ConfigError(f'"{weights}" is missing.', f"Run the stage {stage} of the recipe first.")
    entry = recipe.networks[stage]
    network = build_for_training(entry)
    load_weights(network, weights)
    if entry.keep_share < 1 and entry.initial is not None:
        before = trained_network(recipe, entry.initial).network
        network.load_state_dict(blended(before.state_dict(), network.state_dict(), entry.keep_share))
    return MergeClasses(network, entry.channel_groups())


def train_network(
    recipe: Recipe, stage: str, on_event: OnEvent = ignore, cancel: CancelToken | None = None
) -> dict[str, float]:
    """Train one network of the recipe, resuming an earlier run, and return its best validation metrics."""
    entry = recipe.networks[stage]
    assert isinstance(entry.patch, PatchSettings)  # as read_recipe reads it
    patients = [*pool(recipe, "train"), *pool(recipe, "train_also")]
    train_source = PhantomSource(patients, entry.patch, entry.classes, recipe.seed)
    held_out = PhantomSource(pool(recipe, "validation"), entry.patch, entry.classes, recipe.seed + 1)
    samples = [held_out.sample(index) for index in range(recipe.validation_patches)]
    teacher = trained_network(recipe, "teacher").network if entry.guided else None
    return fit_network(recipe, stage, train_source, samples, teacher, on_event, cancel)


def fit_network(
    recipe: PackageRecipe,
    stage: str,
    train_source: PatchSource,
    held_out: Sequence[Sample],
    teacher: nn.Module | TeacherSpec | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> dict[str, float]:
    """Train one network of a recipe on patches of any source; return the best metrics on the ``held_out`` ones.

    ``teacher`` is the frozen network that guides it, or the description of its outputs in the patches, where the
    recipe distils. An earlier run in the recipe's folder is resumed, a finished one is not repeated.
    """
    entry = recipe.networks[stage]
    network = build_for_training(entry)
    if entry.initial in recipe.networks:
        _go_on(network, recipe, entry)
    elif entry.initial:
        _begin_with(network, entry, train_source)
    if entry.small_lesions:
        lesions = [list(entry.classes).index(name) + 1 for name in entry.small_lesions.classes]
        train_source = LesionWeighted(train_source, entry.small_lesions, lesions, entry.patch.spacing_mm**3 / 1000)
    validator = PatchValidator(held_out, names=["background", *entry.exported], groups=entry.channel_groups())
    result = fit(
        network,
        make_objective(entry, network, teacher),
        train_source,
        entry.training,
        folder=recipe.folder / stage,
        validate=validator,
        on_event=on_event,
        cancel=cancel,
    )
    write_json(recipe.folder / stage / "result.json", result.metrics)
    return result.metrics


def make_objective(
    entry: NetworkRecipe, network: SegmentationNetwork, teacher: nn.Module | TeacherSpec | None = None
) -> Objective:
    """Return what the training of a recipe's network optimises: labels alone, or labels and a teacher."""
    loss = segmentation_loss(entry)
    if entry.distillation is None:
        return Supervised(loss)
    named = None if entry.distillation.segmentation != "dice_ce" else loss
    return build_objective(entry.distillation, network, teacher, segmentation=named)


def segmentation_loss(entry: NetworkRecipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Return Dice plus cross entropy with the recipe's class weights."""
    weights = tuple(entry.class_weights.get(name, 1.0) for name in ["background", *entry.classes])
    return partial(dice_ce_loss, class_weights=weights, smooth=1.0)


def _go_on(network: SegmentationNetwork, recipe: PackageRecipe, entry: NetworkRecipe) -> None:
    """Begin as the network of the recipe that ``entry`` goes on from, which may be narrower."""
    assert entry.initial is not None
    before = trained_network(recipe, entry.initial).network
    if recipe.networks[entry.initial].parameters == entry.parameters:
        network.load_state_dict(before.state_dict())
    else:
        widen(before, network)


def _begin_with(network: SegmentationNetwork, entry: NetworkRecipe, source: PatchSource) -> None:
    """Load the recipe's initial weights; a resumed run replaces them by its checkpoint's."""
    assert entry.initial is not None
    images = (source.sample(index)["image"][None] for index in range(_CALIBRATION_PATCHES))
    if entry.initial_classes is not None:
        build = partial(build_for_training, entry)
        load_other_classes(network, build, Path(entry.initial), images, entry.initial_classes, list(entry.classes))
        return
    donor = network
    if entry.initial_parameters is not None:
        donor = build_for_training(replace(entry, parameters=entry.initial_parameters))
    load_for_training(MergeClasses(donor, entry.channel_groups()), Path(entry.initial), images)  # as packages hold them
    if donor is not network:
        widen(donor, network)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
