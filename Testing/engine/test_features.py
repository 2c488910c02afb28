"""Feature taps: by module path, through wrappers and checkpoints, and always taken off again."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from hlfd.errors import ConfigError
from hlfd.features import FeatureTap, unwrap
from hlfd.networks import NETWORKS, build_network


class Several(nn.Module):
    """A network whose modules return a tuple, a mapping and nothing that is a tensor."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.tuple_of = Wrap(lambda x: (x, 2 * x))
        self.mapping = Wrap(lambda x: {"deep": 3 * x})
        self.nothing = Wrap(lambda x: None)

    def forward(self, x):
        x = self.conv(x)
        self.nothing(x)
        return self.tuple_of(x)[0] + self.mapping(x)["deep"]


class Wrap(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU())
        self.second = nn.Conv2d(3, 2, 1)
        self.calls, self.reentrant = 0, reentrant

    def forward(self, x):
        x = checkpoint(self._first, x.requires_grad_(), use_reentrant=self.reentrant)
        return self.second(x)

    def _first(self, x):
        self.calls += 1
        return self.first(x)


def hooks(module):
    return sum(len(child._forward_hooks) for child in module.modules())


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU()))


def test_features_are_what_the_modules_return():
    net, x = network(), torch.randn(2, 1, 4, 5)
    with FeatureTap(net, {"e1": "0", "deep": "1.0", "out": ""}) as features:
        out = net(x)
    first = net[0](x)
    assert torch.equal(features["e1"], first)
    assert torch.equal(features["deep"], net[1][0](first))
    assert features["out"] is out


def test_a_loss_on_a_feature_reaches_the_weights_before_it():
    net = network()
    with FeatureTap(net, {"e1": "0"}) as features:
        net(torch.randn(2, 1, 4, 4))
    features["e1"].square().sum().backward()
    assert net[0].weight.grad is not None
    assert net[1][0].weight.grad is None


def test_the_last_call_of_a_shared_module_counts():
    shared = nn.Conv2d(2, 2, 1)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    with FeatureTap(net, {"x": "0"}) as features:
        out = net(torch.randn(1, 2, 3, 3))
    assert features["x"] is out


def test_hooks_are_gone_after_use_and_after_an_error():
    net = network()
    tap = FeatureTap(net, {"e1": "0", "out": "1"})
    assert hooks(net) == 0
    for _ in range(2):  # it can be entered again
        with tap as features:
            assert hooks(net) == 2
            net(torch.randn(1, 1, 2, 2))
        assert hooks(net) == 0
        assert set(features) == {"e1", "out"}
    with pytest.raises(RuntimeError), tap:
        net(torch.randn(1, 5, 2, 2))  # wrong channels
    assert hooks(net) == 0
    assert tap.features == {}  # nothing left of the earlier pass


def test_a_wrong_path_names_the_nearest_modules_before_anything_runs():
    net = build_network("s2d_unet", widths=(4, 6))
    with pytest.raises(ConfigError, match=r'Tap "e1": S2dUnet has no module "encodr.0".*encoder.0'):
        FeatureTap(net, {"e1": "encodr.0"})
    assert hooks(net) == 0


def test_outputs_of_a_module_with_several_are_named_by_index_or_key():
    net, x = Several(), torch.randn(1, 1, 2, 2)
    with FeatureTap(net, {"a": "tuple_of:1", "b": "mapping:deep", "c": "conv"}) as features:
        net(x)
    assert torch.equal(features["a"], 2 * features["c"])
    assert torch.equal(features["b"], 3 * features["c"])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tuple_of", 'returns a tuple of 2; a tensor was expected. Name one of its outputs, as in "tuple_of:0"'),
        ("tuple_of:2", 'a tuple of 2. has no entry "2"'),
        ("tuple_of:deep", 'has no entry "deep"'),
        ("mapping:shallow", 'a mapping with deep. has no entry "shallow"'),
        ("nothing", "returns NoneType"),
    ],
)
def test_an_output_that_is_no_tensor_is_refused(path, message):
    net = Several()
    with pytest.raises(ConfigError, match=message), FeatureTap(net, {"x": path}):
        net(torch.randn(1, 1, 2, 2))
    assert hooks(net) == 0


def test_checkpointed_features_carry_a_gradient_and_are_taken_once():
    net = Checkpointed(reentrant=False)
    with FeatureTap(net, {"x": "first"}) as features:
        out = net(torch.randn(2, 1, 4, 4))
        taken = features["x"]
        (out.sum() + taken.square().sum()).backward()  # inside, so that the hooks are there in the recomputation
        assert features["x"] is taken
    assert net.calls == 2
    assert net.first[0].weight.grad is not None


def test_a_reentrant_checkpoint_lets_a_gradient_through_its_output_alone():
    net = Checkpointed(reentrant=True)
    with FeatureTap(net, {"output": "first", "inner": "first.0"}) as features:
        out = net(torch.randn(2, 1, 4, 4))
        taken = dict(features)
        out.sum().backward()
        assert all(features[name] is taken[name] for name in taken)
    assert taken["output"].requires_grad
    assert not taken["inner"].requires_grad  # Distillation refuses such a tap


def test_taps_look_through_data_parallel_and_compile_wrappers(tmp_path):
    net = build_network("s2d_unet", classes=2, widths=(4, 6))
    image = torch.randn(2, 1, 8, 8, 8)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net)
        assert unwrap(wrapped) is net
        with FeatureTap(wrapped, net.taps) as features:
            wrapped(image)
        features["e1"].sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert net.stem[0].weight.grad is not None
    assert hooks(wrapped) == 0
    assert unwrap(nn.DataParallel(net)) is net
    assert unwrap(torch.compile(net)) is net


@pytest.mark.parametrize("name", sorted(set(NETWORKS) & {"s2d_unet", "dynunet_small", "segresnet"}))
def test_every_declared_tap_of_a_network_can_be_read(name):
    net = build_network(name, classes=3, **({} if name == "segresnet" else {"widths": (4, 6, 8)}))
    with torch.no_grad(), FeatureTap(net, net.taps) as features:
        net(torch.randn(1, 1, 16, 16, 16))
    assert set(features) == set(net.taps)


def test_outputs_of_a_torchscript_network_can_be_named():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x):
            y = self.conv(x)
            return y, y + 1

    net = torch.jit.trace(Two(), torch.randn(1, 1, 3, 3))
    with FeatureTap(net, {"e1": ":0", "out": ":1"}) as features:
        net(torch.randn(1, 1, 3, 3))
    assert torch.equal(features["e1"] + 1, features["out"])
