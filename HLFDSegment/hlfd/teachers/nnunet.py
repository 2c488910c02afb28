"""An nnU-Net v2 model folder as a teacher.

Format: a folder ``<trainer>__<plans>__<configuration>`` with ``plans.json``, ``dataset.json`` and, per fold,
``fold_<n>/checkpoint_final.pth`` (MIC-DKFZ/nnUNet, documentation/inference_format.md and ``save_checkpoint``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hlfd.config import look_up
from hlfd.errors import ConfigError, ModelError
from hlfd.teachers.inputs import ChannelInput
from hlfd.teachers.nnunet_labels import RegionsToClasses, read_labels
from hlfd.teachers.nnunet_networks import NnunetNetwork
from hlfd.teachers.settings import TeacherSettings
from hlfd.teachers.teacher import Teacher, choose_taps
from hlfd.teachers.weights import load_state, read_pickled, state_dict_of

_NETWORKS = {"PlainConvUNet": False, "ResidualEncoderUNet": True}
_KNOWN = (
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"),
    *(
        "n_conv_per_stage_decoder",
        "conv_bias",
        "norm_op",
        "norm_op_kwargs",
        "dropout_op",
        "dropout_op_kwargs",
        "nonlin",
    ),
    *("nonlin_kwargs", "nonlin_first", "deep_supervision"),
)
_FILE_AXES = "SPL"  # of a CT with axial slices as SimpleITK reads it


def load_nnunet(settings: TeacherSettings) -> Teacher:
    """Load a folder of an nnU-Net v2 model: one fold, in full resolution, without deep supervision.

    A network trained on regions (sigmoid) is turned into one of classes. The checkpoint is read without running code
    in it. Raises ``ModelError`` for a cascade's second stage and other architectures than nnU-Net's two U-Nets.
    """
    folder = Path(settings.source).expanduser()
    plans, dataset = read_json(folder, "plans.json", "nnUNetPlans.json"), read_json(folder, "dataset.json")
    path = find_checkpoint(folder, settings)
    checkpoint = read_pickled(path)
    name = settings.configuration or _configuration_of(checkpoint, folder)
    configuration = read_configuration(plans, name)
    labels = read_labels(dataset, path)
    channels = len(dataset.get("channel_names") or dataset.get("modality") or ["CT"])
    network = build_unet(configuration, channels, labels.heads)
    load_state(network, own_names(state_dict_of(checkpoint, path)), path)
    module: nn.Module = RegionsToClasses(network, labels.patterns) if labels.patterns else network
    known = {tap: f"network.{place}" if labels.patterns else place for tap, place in network.taps.items()}
    order = [int(axis) for axis in plans.get("transpose_forward", range(3))]
    dims = len(configuration["patch_size"])
    return Teacher(
        module=module,
        taps=choose_taps(module, known, settings.taps),
        in_channels=channels,
        spatial_dims=dims,
        classes=labels.classes,
        spacing_mm=tuple(float(value) for value in configuration.get("spacing", ()))[-dims:],
        orientation="".join(_FILE_AXES[axis] for axis in order)[-dims:],
        inputs=read_inputs(plans, configuration, channels),
        divisor=network.divisor,
        licence=str(dataset.get("licence") or dataset.get("license") or ""),
        origin=f"nnU-Net {folder.name}, {path.parent.name}",
    )


def read_json(folder: Path, *names: str) -> dict[str, Any]:
    """Read the first of the files ``names`` that the folder has."""
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ModelError(
            f'The nnU-Net folder "{folder}" has no {names[0]}.',
            "Name the folder of one trained configuration, which holds plans.json, dataset.json and fold_0.",
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f'"{path}" is not valid JSON: {error}.', "Copy the model again.") from error
    if not isinstance(data, dict):
        raise ModelError(f'"{path}" holds {type(data).__name__}; a mapping was expected.', "Copy the model again.")
    return data


def find_checkpoint(folder: Path, settings: TeacherSettings) -> Path:
    """Return the checkpoint of the fold that is asked for, else of the lowest one that has it."""
    found = sorted(path.parent.name for path in folder.glob(f"fold_*/{settings.checkpoint}"))
    if not found:
        raise ModelError(
            f'The nnU-Net folder "{folder}" has no fold_*/{settings.checkpoint}.',
            "Copy the folds too, or state checkpoint: checkpoint_best.pth.",
        )
    fold = look_up(f"fold_{settings.fold}", found, "fold") if settings.fold else found[0]
    return folder / fold / settings.checkpoint


def _configuration_of(checkpoint: Any, folder: Path) -> str:
    """Return the configuration that a checkpoint was trained with: its own note, else the end of the folder's name."""
    arguments = checkpoint.get("init_args") if isinstance(checkpoint, Mapping) else None
    if isinstance(arguments, Mapping) and isinstance(arguments.get("configuration"), str):
        return str(arguments["configuration"])
    return folder.name.rpartition("__")[2] or "3d_fullres"


def read_configuration(plans: Mapping[str, Any], name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a configuration of the plans, with what it inherits."""
    configurations = plans.get("configurations")
    if not isinstance(configurations, Mapping):
        raise ModelError("plans.json has no configurations.", "Only plans of nnU-Net version 2 are read.")
    if look_up(name, list(configurations), "configuration of the plans") in seen:
        raise ModelError(f'The configuration "{name}" of the plans inherits from itself.', "Copy the model again.")
    own = dict(configurations[name])
    parent = own.pop("inherits_from", None)
    merged = {**read_configuration(plans, str(parent), (*seen, name)), **own} if parent else own
    if merged.get("previous_stage"):
        raise ModelError(
            f'The configuration "{name}" is the second stage of a cascade, which also takes the first stage\'s result.',
            "Choose 3d_fullres, 3d_lowres or 2d.",
        )
    return merged


def build_unet(configuration: Mapping[str, Any], channels: int, heads: int) -> NnunetNetwork:
    """Build the network that a configuration of the plans describes, in the format of 2024 or the one before."""
    architecture = configuration.get("architecture")
    if isinstance(architecture, Mapping):
        name = str(architecture["network_class_name"]).rpartition(".")[2]
        arguments = dict(architecture["arch_kwargs"])
    else:
        name, arguments = _older(configuration)
    other = [key for key, value in arguments.items() if key not in _KNOWN and value is not None]
    if name not in _NETWORKS or other:
        raise ModelError(
            f'The plans name the network "{name}"' + (f" with {', '.join(other)}" if other else "") + ", which is not "
            "one of nnU-Net's own U-Nets (PlainConvUNet, ResidualEncoderUNet).",
            "Build it yourself and name it as package.module:builder, with the checkpoint under weights.",
        )
    try:
        return NnunetNetwork(arguments, channels, heads, residual=_NETWORKS[name])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The plans lack or misstate {error} of the architecture.", "Copy the model again.") from error


def _older(configuration: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the network's name and arguments of plans from before they held an architecture."""
    try:
        name, counts = str(configuration["UNet_class_name"]), list(configuration["n_conv_per_stage_encoder"])
        base, most = int(configuration["UNet_base_num_features"]), int(configuration["unet_max_num_features"])
        dims = len(configuration["patch_size"])
        return name, {
            "n_stages": len(counts),
            "features_per_stage": [min(base * 2**stage, most) for stage in range(len(counts))],
            "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
            "kernel_sizes": configuration["conv_kernel_sizes"],
            "strides": configuration["pool_op_kernel_sizes"],
            "n_blocks_per_stage" if _NETWORKS.get(name) else "n_conv_per_stage": counts,
            "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
        }
    except KeyError as error:
        raise ModelError(f"The configuration of the plans lacks {error}.", "Copy the model again.") from error


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what a checkpoint holds twice: the encoder inside the decoder, and ``all_modules`` of each unit."""
    return {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith("decoder.encoder.") and ".all_modules." not in name
    }


def read_inputs(plans: Mapping[str, Any], configuration: Mapping[str, Any], channels: int) -> tuple[ChannelInput, ...]:
    """Return the CT normalisation of every channel: clipped to the 0.5th and 99.5th percentile, minus mean, by sd.

    Schemes that depend on the whole image (z-score) cannot be made of patches; then nothing is returned, and asking for
    the windows says so.
    """
    schemes = list(configuration.get("normalization_schemes", []))
    facts = plans.get("foreground_intensity_properties_per_channel") or plans.get(
        "foreground_intensity_properties_by_modality"
    )
    if len(schemes) != channels or any(scheme != "CTNormalization" for scheme in schemes) or not facts:
        return ()
    try:
        return tuple(
            ChannelInput(
                float(facts[str(n)]["percentile_00_5"]),
                float(facts[str(n)]["percentile_99_5"]),
                float(facts[str(n)]["mean"]),
                max(float(facts[str(n)]["std"]), 1e-8),
            )
            for n in range(channels)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"The plans lack or misstate the intensity fact {error}.", "Copy the model again.") from error
