"""Every formula of the distillation methods against plain NumPy, written from the formula alone, in 2-D and 3-D."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import grey_dilation, grey_erosion, label

from hlfd.distillation.attention import at_loss, attention_map, fused_importance_map_loss, importance_map_loss
from hlfd.distillation.cirkd import cirkd_loss
from hlfd.distillation.cwd import cwd_loss
from hlfd.distillation.dist import dist_loss
from hlfd.distillation.dkd import dkd_loss
from hlfd.distillation.emkd import region_affinity_loss
from hlfd.distillation.fitnet import fitnet_loss
from hlfd.distillation.ifvd import ifvd_loss
from hlfd.distillation.kd import prediction_map_loss
from hlfd.distillation.mskd import filtered_feature_loss, region_graph_loss
from hlfd.distillation.reviewkd import hcl_loss, reviewkd_loss
from hlfd.distillation.skd import skd_loss

SIZES = [pytest.param((12, 8), id="2d"), pytest.param((8, 6, 4), id="3d")]
HALF = {2: (6, 4), 3: (4, 3, 2)}
pytestmark = pytest.mark.parametrize("size", SIZES)


def features(channels, size, seed=0, batch=2):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(seed))


def some_labels(classes, size, seed=5, batch=2):
    return torch.randint(0, classes, (batch, *size), generator=torch.Generator().manual_seed(seed))


def values(*tensors):
    return [tensor.double().numpy() for tensor in tensors]


def equals(loss, expected):
    assert loss.dtype == torch.float32
    assert loss.ndim == 0
    assert loss.item() == pytest.approx(expected, rel=2e-4, abs=2e-6)


def linear(x, size):
    """Linear interpolation with align_corners False, one axis after the other."""
    for axis, count in enumerate(size, start=2):
        have = x.shape[axis]
        place = np.maximum((np.arange(count) + 0.5) * have / count - 0.5, 0)
        low = np.floor(place).astype(int)
        matrix = np.zeros((count, have))
        for row in range(count):
            matrix[row, low[row]] += 1 - (place[row] - low[row])
            matrix[row, min(low[row] + 1, have - 1)] += place[row] - low[row]
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def nearest(labels, size):
    for axis, count in enumerate(size, start=1):
        labels = np.take(labels, np.floor(np.arange(count) * labels.shape[axis] / count).astype(int), axis)
    return labels


def blocks(x, size):
    """Means over blocks."""
    result = np.zeros((*x.shape[:2], *size))
    for index in np.ndindex(*size):
        cut = [
            slice(i * have // count, -(-(i + 1) * have // count)) for i, have, count in zip(index, x.shape[2:], size)
        ]
        result[(slice(None), slice(None), *index)] = x[(slice(None), slice(None), *cut)].mean(tuple(range(2, x.ndim)))
    return result


def attention(x, power):
    q = (x**power).mean(1).reshape(len(x), -1)
    return q / np.sqrt((q**2).sum(1, keepdims=True))


def softmax(x, axis=1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def kl(q, p, axis=1):
    return (q * (np.log(q) - np.log(p))).sum(axis)


def cosine(a, b):
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return 0.0 if scale == 0 else float(a @ b / scale)


def unit(x):
    flat = x.reshape(*x.shape[:2], -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


@pytest.mark.parametrize("power", [2, 3, 4])
def test_attention_map(size, power):
    x = features(5, size)
    assert np.allclose(attention_map(x, power).numpy(), attention(*values(x), power), atol=1e-6)
    assert attention_map(x, power).shape == (2, np.prod(size))


@pytest.mark.parametrize(("loss", "power"), [(importance_map_loss, 4), (importance_map_loss, 2), (at_loss, 2)])
def test_importance_map(size, loss, power):
    student, teacher = features(3, size), features(7, HALF[len(size)], 1)
    s, t = values(student, teacher)
    expected = ((attention(linear(s, t.shape[2:]), power) - attention(t, power)) ** 2).sum(1).mean()
    equals(loss(student, teacher, power), expected)


@pytest.mark.parametrize("power", [3, 4])
def test_attention_transfer_takes_the_absolute_value_for_any_power(size, power):
    student, teacher = features(3, size), features(4, size, 1)
    s, t = np.abs(student.double().numpy()), np.abs(teacher.double().numpy())
    equals(at_loss(student, teacher, power), ((attention(s, power) - attention(t, power)) ** 2).sum(1).mean())


def test_fused_importance_map(size):
    small = HALF[len(size)]
    student, teachers = features(3, size), [features(4, size, 1), features(37, small, 2), features(2, size, 3)]
    fused = np.concatenate([linear(t, small) for t in values(*teachers)], 1)
    expected = ((attention(student.double().numpy(), 4) - attention(linear(fused, size), 4)) ** 2).sum(1).mean()
    equals(fused_importance_map_loss(student, teachers), expected)


def test_fused_importance_map_of_normalised_maps(size):
    small = HALF[len(size)]
    student, teachers = features(3, size), [features(4, size, 1), 100 * features(9, small, 2)]
    maps = [attention(linear(t, small), 4).reshape(2, 1, *small) for t in values(*teachers)]
    fused = linear((maps[0] + maps[1]) / 2, size).reshape(2, -1)
    fused /= np.linalg.norm(fused, axis=1, keepdims=True)
    expected = ((attention(student.double().numpy(), 4) - fused) ** 2).sum(1).mean()
    equals(fused_importance_map_loss(student, teachers, normalise=True), expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_prediction_map(size, temperature):
    student, teacher = features(3, HALF[len(size)]), features(3, size, 1)
    s, t = values(student, teacher)
    p, q = softmax(linear(s, size) / temperature), softmax(t / temperature)
    equals(prediction_map_loss(student, teacher, temperature), temperature**2 * kl(q, p).mean())


def test_prediction_map_of_one_voxel_by_hand(size):
    ones = (1,) * len(size)
    student = torch.log(torch.tensor([0.5, 0.5])).view(1, 2, *ones)
    teacher = torch.log(torch.tensor([0.9, 0.1])).view(1, 2, *ones)
    # 0.9 ln(0.9 / 0.5) + 0.1 ln(0.1 / 0.5)
    assert prediction_map_loss(student, teacher, 1.0).item() == pytest.approx(0.3680642, abs=1e-6)


def test_region_affinity_of_two_classes(size):
    student, teacher, labels = features(3, size), features(6, HALF[len(size)], 1), some_labels(2, size)

    def affinity(x):
        small = nearest(labels.numpy(), x.shape[2:])
        result = []
        for image, mask in zip(x, small):
            r0 = image[:, mask == 0].sum(1) / (mask == 0).sum()
            r1 = image[:, mask == 1].sum(1) / ((mask == 1).sum() + 1)
            result.append(cosine(r0, r1))
        return np.array(result)

    s, t = values(student, teacher)
    equals(region_affinity_loss(student, teacher, labels), ((affinity(s) - affinity(t)) ** 2).mean())


def test_region_affinity_takes_all_pairs_of_classes(size):
    student, teacher, labels = features(3, size), features(6, size, 1), some_labels(4, size)
    labels[0][labels[0] == 2] = 0  # absent from one image: cosine 0

    def means(image, mask):
        return [image[:, mask == k].sum(1) / max((mask == k).sum() + (k > 0), 1) for k in range(4)]

    total = []
    for s, t, mask in zip(*values(student, teacher), labels.numpy()):
        own, other = means(s, mask), means(t, mask)
        for a, b in itertools.combinations(range(4), 2):
            total.append((cosine(own[a], own[b]) - cosine(other[a], other[b])) ** 2)
    equals(region_affinity_loss(student, teacher, labels), np.mean(total))


def test_channel_wise(size):
    student, teacher = features(3, HALF[len(size)]), features(3, size, 1)
    s, t = values(student, teacher)
    p, q = (softmax(x.reshape(2, 3, -1) / 4, 2) for x in (linear(s, size), t))
    equals(cwd_loss(student, teacher, 4.0), 16 / 3 * kl(q, p, 2).sum(1).mean())


def test_correlations(size):
    student, teacher = features(4, size), features(4, size, 1)
    rows = [np.moveaxis(softmax(z / 2), 1, -1).reshape(-1, 4) for z in values(student, teacher)]
    inter = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*rows)])
    intra = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(rows[0].T, rows[1].T)])
    equals(dist_loss(student, teacher, 2.0, 0.5, 2.0), 4 * (2.0 * (1 - inter) + 0.5 * (1 - intra)))


def test_hints(size):
    student, teacher = features(4, HALF[len(size)]), features(4, size, 1)
    s, t = values(student, teacher)
    equals(fitnet_loss(student, teacher), ((linear(s, size) - t) ** 2).mean())


def test_hierarchical_context(size):
    student, teacher = features(4, HALF[len(size)]), features(4, size, 1)
    s, t = values(student, teacher)
    s = linear(s, size)
    # the smallest axis has 8 (2-D) or 4 (3-D) voxels, and only levels below it count
    levels, axes = ([4, 2, 1], 2) if len(size) == 2 else ([2, 1], 3)
    total, weights = ((s - t) ** 2).mean(), 1.0
    for k, level in enumerate(levels, start=1):
        total += 0.5**k * ((blocks(s, (level,) * axes) - blocks(t, (level,) * axes)) ** 2).mean()
        weights += 0.5**k
    equals(hcl_loss(student, teacher), total / weights)
    equals(reviewkd_loss([student, student], [teacher, teacher]), 2 * total / weights)


def test_pairwise_similarities(size):
    student, teacher = features(3, size), features(5, HALF[len(size)], 1)
    grid = (2,) * len(size)
    s, t = (unit(blocks(x, grid)) for x in values(student, teacher))
    own, other = (np.einsum("bcm,bcn->bmn", x, x) for x in (s, t))
    equals(skd_loss(student, teacher, nodes=2), ((own - other) ** 2).mean())


def test_intra_class_variation(size):
    small = HALF[len(size)]
    student, teacher, labels = features(3, size), features(5, small, 1), some_labels(3, size)
    masks = nearest(labels.numpy(), small).reshape(2, -1)

    def variation(x):
        flat = x.reshape(*x.shape[:2], -1)
        return np.array(
            [
                [cosine(image[:, i], image[:, mask == mask[i]].mean(1)) for i in range(len(mask))]
                for image, mask in zip(flat, masks)
            ]
        )

    s, t = values(student, teacher)
    expected = ((variation(linear(s, small)) - variation(t)) ** 2).mean()
    equals(ifvd_loss(student, teacher, labels, 3), expected)


def test_decoupled(size):
    student, teacher, labels = features(4, size), features(4, size, 1), some_labels(4, size)
    own, other = (np.moveaxis(z, 1, -1).reshape(-1, 4) / 4 for z in values(student, teacher))
    total = []
    for s, t, y in zip(own, other, labels.flatten().tolist()):
        p, q = softmax(s, 0), softmax(t, 0)
        target = kl(np.array([q[y], 1 - q[y]]), np.array([p[y], 1 - p[y]]), 0)
        rest = kl(softmax(np.delete(t, y), 0), softmax(np.delete(s, y), 0), 0)
        total.append(16 * (1.0 * target + 8.0 * rest))
    equals(dkd_loss(student, teacher, labels), np.mean(total))


def test_cross_image_relations(size):
    student, teacher = features(3, size), features(5, HALF[len(size)], 1)
    grid = tuple(min(3, n) for n in HALF[len(size)])
    s, t = (unit(blocks(x, grid)) for x in values(student, teacher))
    total = []
    for a, b in itertools.product(range(2), repeat=2):
        p, q = (softmax(x[a].T @ x[b] / 0.5, 1) for x in (s, t))
        total.append(kl(q, p, 1).mean())
    equals(cirkd_loss(student, teacher, temperature=0.5, nodes=3), np.mean(total))


def test_filtered_features_of_mskd(size):
    student, teacher = features(6, HALF[len(size)]), features(6, size, 1)
    labels = torch.zeros(2, *size, dtype=torch.long)
    labels[:, 2:5, 1:4], labels[1, 6:] = 1, 2  # class 2 is absent from the first image
    s, t = values(student, teacher)
    s, total = linear(s, size), []
    for image, target, mask in zip(s, t, labels.numpy()):
        sigma = target.reshape(6, -1).std(1)
        for k in range(3):
            region = (mask == k).astype(float)
            band = grey_dilation(region, size=(3,) * len(size)) - grey_erosion(region, size=(3,) * len(size))
            if not region.any():
                continue
            score = (target[:, region == 1].mean(1) - target[:, region == 0].mean(1)) / sigma
            kept = np.argsort(-np.abs(score))[:3]
            evidence = sum(score[c] * target[c] / sigma[c] for c in kept)
            for where in (region == 1, band == 1):
                chosen = where & (evidence >= evidence[where].mean())
                total.append(np.mean([((image[c] - target[c])[chosen] / sigma[c]) ** 2 for c in kept]))
    equals(filtered_feature_loss(student, teacher, labels, 3, keep=0.5), np.mean(total))


def test_region_graph_of_mskd(size):
    small = HALF[len(size)]
    students, teachers = [features(3, size), features(5, small, 1)], [features(4, size, 2), features(6, small, 3)]
    labels = torch.zeros(2, *size, dtype=torch.long)
    labels[:, :4, :2], labels[0, 6:, 4:], labels[1, 4:, 4:] = 1, 1, 2
    torch.manual_seed(0)
    projections = [torch.nn.Linear(3, 4), torch.nn.Linear(5, 6)]
    node_means = []  # [side][stage][image] -> list of vectors
    for side in (students, teachers):
        node_means.append([[_nodes(i, m) for i, m in zip(x, labels.numpy())] for x in values(*side)])
    node_terms = []
    for stage, projection in enumerate(projections):
        w, b = values(projection.weight.detach(), projection.bias.detach())
        pairs = [pair for i in range(2) for pair in zip(node_means[0][stage][i], node_means[1][stage][i])]
        node_terms.append(np.mean([1 - cosine(w @ s + b, t) for s, t in pairs]))
    edges = [[[_cosines(image, image) for image in stage] for stage in side] for side in node_means]
    edge_terms = [_mse(edges[0][stage], edges[1][stage]) for stage in range(2)]
    across = [[_cosines(a, b) for a, b in zip(side[0], side[1])] for side in edges]
    edge_terms.append(_mse(*across))
    found = region_graph_loss(students, teachers, labels, 3, projections)
    equals(found[0].detach(), np.mean(node_terms))
    equals(found[1], np.mean(edge_terms))


def _nodes(image, labels):
    """Means of the background and of the connected parts of each class; parts are found at full resolution."""
    result = [image[:, nearest(labels[None], image.shape[1:])[0] == 0].mean(1)]
    for k in (1, 2):
        parts, count = label(labels == k, np.ones((3,) * labels.ndim))
        sizes = [(parts == n).sum() for n in range(1, count + 1)]
        for n in sorted(range(1, count + 1), key=lambda n: -sizes[n - 1]):
            result.append(image[:, nearest(parts[None], image.shape[1:])[0] == n].mean(1))
    return result


def _cosines(a, b):
    return np.array([[cosine(x, y) for y in b] for x in a])


def _mse(own, others):
    return np.concatenate([((a - b) ** 2).flatten() for a, b in zip(own, others)]).mean()


def _slopes(loss, student):
    """Gradient by central differences, in the precision that float32 losses allow."""
    slopes, step = torch.zeros_like(student), 5e-3
    for index in np.ndindex(*student.shape):
        shifted = [student.clone() for _ in range(2)]
        shifted[0][index] += step
        shifted[1][index] -= step
        slopes[index] = (loss(shifted[0]) - loss(shifted[1])) / (2 * step)
    return slopes


@pytest.mark.parametrize("name", ["prediction", "channels", "decoupled", "correlations"])
def test_gradients_that_are_written_out_are_those_of_finite_differences(size, name):
    student, teacher = features(3, (2,) * len(size)), features(3, (2,) * len(size), 1)
    labels = some_labels(3, (2,) * len(size))

    def loss(x):
        if name == "decoupled":
            return dkd_loss(x, teacher, labels, 1.0, 2.0, 2.0)
        if name == "correlations":
            return dist_loss(x, teacher, 2.0, 0.5, 1.5)
        return (prediction_map_loss if name == "prediction" else cwd_loss)(x, teacher, 2.0)

    student.requires_grad_()
    loss(student).backward()
    expected = _slopes(loss, student.detach())
    assert torch.allclose(student.grad, expected, atol=2e-3 * expected.abs().max())


def test_divergences_of_saturated_predictions_stay_finite(size):
    student = (1e4 * features(3, size)).requires_grad_()
    teacher, labels = 1e4 * features(3, size, 1), some_labels(3, size)
    losses = [loss(student, teacher) for loss in (prediction_map_loss, cwd_loss, dist_loss)]
    for loss in (*losses, dkd_loss(student, teacher, labels)):
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(student.grad).all()
