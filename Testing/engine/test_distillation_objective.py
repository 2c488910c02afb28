"""From settings to an objective: what it reads, what it refuses, and what never happens to the teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from hlfd.config import from_mapping, read_yaml, write_yaml
from hlfd.distillation import METHODS, DistillSettings, TeacherSpec, build_objective
from hlfd.distillation.settings import METHOD_NAMES, method_parameters
from hlfd.errors import ConfigError, InputError
from hlfd.losses import dice_ce_loss, focal_dice_loss
from hlfd.networks import build_network, merge

CLASSES = 3


def student(dims=3, classes=CLASSES, **parameters):
    torch.manual_seed(1)
    return build_network("s2d_unet", classes=classes, widths=(4, 6, 8), spatial_dims=dims, **parameters)


def teacher(dims=3, classes=CLASSES, **parameters):
    torch.manual_seed(2)
    return build_network("dynunet_small", classes=classes, widths=(4, 6, 8, 8), spatial_dims=dims, **parameters)


def batch(dims=3, classes=CLASSES, size=16):
    generator = torch.Generator().manual_seed(0)
    shape = (2, *(size,) * dims)
    labels = torch.randint(0, classes, shape, generator=generator).to(torch.uint8)
    return {"image": torch.randn(2, 1, *shape[1:], generator=generator), "label": labels}


def settings(*methods, **values):
    return DistillSettings(methods=methods, **values)


def cached(objective, online, data):
    outputs = objective.teacher.outputs(data["image"], objective.teacher_taps)
    return {**data, **{f"teacher/{name}": tensor for name, tensor in outputs.items()}}


def test_all_methods_are_registered_by_their_names():
    assert sorted(METHODS) == sorted(METHOD_NAMES)
    assert all(METHODS[name].name == name for name in METHODS)
    assert len(METHODS) == 15


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_every_method_teaches_the_student_and_never_the_teacher(name, dims):
    own, other = student(dims), teacher(dims)
    before = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    objective = build_objective(settings(name), own, other)
    logits, terms = objective(own, batch(dims))
    assert logits.shape == (2, CLASSES, *(16,) * dims)
    assert terms.pop("segmentation").item() == pytest.approx(dice_ce_loss(logits, batch(dims)["label"]).item())
    assert bool(terms) == (name != "none")
    if not terms:
        return
    assert all(key.startswith(f"{name}/") and value.ndim == 0 for key, value in terms.items())
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in own.parameters())
    assert all(p.grad is None for p in other.parameters())
    assert all(p.grad is not None for p in objective.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in other.state_dict().items())


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_no_gradient_flows_into_teacher_features_even_if_they_want_one(name):
    own, other = student(), teacher()
    objective = build_objective(settings(name), own, other)
    method = objective.methods[name]
    taught, others = method.taps
    channels = method.student_channels, method.teacher_channels
    features = [
        {tap: torch.randn(2, side[tap], 4, 4, 4, requires_grad=True) for tap in taps}
        for taps, side in zip((taught, others), channels)
    ]
    terms = method(*features, torch.randint(0, CLASSES, (2, 4, 4, 4)))
    if terms:
        sum(terms.values()).backward()
    assert all(x.grad is None for x in features[1].values())


@pytest.mark.parametrize("name", ["at", "emkd", "cwd", "kd", "dist", "skd", "ifvd", "dkd", "cirkd"])
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(name):
    own = student()
    objective = build_objective(settings(name), own, own)
    own.eval()
    _, terms = objective(own, batch())
    assert sum(terms.values()).item() - terms["segmentation"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["fitnet", "mskd"])
def test_nothing_is_to_learn_either_once_the_projections_are_the_identity(name):
    own = student().eval()
    objective = build_objective(settings(name), own, own)
    own.eval()
    for key, parameter in objective.named_parameters():
        nn.init.zeros_(parameter) if key.endswith("bias") else nn.init.dirac_(
            parameter if parameter.ndim > 2 else parameter[:, :, None]
        )
    _, terms = objective(own, batch())
    assert sum(terms.values()).item() - terms["segmentation"].item() == pytest.approx(0, abs=1e-5)


def test_weights_multiply_the_terms_and_repeated_methods_are_numbered():
    own, other = student().eval(), teacher()
    plain = build_objective(settings("kd", "at"), own, other)
    weighted = build_objective(
        settings({"name": "kd", "weight": 0.5}, {"name": "kd", "temperature": 1.0}, {"name": "at", "weight": 2},
                 segmentation_weight=0.25), own, other)  # fmt: skip
    own.eval()
    _, one = plain(own, batch())
    _, two = weighted(own, batch())
    assert list(two) == ["segmentation", "kd/kd", "kd-2/kd", "at/attention"]
    assert two["kd/kd"].item() == pytest.approx(0.5 * one["kd/kd"].item())
    assert two["at/attention"].item() == pytest.approx(2 * one["at/attention"].item())
    assert two["segmentation"].item() == pytest.approx(0.25 * one["segmentation"].item())


def test_the_segmentation_loss_is_chosen_or_given():
    own, data = student().eval(), batch()
    objective = build_objective(settings("none", segmentation="focal_dice"), own)
    own.eval()
    logits, terms = objective(own, data)
    assert terms["segmentation"].item() == pytest.approx(focal_dice_loss(logits, data["label"]).item())
    objective = build_objective(settings("none"), own, segmentation=lambda logits, labels: logits.sum() * 0 + 7)
    assert objective(own, data)[1]["segmentation"].item() == 7


def test_only_projections_are_in_the_state_and_the_student_has_no_more_than_before():
    own, other = student(), teacher()
    names = set(own.state_dict())
    objective = build_objective(settings("hlfd", "fitnet"), own, other)
    assert all(name.startswith(("methods.hlfd.projections.", "methods.fitnet.projections.")) for name in
               objective.state_dict())  # fmt: skip
    assert set(own.state_dict()) == names
    assert not {id(p) for p in objective.parameters()} & {id(p) for p in (*own.parameters(), *other.parameters())}
    assert other not in list(objective.modules())


def test_building_leaves_the_random_state_and_the_mode_of_both_networks_alone():
    own, other = student(), teacher()
    other.eval()
    state = torch.get_rng_state()
    first = build_objective(settings("fitnet"), own, other)
    assert torch.equal(state, torch.get_rng_state())
    assert own.training
    assert not other.training
    again, different = (build_objective(settings("fitnet", seed=seed), own, other) for seed in (0, 1))
    weights = [next(iter(objective.parameters())) for objective in (first, again, different)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class TestCachedOutputs:
    def test_they_give_the_same_terms_as_the_online_teacher(self):
        own, other = student().eval(), teacher()
        online = build_objective(settings("hlfd", "kd"), own, other)
        data = cached(online, other, batch())
        channels = {name[8:]: tensor.shape[1] for name, tensor in data.items() if name.startswith("teacher/")}
        offline = build_objective(settings("hlfd", "kd"), own, TeacherSpec(channels))
        own.eval()
        for key, value in online(own, batch())[1].items():
            assert offline(own, data)[1][key].item() == pytest.approx(value.item(), rel=1e-5)

    def test_the_online_teacher_does_not_run_when_all_is_cached(self):
        own, other = student(), teacher()
        objective = build_objective(settings("kd"), own, other)
        data = cached(objective, other, batch())
        objective.teacher.module = nn.Module()  # would raise if it ran
        assert "kd/kd" in objective(own, data)[1]

    def test_missing_ones_are_named(self):
        own = student()
        objective = build_objective(settings("kd"), own, TeacherSpec({"out": CLASSES}))
        with pytest.raises(ConfigError, match="The batch lacks teacher/out and there is no online teacher"):
            objective(own, batch())

    def test_what_a_cache_must_hold_is_told(self):
        objective = build_objective(settings("emkd", "fitnet"), student(), teacher())
        assert objective.teacher_taps == ("e2", "e5", "out")


class TestTeacher:
    def test_it_may_have_more_classes_that_are_merged(self):
        own, other = student(classes=2), teacher(classes=4)
        groups = [[0, 3], [1, 2]]
        objective = build_objective(settings("kd"), own, other, groups=groups)
        other.eval()
        with torch.no_grad():
            expected = merge.merge_logits(other(batch()["image"]), groups)
        found = objective._teacher_outputs(batch())["out"]
        assert torch.allclose(found, expected, atol=1e-5)

    def test_other_classes_are_refused_before_training(self):
        with pytest.raises(ConfigError, match=r"The teacher has 4 classes, the student 3.*say with groups"):
            build_objective(settings("kd"), student(), teacher(classes=4))
        with pytest.raises(ConfigError, match=r"3 groups that hold each of the teacher's channels 0..3 once"):
            build_objective(settings("kd"), student(), teacher(classes=4), groups=[[0, 1], [2, 3]])

    def test_other_channels_or_axes_are_refused_before_training(self):
        with pytest.raises(ConfigError, match=r"The teacher cannot take an image of shape .*C = 2 was expected"):
            build_objective(settings("kd"), student(), teacher(in_channels=2))
        with pytest.raises(ConfigError, match="The teacher cannot take an image of shape"):
            build_objective(settings("kd"), student(), teacher(dims=2))

    def test_a_module_without_taps_is_refused(self):
        with pytest.raises(ConfigError, match=r"The teacher .Conv3d. declares no taps"):
            build_objective(settings("kd"), student(), nn.Conv3d(1, 3, 1))

    def test_any_module_that_names_its_paths_can_teach(self):
        foreign = nn.Sequential(nn.Conv3d(1, 5, 3, padding=1), nn.ReLU(), nn.Conv3d(5, CLASSES, 1))
        foreign.taps = {"e5": "1", "out": "2"}
        own = student()
        terms = build_objective(settings("kd", {"name": "fitnet", "taps": ["e5"]}), own, foreign)(own, batch())[1]
        assert set(terms) == {"segmentation", "kd/kd", "fitnet/e5"}
        foreign.taps = {"out": "5"}
        with pytest.raises(ConfigError, match='Tap "out": Sequential has no module "5"'):
            build_objective(settings("kd"), own, foreign)

    def test_it_is_put_into_eval_mode_and_runs_without_gradient(self):
        own, other = student(), teacher(norm="batch").train()
        objective = build_objective(settings("kd"), own, other)
        statistics = [buffer.clone() for buffer in other.buffers()]
        objective(own, batch())
        assert all(torch.equal(a, b) for a, b in zip(statistics, other.buffers()))

    def test_none_is_needed_where_no_method_reads_one(self):
        own = student()
        assert list(build_objective(settings("none"), own)(own, batch())[1]) == ["segmentation"]
        with pytest.raises(ConfigError, match='kd: the teacher has no tap "out"; its taps are none'):
            build_objective(settings("kd"), own)


def test_a_student_tap_without_gradient_is_refused():
    own = student()
    stage = own.encoder[1]
    own.encoder[1].forward = lambda x: checkpoint(type(stage).forward, stage, x, use_reentrant=True)
    inner = own.encoder[1][0]
    objective = build_objective(settings({"name": "fitnet", "taps": ["e3"]}), own, teacher())
    objective._paths = {"e3": "encoder.1.0"}  # a module inside the checkpoint
    with pytest.raises(ConfigError, match=r'"e3" carries no gradient.*use_reentrant=False'):
        objective(own, batch())
    assert not inner._forward_hooks


def test_decoupled_distillation_refuses_two_classes():
    with pytest.raises(ConfigError, match=r"dkd was asked for with 2 classes.*Use kd"):
        build_objective(settings("dkd"), student(classes=2), teacher(classes=2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": ["hlfdd"]}, 'Unknown method "hlfdd".*Did you mean "hlfd"'),
        ({"methods": [{"name": "kd", "temprature": 2}]}, 'Unknown key of method "kd" "temprature".*"temperature"'),
        ({"methods": [{"name": "kd", "weight": -1}]}, 'The weight of method "kd" is -1'),
        ({"methods": [{"name": "kd", "weight": "high"}]}, "a number of 0 or more"),
        ({"methods": [{"weight": 1}]}, "a name or a mapping with name"),
        ({"methods": []}, "a list of methods was expected"),
        ({"methods": 3}, "methods is 3; a list of methods was expected"),
        ({"segmentation": "dice"}, 'Unknown segmentation loss "dice"'),
        ({"segmentation_weight": -0.5}, "0 or more was expected"),
        ({"method": ["kd"]}, 'Unknown key in distillation "method".*"methods"'),
    ],
)
def test_wrong_settings_are_refused_when_they_are_read(values, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(DistillSettings, values, "distillation")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"name": "fitnet", "taps": ["e9"]}, 'fitnet: the student has no tap "e9"; its taps are e1, e2'),
        ({"name": "fitnet", "taps": []}, "fitnet: taps is empty"),
        ({"name": "kd", "temperature": 0}, "kd: temperature is 0; a number above 0"),
        ({"name": "kd", "temperature": "hot"}, "kd: temperature is hot; a number above 0"),
        ({"name": "skd", "nodes": 0}, "skd: nodes is 0; a number of at least 1"),
        ({"name": "mskd", "keep": 2}, "mskd: keep is 2; a fraction up to 1"),
        ({"name": "cirkd", "tap": 5}, 'cirkd: the student has no tap "5"'),
        ({"name": "at", "taps": 5}, "at: its parameters .* do not fit"),
    ],
)
def test_wrong_parameters_are_refused_before_training(method, message):
    with pytest.raises(ConfigError, match=message):
        build_objective(settings(method), student(), teacher())


def test_every_parameter_of_every_method_has_a_default_and_can_be_read_from_yaml(tmp_path):
    methods = [{"name": name, "weight": 0.5, **method_parameters(name)} for name in METHOD_NAMES]
    path = tmp_path / "distillation.yaml"
    write_yaml(settings(*methods), path)
    again = from_mapping(DistillSettings, read_yaml(path), "distillation")
    assert [entry.name for entry in again.entries()] == list(METHOD_NAMES)
    objective = build_objective(again, student(), teacher())
    assert len(objective.methods) == len(METHOD_NAMES)


def test_shapes_that_do_not_fit_are_refused():
    from hlfd.distillation.emkd import region_affinity_loss
    from hlfd.distillation.kd import prediction_map_loss

    with pytest.raises(InputError, match="with the same batch, channels was expected"):
        prediction_map_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(InputError, match="do not fit"):
        prediction_map_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4, 4))
    with pytest.raises(InputError, match=r"Labels \(1, 1, 4, 4\) do not belong to features"):
        region_affinity_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4).long())
    with pytest.raises(InputError, match="integers were expected"):
        region_affinity_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4))


def test_importance_maps_do_not_change_with_scale_nor_affinities_with_the_order_of_channels():
    from hlfd.distillation.attention import importance_map_loss
    from hlfd.distillation.emkd import region_affinity_loss

    generator = torch.Generator().manual_seed(0)
    for size in ((8, 8), (8, 6, 4)):
        s, t = torch.randn(2, 5, *size, generator=generator), torch.randn(2, 7, *size, generator=generator)
        labels = torch.randint(0, 3, (2, *size), generator=generator)
        assert importance_map_loss(30 * s, 0.1 * t).item() == pytest.approx(importance_map_loss(s, t).item(), rel=1e-4)
        order = torch.randperm(5, generator=generator)
        shuffled = region_affinity_loss(s[:, order], t.flip(1), labels)
        assert shuffled.item() == pytest.approx(region_affinity_loss(s, t, labels).item(), rel=1e-4)


def test_half_precision_features_are_computed_in_float32():
    own, other = student(), teacher()
    objective = build_objective(settings(*METHOD_NAMES), own, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, terms = objective(own, batch())
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in own.parameters() if p.grad is not None)
