"""nnU-Net v2 folders as teachers, in the format of its plans and checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hlfd.errors import ConfigError, ModelError
from hlfd.features import FeatureTap
from hlfd.teachers import TeacherSettings, fit_teacher, load_teacher
from hlfd.teachers.nnunet_labels import RegionsToClasses, read_labels
from hlfd.teachers.nnunet_networks import NnunetNetwork

WINDOWS = ((-200.0, 300.0), (-1000.0, 1000.0))
FACTS = {"mean": 100.0, "std": 75.0, "percentile_00_5": -58.0, "percentile_99_5": 302.0, "min": -900.0, "max": 3071.0}
PLAIN = {
    "n_stages": 3,
    "features_per_stage": [4, 6, 8],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
RESIDUAL = {**{k: v for k, v in PLAIN.items() if k != "n_conv_per_stage"}, "n_blocks_per_stage": [1, 2, 2]}
ARCHITECTURES = {
    "PlainConvUNet": ("dynamic_network_architectures.architectures.unet.PlainConvUNet", PLAIN),
    "ResidualEncoderUNet": ("dynamic_network_architectures.architectures.unet.ResidualEncoderUNet", RESIDUAL),
}
LABELS = {"background": 0, "kidney": 1, "tumor": 2}
REGIONS = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}


def network_of(name: str = "PlainConvUNet", heads: int = 3) -> NnunetNetwork:
    torch.manual_seed(1)
    return NnunetNetwork(ARCHITECTURES[name][1], 1, heads, residual=name != "PlainConvUNet").eval()


def write_model(
    folder: Path, name="PlainConvUNet", labels=None, network=None, spacing=(3.0, 0.8, 0.8), **changes
) -> Path:
    """Write a model folder as training leaves it; ``changes`` go into the configuration."""
    folder = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (folder / "fold_0").mkdir(parents=True)
    path, arguments = ARCHITECTURES[name]
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "patch_size": [16, 32, 32],
        "spacing": list(spacing),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": path,
            "arch_kwargs": arguments,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    plans = {
        "dataset_name": "Dataset220_KiTS2023",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": {**configuration, **changes}},
        "foreground_intensity_properties_per_channel": {"0": FACTS},
    }
    dataset = {"channel_names": {"0": "CT"}, "labels": labels or LABELS, "file_ending": ".nii.gz", "numTraining": 1}
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    write_checkpoint(folder, network or network_of(name))
    return folder


def write_checkpoint(folder: Path, network: torch.nn.Module, **more) -> None:
    """Write what ``nnUNetTrainer.save_checkpoint`` writes, tensors that it holds twice and NumPy numbers included."""
    weights = {}
    for name, tensor in network.state_dict().items():
        weights[name] = tensor
        if ".conv.weight" in name:
            weights[name.replace(".conv.", ".all_modules.0.")] = tensor
        if name.startswith("encoder."):
            weights[f"decoder.{name}"] = tensor
    checkpoint = {
        "network_weights": weights,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0]}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(-0.4)], "lrs": [0.01]},
        "_best_ema": np.float64(0.71),
        "current_epoch": 1000,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        **more,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_a_model_folder_gives_its_network_and_facts(tmp_path, name):
    teacher = load_teacher(write_model(tmp_path, name))
    image = torch.rand(1, 1, 8, 16, 16)
    assert torch.equal(teacher.module(image), network_of(name)(image))
    assert teacher.classes == ("background", "kidney", "tumor")
    assert (teacher.spacing_mm, teacher.orientation, teacher.divisor) == ((3.0, 0.8, 0.8), "SPL", 4)
    (channel,) = teacher.inputs
    assert (channel.low, channel.high, channel.shift, channel.scale) == (-58.0, 302.0, 100.0, 75.0)


def test_parameters_have_the_names_of_nnunet():
    plain, residual = network_of().state_dict(), network_of("ResidualEncoderUNet").state_dict()
    assert plain["encoder.stages.0.0.convs.1.conv.weight"].shape == (4, 4, 1, 3, 3)
    assert plain["decoder.stages.1.convs.0.conv.weight"].shape == (4, 8, 1, 3, 3)
    assert plain["decoder.transpconvs.0.weight"].shape == (8, 6, 2, 2, 2)
    assert plain["decoder.seg_layers.1.bias"].shape == (3,)
    assert residual["encoder.stem.convs.0.norm.weight"].shape == (4,)
    assert residual["encoder.stages.1.blocks.0.skip.1.conv.weight"].shape == (6, 4, 1, 1, 1)
    assert "encoder.stages.1.blocks.0.skip.1.conv.bias" not in residual
    assert residual["encoder.stages.2.blocks.1.conv2.norm.bias"].shape == (8,)


def test_a_fitted_model_folder_gives_logits_and_taps_of_the_student(tmp_path):
    teacher = load_teacher(write_model(tmp_path, spacing=(1.5, 1.5, 1.5)))
    fitted = fit_teacher(teacher, ("background", "kidney", "tumor"), WINDOWS, 1.5)
    hu = torch.rand(1, 1, 8, 16, 12) * 800 - 400
    student = torch.cat([((hu - 50) / 250).clamp(-1, 1), hu / 1000], 1)
    with FeatureTap(fitted, fitted.taps) as features:
        logits = fitted(student)
    own = ((hu.clamp(-58, 302) - 100) / 75).flip([3, 4])  # files run to the patient's left and back
    torch.testing.assert_close(logits, network_of()(own).flip([3, 4]), atol=1e-4, rtol=0)
    assert features["e3"].shape == (1, 8, 4, 4, 3)
    assert features["d2"].shape == (1, 4, 8, 16, 12)


def test_older_plans_without_an_architecture_are_read(tmp_path):
    folder = write_model(
        tmp_path,
        architecture=None,
        UNet_class_name="PlainConvUNet",
        UNet_base_num_features=4,
        unet_max_num_features=6,
        n_conv_per_stage_encoder=[2, 2, 2],
        n_conv_per_stage_decoder=[2, 2],
        conv_kernel_sizes=PLAIN["kernel_sizes"],
        pool_op_kernel_sizes=PLAIN["strides"],
        network=NnunetNetwork({**PLAIN, "features_per_stage": [4, 6, 6]}, 1, 3, residual=False),
    )
    assert load_teacher(folder).module.state_dict()["encoder.stages.2.0.convs.0.conv.weight"].shape[0] == 6


def test_regions_become_classes_that_agree_with_their_thresholds(tmp_path):
    teacher = load_teacher(write_model(tmp_path, labels=REGIONS))
    assert teacher.classes == ("background", "kidney", "tumor", "masses")
    torch.manual_seed(0)
    probabilities = torch.rand(1, 3, 500).sort(dim=1, descending=True).values  # nested: kidney > masses > tumor
    classes = RegionsToClasses(torch.nn.Identity(), read_labels({"labels": REGIONS}, tmp_path / "x").patterns)
    found = classes(torch.logit(probabilities)).argmax(1)
    kidney, masses, tumor = (probabilities > 0.5).unbind(1)
    wanted = torch.where(tumor, 2, torch.where(masses, 3, torch.where(kidney, 1, 0)))
    assert torch.equal(found, wanted)


def test_tensors_at_taps_inside_a_region_network_are_found(tmp_path):
    teacher = load_teacher(write_model(tmp_path, labels=REGIONS))
    with FeatureTap(teacher.module, {"e1": teacher.taps["e1"], "out": teacher.taps["out"]}) as features:
        logits = teacher.module(torch.rand(1, 1, 8, 16, 16))
    assert logits.shape == (1, 4, 8, 16, 16)
    assert (features["e1"].shape[1], features["out"].shape[1]) == (4, 3)


class Code:
    """What a malicious checkpoint holds."""

    def __reduce__(self):
        return os.mkdir, ("created-by-a-checkpoint",)


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_model(tmp_path)
    write_checkpoint(folder, network_of(), init_args={"configuration": Code()})
    with pytest.raises(ModelError, match=r"holds more than tensors .*mkdir.*save its weights alone"):
        load_teacher(folder)
    assert not (tmp_path / "created-by-a-checkpoint").exists()


def test_weights_saved_alone_are_read(tmp_path):
    folder = write_model(tmp_path)
    torch.save(network_of().state_dict(), folder / "fold_0" / "checkpoint_final.pth")
    assert load_teacher(folder).classes == ("background", "kidney", "tumor")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"previous_stage": "3d_lowres"}, "second stage of a cascade"),
        ({"architecture": {"network_class_name": "my.Net", "arch_kwargs": PLAIN}}, 'the network "Net"'),
        ({"architecture": {"network_class_name": "x.PlainConvUNet", "arch_kwargs": {"n_stages": 3}}}, "'conv_op'"),
        (
            {
                "architecture": {
                    "network_class_name": "x.PlainConvUNet",
                    "arch_kwargs": {**PLAIN, "nonlin": "os.system"},
                }
            },
            'layer "os.system"',
        ),
        (
            {"architecture": {"network_class_name": "x.PlainConvUNet", "arch_kwargs": {**PLAIN, "strides": [1, 2]}}},
            "has 2 entries; 3 were expected",
        ),
        (
            {
                "architecture": {
                    "network_class_name": "x.PlainConvUNet",
                    "arch_kwargs": {**PLAIN, "n_conv_per_stage": [3, 3, 3]},
                }
            },
            "lacks .* tensors of the network",
        ),
        ({"architecture": None}, "lacks 'UNet_class_name'"),
    ],
)
def test_plans_that_are_not_nnunets_own_are_refused(tmp_path, changes, message):
    with pytest.raises(ModelError, match=message):
        load_teacher(write_model(tmp_path, **changes))


def test_missing_files_and_choices_are_named(tmp_path):
    folder = write_model(tmp_path)
    with pytest.raises(ConfigError, match='Unknown fold "fold_7"'):
        load_teacher(TeacherSettings(str(folder), fold="7"))
    with pytest.raises(ConfigError, match='Unknown configuration of the plans "3d_lowres"'):
        load_teacher(TeacherSettings(str(folder), configuration="3d_lowres"))
    with pytest.raises(ModelError, match=r"no fold_.*checkpoint_best"):
        load_teacher(TeacherSettings(str(folder), checkpoint="checkpoint_latest.pth"))
    (folder / "dataset.json").unlink()
    with pytest.raises(ModelError, match=r"no dataset.json.*Name the folder of one trained configuration"):
        load_teacher(folder)


def test_a_normalisation_that_patches_cannot_have_is_refused_when_fitted(tmp_path):
    teacher = load_teacher(write_model(tmp_path, normalization_schemes=["ZScoreNormalization"]))
    with pytest.raises(ConfigError, match=r"windows of the teacher .* not known"):
        fit_teacher(teacher, teacher.classes, WINDOWS, (3.0, 0.8, 0.8))
