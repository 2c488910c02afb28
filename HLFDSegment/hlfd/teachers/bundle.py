"""A MONAI bundle as a teacher: its network, weights, and what its configuration and metadata say.

Format: https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from hlfd.errors import HlfdError, ModelError
from hlfd.teachers.bundle_config import build, network_definition, read_config, resolve
from hlfd.teachers.inputs import ChannelInput
from hlfd.teachers.settings import TeacherSettings
from hlfd.teachers.teacher import Teacher, choose_taps, first_channels, tensor_dims
from hlfd.teachers.torchscript import load_torchscript
from hlfd.teachers.weights import load_state, read_pickled, state_dict_of


def load_bundle(settings: TeacherSettings) -> Teacher:
    """Load a bundle: ``models/model.pt`` into its ``network_def``, else ``models/model.ts``.

    Classes come from the metadata; spacing and HU range from the preprocessing, where it states them in literal values.
    """
    folder = Path(settings.source).expanduser()
    config, metadata = read_config(folder, "inference"), read_config(folder, "metadata")
    weights = folder / "models" / "model.pt"
    script = next((path for path in (folder / "models").glob("model.ts")), None)
    if weights.is_file():
        teacher = _from_definition(settings, config, weights)
    elif script is not None:
        teacher = load_torchscript(replace(settings, source=str(script)))
    else:
        raise ModelError(
            f'The bundle "{folder}" holds neither models/model.pt nor models/model.ts.',
            "Download its weights as its README says (python -m monai.bundle download).",
        )
    return replace(
        teacher,
        classes=read_classes(metadata),
        spacing_mm=read_spacing(config, teacher.spatial_dims),
        orientation=read_orientation(config, teacher.spatial_dims),
        inputs=read_inputs(config, teacher.in_channels),
        licence=read_licence(folder, metadata),
        origin=f"MONAI bundle {folder}",
    )


def read_licence(folder: Path, metadata: dict[str, Any]) -> str:
    """Return the licence that the metadata names, else the first line of the file LICENSE; empty without either."""
    stated = metadata.get("license") or metadata.get("licence")
    path = folder / "LICENSE"
    if stated or not path.is_file():
        return str(stated or "")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in lines if line.strip()), "")


def _from_definition(settings: TeacherSettings, config: dict[str, Any], weights: Path) -> Teacher:
    module = build(network_definition(config))
    if not isinstance(module, nn.Module):
        raise ModelError("The bundle's network_def does not build a network.", "Download the bundle again.")
    load_state(module, state_dict_of(read_pickled(weights), weights), weights)
    dims = tensor_dims(module)
    return Teacher(
        module=module,
        taps=choose_taps(module, {}, settings.taps),
        in_channels=settings.in_channels or first_channels(module, dims),
        spatial_dims=dims,
    )


def read_classes(metadata: dict[str, Any]) -> tuple[str, ...]:
    """Return the class names of ``network_data_format.outputs.*.channel_def``, in lower case; none where not stated."""
    outputs = _mapping(_mapping(metadata.get("network_data_format")).get("outputs"))
    for output in outputs.values():
        names = _mapping(_mapping(output).get("channel_def"))
        if names and all(str(key).isdigit() for key in names):
            ordered = sorted(names.items(), key=lambda item: int(item[0]))
            if [int(key) for key, _ in ordered] == list(range(len(ordered))):
                return tuple(str(name).strip().lower() for _, name in ordered)
    return ()


def read_spacing(config: dict[str, Any], dims: int) -> tuple[float, ...]:
    """Return the ``pixdim`` of the preprocessing's Spacing; empty where not stated."""
    for transform in _transforms(config):
        if _name(transform) in ("Spacingd", "SpacingD", "SpacingDict", "Spacing"):
            pixdim = _literal(transform.get("pixdim"), config)
            if isinstance(pixdim, (list, tuple)) and len(pixdim) == dims and all(_positive(v) for v in pixdim):
                return tuple(float(value) for value in pixdim)
            if _positive(pixdim):
                return (float(pixdim),) * dims
    return ()


def read_orientation(config: dict[str, Any], dims: int) -> str:
    """Return the ``axcodes`` of the preprocessing's Orientation; RAS, as most bundles have it, where not stated.

    MONAI's arrays are (i, j, k), so that even without Orientation their axes are in another order than a student's.
    """
    for transform in _transforms(config):
        if _name(transform).startswith("Orientation"):
            codes = _literal(transform.get("axcodes"), config)
            if isinstance(codes, str) and len(codes) == 3:
                return codes[:dims]
    return "RAS"[:dims]


def read_inputs(config: dict[str, Any], channels: int) -> tuple[ChannelInput, ...]:
    """Return the clipped ScaleIntensityRange of the preprocessing for every channel; empty where there is none."""
    found = []
    for transform in _transforms(config):
        if _name(transform).startswith("ScaleIntensityRange") and "Percentile" not in _name(transform):
            values = [_literal(transform.get(key), config) for key in ("a_min", "a_max", "b_min", "b_max", "clip")]
            if all(isinstance(value, (int, float)) for value in values[:4]) and values[4] is True:
                found.append(ChannelInput.of_window(values[:2], values[2:4]))
    return tuple(found * channels) if len(found) == 1 else ()


def _transforms(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the definitions of the preprocessing's transforms, those of a nested Compose too."""
    for key in ("preprocessing", "preprocess", "pre_transforms", "transforms_infer"):
        yield from _walk(config.get(key))


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield value
        for item in value.values():
            yield from _walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item)


def _name(transform: dict[str, Any]) -> str:
    return str(transform["_target_"]).rpartition(".")[2]


def _literal(value: Any, config: dict[str, Any]) -> Any:
    """Return a value of the preprocessing, None where it would have to be evaluated: it is only information."""
    try:
        return resolve(value, config, "preprocessing")
    except HlfdError:
        return None


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
