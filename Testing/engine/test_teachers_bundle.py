"""MONAI bundles as teachers: built without running what they bring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.networks.nets import UNet

from hlfd.errors import ConfigError, ModelError
from hlfd.features import FeatureTap
from hlfd.teachers import TeacherSettings, fit_teacher, load_teacher
from hlfd.teachers.bundle_config import build, find_target, resolve

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
WINDOWS = ((-200.0, 300.0), (-1000.0, 1000.0))
NETWORK = {
    "_target_": "UNet",
    "spatial_dims": "@spatial_dims",
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": "$(2,)",
    "num_res_units": 0,
    "norm": ["INSTANCE", {"affine": True}],
}
PREPROCESSING = {
    "_target_": "Compose",
    "transforms": [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": "@pixdim", "mode": "bilinear"},
        {
            "_target_": "ScaleIntensityRanged",
            **{"keys": "image", "a_min": -160, "a_max": 240, "b_min": 0.0, "b_max": 1.0, "clip": True},
        },
    ],
}
METADATA = {
    "version": "0.1.0",
    "license": "Apache-2.0",
    "network_data_format": {
        "outputs": {"pred": {"channel_def": {"0": "Background", "1": "Kidney", "2": "Tumor"}}},
    },
}


def reference() -> UNet:
    torch.manual_seed(3)
    return UNet(3, 1, 3, (4, 8), (2,), num_res_units=0, norm=("INSTANCE", {"affine": True})).eval()


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A bundle as ``monai.bundle`` writes and runs it: a small U-Net with its weights."""
    folder = tmp_path / "kidney_bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = {"imports": ["$import os"], "spatial_dims": 3, "pixdim": [1.5, 1.5, 2.0], "network_def": NETWORK}
    config |= {"network": "$@network_def.to('cpu')", "preprocessing": PREPROCESSING}
    write(folder, "inference", config)
    write(folder, "metadata", METADATA)
    torch.save(reference().state_dict(), folder / "models" / "model.pt")
    return folder


def write(folder: Path, stem: str, values: dict) -> None:
    (folder / "configs" / f"{stem}.json").write_text(json.dumps(values, indent="\t"))


def change(folder: Path, **values) -> None:
    config = json.loads((folder / "configs" / "inference.json").read_text())
    write(folder, "inference", {**config, **values})


def test_a_bundle_gives_the_network_and_facts_that_it_states(bundle):
    teacher = load_teacher(bundle)
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(teacher.module(image), reference()(image))
    assert teacher.classes == ("background", "kidney", "tumor")
    assert (teacher.spacing_mm, teacher.orientation) == ((1.5, 1.5, 2.0), "RAS")
    assert [str(channel) for channel in teacher.inputs] == ["-160..240 HU to 0..1"]
    assert teacher.licence == "Apache-2.0"


def test_a_fitted_bundle_gives_what_the_bundle_gives_and_its_taps(bundle):
    taps = {"e1": "model.0", "d2": "model.2"}
    teacher = load_teacher(TeacherSettings(str(bundle), taps=taps))
    fitted = fit_teacher(teacher, teacher.classes, WINDOWS, (2.0, 1.5, 1.5))
    hu = torch.rand(1, 1, 8, 16, 12) * 800 - 400
    student = torch.cat([((hu - 50) / 250).clamp(-1, 1), hu / 1000], 1)
    with FeatureTap(fitted, {name: fitted.taps[name] for name in taps}) as features:
        logits = fitted(student)
    own = ((hu.clamp(-160, 240) + 160) / 400).permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(logits, reference()(own).permute(0, 1, 4, 3, 2), atol=1e-4, rtol=0)
    assert features["e1"].shape == (1, 4, 4, 8, 6)
    assert features["d2"].shape == (1, 3, 8, 16, 12)


def test_spacing_of_a_bundle_along_its_own_axes_is_compared(bundle):
    teacher = load_teacher(bundle)
    with pytest.raises(ConfigError, match=r"works at 2 x 1.5 x 1.5 mm, the student at 1.5 x 1.5 x 1.5 mm"):
        fit_teacher(teacher, teacher.classes, WINDOWS, 1.5)


def test_yaml_configurations_and_facts_that_are_stated_are_taken(bundle):
    import yaml

    config = json.loads((bundle / "configs" / "inference.json").read_text())
    (bundle / "configs" / "inference.json").unlink()
    (bundle / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    teacher = load_teacher({"source": str(bundle), "spacing_mm": 1.5, "classes": ["background", "organ", "mass"]})
    assert (teacher.spacing_mm, teacher.classes[1]) == ((1.5,) * 3, "organ")


def test_what_a_bundle_does_not_state_stays_unknown(bundle):
    change(bundle, preprocessing={"_target_": "Compose", "transforms": "$make_transforms()"})
    write(bundle, "metadata", {"version": "0.1.0"})
    teacher = load_teacher(bundle)
    assert (teacher.classes, teacher.spacing_mm, teacher.inputs, teacher.orientation) == ((), (), (), "RAS")


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "subprocess.run", "builtins.eval", "torch.hub.load", "torch.load", "monai.bundle.ConfigParser"),
        *("monai.networks.utils.pickle_operations", "monai.networks.nets.torch.load", "monai.networks.nets.resnet50"),
    ],
)
def test_targets_that_are_no_networks_are_refused_and_not_called(bundle, target):
    change(bundle, network_def={**NETWORK, "_target_": target})
    with pytest.raises(ModelError, match=r"only networks of monai.networks and torch.nn are built.*package.module"):
        load_teacher(bundle)


def test_expressions_are_refused_and_not_evaluated(bundle, tmp_path):
    mark = tmp_path / "ran"
    change(bundle, network_def={**NETWORK, "channels": f"$open({str(mark)!r}, 'w') and [4, 8]"})
    with pytest.raises(ModelError, match=r"network_def#channels.*evaluating it would run code.*write the value out"):
        load_teacher(bundle)
    assert not mark.exists()


def test_a_pickled_network_is_refused_and_not_loaded(bundle):
    torch.save(reference(), bundle / "models" / "model.pt")
    with pytest.raises(ModelError, match=r"holds more than tensors .*UNet.*could run code.*state_dict"):
        load_teacher(bundle)


def test_references_are_followed_and_their_faults_named():
    config = {"a": {"b": [1, "@c"]}, "c": "$'x'", "d": "@e", "e": "@d", "f": "%other.json::x", "g": "@none"}
    assert resolve("@a::b#1", config, "start") == "x"
    assert resolve({"k": ["@a#b", 2]}, config, "start") == {"k": [[1, "x"], 2]}
    with pytest.raises(ModelError, match="refers to itself"):
        resolve("@d", config, "start")
    with pytest.raises(ModelError, match="macro"):
        resolve("@f", config, "start")
    with pytest.raises(ModelError, match='refers to "none"'):
        resolve("@g", config, "start")


def test_networks_inside_networks_are_built():
    conv = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
    built = build({"_target_": "monai.networks.blocks.ADN", "in_channels": 2, "norm_dim": 3})
    assert build(conv)(torch.zeros(1, 1, 2, 2, 2)).shape == (1, 2, 2, 2, 2)
    assert isinstance(built, torch.nn.Module)
    assert find_target("UNet", "x") is UNet


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "models" / "model.pt").unlink(), "neither models/model.pt nor models/model.ts"),
        (lambda folder: (folder / "configs" / "metadata.json").unlink(), "no configs/metadata.json"),
        (lambda folder: (folder / "configs" / "inference.json").write_text("{"), "not readable"),
        (lambda folder: (folder / "models" / "model.pt").write_bytes(b"x" * 50), "damaged or no torch file"),
        (lambda folder: change(folder, network_def={**NETWORK, "channels": [8, 8]}), r"has shape .* was expected"),
        (lambda folder: change(folder, network_def={**NETWORK, "depth": 3}), "cannot be built: UNet says"),
        (lambda folder: change(folder, network_def="$make()"), "defines no network_def"),
    ],
)
def test_broken_bundles_are_named(bundle, break_it, message):
    break_it(bundle)
    with pytest.raises((ModelError, ConfigError), match=message):
        load_teacher(bundle)


def test_a_bundle_with_torchscript_alone_is_read(bundle):
    (bundle / "models" / "model.pt").unlink()
    image = torch.rand(1, 1, 16, 16, 16)
    torch.jit.trace(reference(), image).save(str(bundle / "models" / "model.ts"))
    teacher = load_teacher(TeacherSettings(str(bundle), taps={"e1": "model.0"}))
    torch.testing.assert_close(teacher.module(image), reference()(image))
    assert teacher.classes == ("background", "kidney", "tumor")
