"""TorchScript files as teachers: taps on submodules and on outputs, though no hook ever runs inside."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError, ModelError
from hlfd.features import FeatureTap
from hlfd.teachers import TeacherSettings, fit_teacher, load_teacher

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CLASSES = ("background", "kidney", "tumor")
TAPS = {"e1": "stem", "e2": "stages.0", "e3": "stages.1.1", "d2": "up"}


class Net(nn.Module):
    """Calls one submodule twice, two alike ones, and one through another method."""

    def __init__(self, outputs: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, 4, 3, padding=1)
        self.stages = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1)) for _ in range(2))
        self.up = nn.Conv3d(4, 4, 1)
        self.head = nn.Conv3d(4, 3, 1)
        self.unused = nn.Conv3d(4, 4, 1)
        self.outputs = outputs

    def encode(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, image: Tensor):
        middle = self.encode(image)
        x = self.up(torch.relu(self.up(middle)))
        if self.outputs:
            return middle, self.head(x)
        return self.head(x)


class Single(Net):
    """The same with one kind of output, which scripting needs."""

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.up(torch.relu(self.up(self.encode(image)))))


def save(network: nn.Module, path, script: bool = False) -> nn.Module:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.script(network) if script else torch.jit.trace(network, torch.rand(1, 1, 8, 8, 8))
        made.save(str(path))
    return network


def expected(network: nn.Module, image: Tensor) -> dict[str, Tensor]:
    with FeatureTap(network, TAPS) as features, torch.no_grad():
        network(image)
    return features


@pytest.mark.parametrize("script", [False, True], ids=["traced", "scripted"])
def test_taps_inside_a_torchscript_file_are_those_of_the_network(tmp_path, script):
    network = save(Single(), tmp_path / "teacher.ts", script)
    teacher = load_teacher(TeacherSettings(str(tmp_path / "teacher.ts"), taps=TAPS))
    assert (teacher.in_channels, teacher.spatial_dims) == (1, 3)
    for size in (8, 12, 12):  # other sizes than the traced one, and after compilation
        image = torch.rand(2, 1, size, 8, 10)
        with FeatureTap(teacher.module, teacher.taps) as features:
            logits = teacher.module(image)
        torch.testing.assert_close(logits, network(image).detach())
        wanted = expected(network, image)
        assert features.keys() == {*TAPS, "out"}
        for name in TAPS:
            torch.testing.assert_close(features[name], wanted[name])


def test_a_copy_of_a_teacher_taps_itself(tmp_path):
    save(Single(), tmp_path / "teacher.ts")
    teacher = load_teacher(TeacherSettings(str(tmp_path / "teacher.ts"), taps=TAPS))
    other = copy.deepcopy(teacher.module)
    image = torch.rand(1, 1, 8, 8, 8)
    with FeatureTap(other, teacher.taps) as features:
        other(image)
    with FeatureTap(teacher.module, teacher.taps) as again:
        teacher.module(image)
    assert all(torch.equal(features[name], again[name]) for name in teacher.taps)


def test_outputs_are_tapped_by_index(tmp_path):
    network = save(Net(outputs=True), tmp_path / "teacher.pt")
    teacher = load_teacher(TeacherSettings(str(tmp_path / "teacher.pt"), taps={"e5": 0, "out": 1, "e1": "stem"}))
    image = torch.rand(1, 1, 8, 8, 8)
    with FeatureTap(teacher.module, teacher.taps) as features:
        logits = teacher.module(image)
    middle, wanted = network(image)
    torch.testing.assert_close(logits, wanted.detach())
    torch.testing.assert_close(features["e5"], middle.detach())
    torch.testing.assert_close(features["e1"], network.stem(image).detach())


def test_a_fitted_torchscript_teacher_gives_taps_and_no_gradient(tmp_path):
    save(Single(), tmp_path / "teacher.ts")
    facts = {"classes": CLASSES, "spacing_mm": 1.5, "windows": [[-200, 300]]}
    fitted = fit_teacher(
        load_teacher(TeacherSettings(str(tmp_path / "teacher.ts"), taps=TAPS, **facts)), CLASSES, [(-200, 300)], 1.5
    )
    with FeatureTap(fitted, fitted.taps) as features:
        logits = fitted(torch.rand(1, 1, 8, 8, 8))
    assert features.keys() == {*TAPS, "out"}
    assert torch.equal(features["out"], logits)
    assert not any(tensor.requires_grad for tensor in features.values())


def test_taps_that_cannot_be_are_named(tmp_path):
    path = tmp_path / "teacher.ts"
    save(Net(outputs=True), path)
    for taps, message in (
        ({"e1": "steam"}, 'Did you mean "stem"'),
        ({"e1": "unused"}, 'No forward pass calls the module "unused"'),
        ({"out": "head"}, "the index of an output was expected"),
        ({"e7": 0}, 'Unknown tap "e7"'),
    ):
        with pytest.raises(ConfigError, match=message):
            load_teacher(TeacherSettings(str(path), taps=taps))
    teacher = load_teacher(TeacherSettings(str(path), taps={"e1": 4}))
    with pytest.raises(ConfigError, match=r'tap "e1" is output 4, but .* returns 2.*0 to 1'):
        teacher.module(torch.zeros(1, 1, 8, 8, 8))


def test_files_that_are_no_torchscript_are_named(tmp_path):
    torch.save(Single().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "junk.ts").write_bytes(b"junk")
    for name in ("weights.pt", "junk.ts"):
        with pytest.raises(ModelError, match=r"is no TorchScript file.*torch.jit.trace"):
            load_teacher(tmp_path / name)
