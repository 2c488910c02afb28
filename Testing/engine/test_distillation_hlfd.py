"""HLFD: its formulas against NumPy, its switches, and the defect of the released code that ours repairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hlfd.distillation import METHODS
from hlfd.distillation.attention import fused_importance_map_loss, importance_map_loss
from hlfd.distillation.hlfd import (
    Hlfd,
    HlfdReleased,
    corrected_fused_pixel_loss,
    feature_feedback_loss,
    pixel_feedback_individual,
    pixel_feedback_loss,
)
from hlfd.distillation.kd import prediction_map_loss
from hlfd.errors import ConfigError, InputError

DIMS = pytest.mark.parametrize("dims", [2, 3])
LEVELS = {"e1": 1, "e2": 1, "e3": 2, "e4": 4, "e5": 8, "d5": 8, "d4": 4, "d3": 2, "d2": 1, "out": 1}
STUDENT = {name: 2 + index for index, name in enumerate(LEVELS)} | {"out": 3}
TEACHER = {name: 4 + index for index, name in enumerate(LEVELS)} | {"out": 3}


def maps(channels, dims, seed=0, gradient=False):
    """Feature maps of a network of 16 voxels per axis; each axis halves from stage to stage."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(2, count, *(16 // LEVELS[name],) * dims, generator=generator).requires_grad_(gradient)
        for name, count in channels.items()
    }


def labels(dims):
    return torch.zeros(2, *(16,) * dims, dtype=torch.long)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def divergence(teacher, student, temperature):
    q, p = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * (q * (np.log(q) - np.log(p))).sum(1).mean()


def conv(x, convolution):
    weight = convolution.weight.detach().double().numpy()
    weight = weight.reshape(weight.shape[:2])
    bias = convolution.bias.detach().double().numpy().reshape(1, -1, *[1] * (x.ndim - 2))
    return np.moveaxis(np.tensordot(weight, x, (1, 1)), 0, 1) + bias


def interpolate(x, size):
    mode = {4: "bilinear", 5: "trilinear"}[x.ndim]
    return F.interpolate(torch.from_numpy(x), size=size, mode=mode, align_corners=False).numpy()


def projections(dims, shapes, seed=0):
    torch.manual_seed(seed)
    kind = torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d
    return {name: kind(*channels, 1) for name, channels in shapes.items()}


INDIVIDUAL = {name: (STUDENT[name], 3) for name in ("d4", "d3", "d2")}
FUSED = TEACHER["d5"] + TEACHER["d4"] + TEACHER["d3"]


@DIMS
def test_feature_feedback_is_half_unified_and_half_individual(dims):
    s, t = maps(STUDENT, dims), maps(TEACHER, dims, 1)
    unified = fused_importance_map_loss(s["e1"], [t["e2"], t["e3"], t["e4"]])
    individual = sum(importance_map_loss(s[name], t["e5"]) for name in ("e2", "e3", "e4"))
    assert feature_feedback_loss(s, t).item() == pytest.approx((0.5 * unified + 0.5 * individual).item(), rel=1e-6)


@DIMS
def test_pixel_feedback_as_released(dims):
    s, t = maps(STUDENT, dims), maps(TEACHER, dims, 1)
    made = projections(dims, {"d5": (FUSED, STUDENT["d5"]), **INDIVIDUAL})
    student, teacher = ({k: x.double().numpy() for k, x in side.items()} for side in (s, t))
    smallest = (2,) * dims
    fused = np.concatenate([interpolate(teacher[k], smallest) for k in ("d5", "d4", "d3")], 1)
    unified = divergence(conv(fused, made["d5"]), student["d5"], 4) * 2 / STUDENT["d5"]
    full = (16,) * dims
    individual = sum(
        divergence(teacher["out"], interpolate(conv(student[k], made[k]), full), 4) for k in ("d4", "d3", "d2")
    )
    expected = 0.5 * unified + 0.5 * individual
    assert pixel_feedback_loss(s, t, made).item() == pytest.approx(expected, rel=1e-4)


@DIMS
def test_corrected_fused_pixel_loss(dims):
    s, t = maps(STUDENT, dims), maps(TEACHER, dims, 1)
    t["d4"] = 1000 * t["d4"]
    project = projections(dims, {"d5": (STUDENT["d5"], FUSED)})["d5"]
    teacher = [interpolate(t[k].double().numpy(), (2,) * dims) for k in ("d5", "d4", "d3")]
    axes = tuple(range(1, dims + 2))
    fused = np.concatenate([x / np.sqrt((x**2).mean(axes, keepdims=True)) for x in teacher], 1)
    expected = divergence(fused, conv(s["d5"].double().numpy(), project), 1)
    assert corrected_fused_pixel_loss(s, t, project).item() == pytest.approx(expected, rel=1e-4)


@DIMS
def test_pixel_feedback_at_the_taps_compares_block_means(dims):
    s, t = maps(STUDENT, dims), maps(TEACHER, dims, 1)
    made = projections(dims, INDIVIDUAL)
    soft, expected = softmax(t["out"].double().numpy() / 4), 0.0
    for name in ("d4", "d3", "d2"):
        count, step = 16 // LEVELS[name], LEVELS[name]
        cut = soft.reshape(2, 3, *[n for _ in range(dims) for n in (count, step)])
        target = cut.mean(tuple(range(3, 3 + 2 * dims, 2)))
        p = softmax(conv(s[name].double().numpy(), made[name]) / 4)
        expected += 16 * (target * (np.log(target) - np.log(p))).sum(1).mean()
    assert pixel_feedback_individual(s, t, made, at_tap=True).item() == pytest.approx(expected, rel=1e-4)


@DIMS
@pytest.mark.parametrize("name", ["hlfd", "hlfd-released"])
def test_the_parts_add_up_with_the_published_weights(dims, name):
    s, t = maps(STUDENT, dims), maps(TEACHER, dims, 1)
    method = METHODS[name](STUDENT, TEACHER, 3, dims)
    terms = method(s, t, labels(dims))
    assert list(terms) == ["features_unified", "features_individual", "pixels_unified", "pixels_individual"]
    released = name == "hlfd-released"
    features = terms["features_unified"] + terms["features_individual"]
    assert features.item() == pytest.approx(0.9 * feature_feedback_loss(s, t, normalise=not released).item(), rel=1e-5)
    again = HlfdReleased(STUDENT, TEACHER, 3, dims).projections.draw(torch.device("cpu"))
    if released:
        pixels = terms["pixels_unified"] + terms["pixels_individual"]
        assert pixels.item() == pytest.approx(0.1 * pixel_feedback_loss(s, t, again).item(), rel=1e-5)


def mean_cosines(method, dims, steps=12):
    """Per student feature: mean cosine of the pixel term's gradients on it, kept fixed, over all pairs of steps."""
    student, teacher = maps(STUDENT, dims, gradient=True), maps(TEACHER, dims, 1)
    parameters = list(method.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3) if parameters else None
    gradients = []
    for _ in range(steps):
        terms = method(student, teacher, labels(dims))
        loss = terms["pixels_unified"] + terms["pixels_individual"]
        own = [student[name] for name in ("d5", "d4", "d3", "d2")]
        gradients.append([g.flatten() for g in torch.autograd.grad(loss, own, retain_graph=True)])
        if optimizer is not None:
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
    result = []
    for of_feature in zip(*gradients):
        pairs = itertools.combinations(of_feature, 2)
        result.append(float(torch.stack([F.cosine_similarity(a, b, dim=0) for a, b in pairs]).mean()))
    return result


@DIMS
def test_the_pixel_term_has_a_stable_direction_where_that_of_the_released_one_is_noise(dims):
    assert min(mean_cosines(Hlfd(STUDENT, TEACHER, 3, dims), dims)) > 0.9
    # The released d5 term pulls towards a uniform softmax, which is a stable direction; see the next test.
    _, *individual = mean_cosines(HlfdReleased(STUDENT, TEACHER, 3, dims), dims)
    assert max(abs(cosine) for cosine in individual) < 0.2


def test_the_released_pixel_target_is_nearly_uniform_and_ours_is_not():
    student, teacher = {"d5": 256}, {"d5": 512, "d4": 256, "d3": 128}
    generator = torch.Generator().manual_seed(0)
    sizes = {"d5": 8, "d4": 16, "d3": 32}
    t = {k: torch.randn(1, c, sizes[k], sizes[k], generator=generator) for k, c in teacher.items()}

    def entropy(x, temperature):
        p = F.softmax(x / temperature, 1)
        return float(-(p * p.log()).sum(1).mean() / np.log(x.shape[1]))

    released = HlfdReleased(student, teacher, 3, 2, pixels_individual=False, feature_weight=0.0,
                            features_unified=False, features_individual=False)  # fmt: skip
    small = [F.interpolate(x, size=(8, 8), mode="bilinear") for x in t.values()]
    drawn = released.projections.draw(torch.device("cpu"))["d5"](torch.cat(small, 1))
    assert entropy(drawn, 4.0) > 0.998
    normalised = torch.cat([x / x.square().mean().sqrt() for x in small], 1)
    assert entropy(normalised, 1.0) < 0.95


def test_released_projections_are_new_in_every_step_and_repeat_with_the_seed():
    def draws(seed, count):
        method = HlfdReleased(STUDENT, TEACHER, 3, 3, seed=seed)
        x = torch.ones(1, STUDENT["d4"], 2, 2, 2)
        return [method.projections.draw(x.device)["d4"](x) for _ in range(count)]

    first = draws(0, 3)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(first, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, draws(0, 3)))
    assert not torch.equal(first[0], draws(1, 1)[0])
    assert not list(HlfdReleased(STUDENT, TEACHER, 3, 3).parameters())


def test_released_projections_look_like_those_of_a_fresh_convolution():
    method = HlfdReleased(STUDENT, TEACHER, 3, 3)
    fan_in = STUDENT["d2"]
    drawn = torch.stack([method.projections.draw(torch.device("cpu"))["d2"].keywords["weight"] for _ in range(200)])
    assert drawn.abs().max() <= fan_in**-0.5
    assert drawn.std().item() == pytest.approx((fan_in * 3) ** -0.5, rel=0.05)  # of U(-a, a)


def test_a_restored_method_goes_on_drawing_where_it_stopped():
    method, restored = HlfdReleased(STUDENT, TEACHER, 3, 3), HlfdReleased(STUDENT, TEACHER, 3, 3)
    x = torch.ones(1, STUDENT["d4"], 2, 2, 2)
    for _ in range(3):
        method.projections.draw(x.device)
    restored.load_state_dict(method.state_dict())
    assert torch.equal(method.projections.draw(x.device)["d4"](x), restored.projections.draw(x.device)["d4"](x))


@DIMS
def test_corrected_projections_are_trained_and_sit_on_the_students_side(dims):
    method = Hlfd(STUDENT, TEACHER, 3, dims)
    shapes = {name: tuple(p.shape[:2]) for name, p in method.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "projections.maps.d5.weight": (FUSED, STUDENT["d5"]),
        "projections.maps.d4.weight": (3, STUDENT["d4"]),
        "projections.maps.d3.weight": (3, STUDENT["d3"]),
        "projections.maps.d2.weight": (3, STUDENT["d2"]),
    }
    terms = method(maps(STUDENT, dims), maps(TEACHER, dims, 1), labels(dims))
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


@pytest.mark.parametrize(
    ("switch", "part"),
    [(part, part) for part in ("features_unified", "features_individual", "pixels_unified", "pixels_individual")],
)
@pytest.mark.parametrize("name", ["hlfd", "hlfd-released"])
def test_every_part_can_be_switched_off(name, switch, part):
    method = METHODS[name](STUDENT, TEACHER, 3, 2, **{switch: False})
    assert part not in method(maps(STUDENT, 2), maps(TEACHER, 2, 1), labels(2))
    alone = {s: s == switch for s in ("features_unified", "features_individual", "pixels_unified", "pixels_individual")}
    method = METHODS[name](STUDENT, TEACHER, 3, 2, **alone)
    own, other = method.taps
    s, t = maps(STUDENT, 2), maps(TEACHER, 2, 1)
    terms = method({k: s[k] for k in own}, {k: t[k] for k in other}, labels(2))  # it reads no more than it says
    assert list(terms) == [part]


def test_logits_and_deepest_terms_can_be_added():
    s, t = maps(STUDENT, 3), maps(TEACHER, 3, 1)
    for logits in ("kd", "cwd", "dist"):
        method = Hlfd(STUDENT, TEACHER, 3, 3, logits=logits, logits_weight=0.3, deepest=True, deepest_weight=0.2)
        terms = method(s, t, labels(3))
        assert list(terms)[-2:] == ["logits", "deepest"]
        assert terms["deepest"].item() == pytest.approx(0.2 * importance_map_loss(s["e5"], t["e5"]).item())
        if logits == "kd":
            assert terms["logits"].item() == pytest.approx(0.3 * prediction_map_loss(s["out"], t["out"]).item())


def test_random_projections_and_unnormalised_maps_make_ours_the_released_one():
    ours = Hlfd(STUDENT, TEACHER, 3, 2, projections="random", normalise=False, grid="logits")
    released = HlfdReleased(STUDENT, TEACHER, 3, 2)
    s, t = maps(STUDENT, 2), maps(TEACHER, 2, 1)
    pairs = zip(ours(s, t, labels(2)).items(), released(s, t, labels(2)).items())
    assert all(a == b for a, b in pairs)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"logits": "kdd"}, 'Did you mean "kd"'),
        ({"projections": "frozen"}, 'Unknown projections of hlfd "frozen"'),
        ({"grid": "pixels"}, "Unknown grid"),
        ({"features_unified": "yes"}, "features_unified is 'yes'; true or false was expected"),
        ({"pixel_weight": -1}, "pixel_weight is -1; a number of at least 0"),
        ({"temperature": 0}, "temperature is 0; a number above 0"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ConfigError, match=message):
        Hlfd(STUDENT, TEACHER, 3, 2, **parameters)


def test_a_missing_tap_is_named():
    with pytest.raises(ConfigError, match='hlfd: the teacher has no tap "d5"; its taps are e1, out'):
        Hlfd(STUDENT, {"e1": 3, "out": 3}, 3, 2, features_unified=False, features_individual=False)
    with pytest.raises(InputError, match="The teacher's features lack e4"):
        feature_feedback_loss(maps(STUDENT, 2), {k: v for k, v in maps(TEACHER, 2).items() if k != "e4"})
