"""Losses against numbers worked out by hand or in NumPy, and against MONAI."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hlfd.errors import InputError
from hlfd.losses import dice_ce_loss, focal_dice_loss


def numpy_softmax(logits):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def numpy_focal_dice(logits, labels, gamma=2.0, smooth=1.0):
    p = numpy_softmax(logits)
    one_hot = np.moveaxis(np.eye(logits.shape[1])[labels], -1, 1)
    true = (p * one_hot).sum(1)
    focal = ((1 - true) ** gamma * -np.log(true)).mean()
    axes = (0, *range(2, logits.ndim))
    dice = (2 * (p * one_hot).sum(axes) + smooth) / (p.sum(axes) + one_hot.sum(axes) + smooth)
    return 0.5 * focal + 0.5 * (1 - dice[1:].mean())


def example(shape=(2, 4, 3, 5, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=generator)
    return logits, torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)


class TestFocalDice:
    def test_two_voxels_by_hand(self):
        # p = (3/4, 1/4) at both voxels; the classes are 0 and 1.
        logits = torch.log(torch.tensor([[[3.0, 3.0], [1.0, 1.0]]]))
        labels = torch.tensor([[0, 1]])
        focal = (0.25**2 * -math.log(0.75) + 0.75**2 * -math.log(0.25)) / 2
        dice = (2 * 0.25 + 1) / (0.5 + 1 + 1)
        assert focal_dice_loss(logits, labels).item() == pytest.approx(0.5 * focal + 0.5 * (1 - dice), abs=1e-6)

    @pytest.mark.parametrize("shape", [(2, 2, 7, 5), (2, 4, 3, 5, 6), (1, 13, 4, 4, 4)])
    def test_it_equals_numpy(self, shape):
        logits, labels = example(shape)
        expected = numpy_focal_dice(logits.double().numpy(), labels.numpy())
        assert focal_dice_loss(logits, labels).item() == pytest.approx(expected, abs=1e-6)

    def test_the_focal_factor_carries_no_gradient(self):
        logits = torch.tensor([[[0.3], [-0.2]]], requires_grad=True)
        # With labels all background and one class of foreground absent, the Dice part is known in closed form too.
        focal_dice_loss(logits, torch.zeros(1, 1, dtype=torch.long)).backward()
        p = torch.softmax(torch.tensor([0.3, -0.2]), 0)
        focal = 0.5 * (1 - p[0]) ** 2 * torch.tensor([p[0] - 1, p[1]])  # factor times the gradient of -log p0
        dice = 0.5 * (1 / (p[1] + 1) ** 2) * p[1] * torch.tensor([-p[0], 1 - p[1]])
        assert torch.allclose(logits.grad[0, :, 0], focal + dice, atol=1e-6)

    def test_a_perfect_prediction_costs_nothing(self):
        _, labels = example()
        logits = 100 * torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).float()
        assert focal_dice_loss(logits, labels).item() == pytest.approx(0, abs=1e-6)


class TestDiceCe:
    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
    def test_value_and_gradient_equal_those_of_monai(self, memory_format):
        monai = pytest.importorskip("monai.losses")
        reference = monai.DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        logits, labels = example()
        logits = logits.contiguous(memory_format=memory_format).requires_grad_()
        expected, own = reference(logits, labels[:, None]), dice_ce_loss(logits, labels)
        assert own.item() == pytest.approx(expected.item(), abs=1e-6)
        pairs = zip(torch.autograd.grad(expected, logits), torch.autograd.grad(own, logits))
        assert all(torch.allclose(a, b, atol=1e-7) for a, b in pairs)

    def test_class_weights_weigh_cross_entropy_like_torch(self):
        logits, labels = example()
        weights = torch.tensor([0.5, 1.0, 2.0, 1.0])
        only_entropy = dice_ce_loss(logits, labels, weights) - (
            dice_ce_loss(logits, labels, [1e-9, 1.0, 2.0, 1.0])
            - torch.nn.functional.cross_entropy(logits, labels, torch.tensor([1e-9, 1.0, 2.0, 1.0]))
        )
        expected = torch.nn.functional.cross_entropy(logits, labels, weights)
        assert only_entropy.item() == pytest.approx(expected.item(), abs=1e-5)

    def test_equal_weights_change_nothing(self):
        logits, labels = example()
        assert dice_ce_loss(logits, labels, [3.0] * 4).item() == pytest.approx(dice_ce_loss(logits, labels).item())

    def test_weights_for_other_classes_are_refused(self):
        with pytest.raises(InputError, match="3 class weights were given for 4 classes"):
            dice_ce_loss(*example(), [1.0, 1.0, 1.0])


@pytest.mark.parametrize("loss", [focal_dice_loss, dice_ce_loss])
class TestBoth:
    def test_the_gradient_is_that_of_finite_differences(self, loss):
        if loss is focal_dice_loss:

            def of(logits, labels):
                return focal_dice_loss(logits, labels, gamma=0.0)  # the detached factor is no part of a true gradient
        else:
            of = loss
        logits, labels = example((1, 3, 2, 3))
        logits.requires_grad_()
        (gradient,) = torch.autograd.grad(of(logits, labels), logits)
        step = 1e-2
        for index in np.ndindex(*logits.shape):
            shifted = [logits.detach().clone() for _ in range(2)]
            shifted[0][index] += step
            shifted[1][index] -= step
            slope = (of(shifted[0], labels) - of(shifted[1], labels)) / (2 * step)
            assert gradient[index].item() == pytest.approx(slope.item(), abs=2e-4)

    def test_half_precision_logits_are_computed_in_float32(self, loss):
        logits, labels = example()
        rough = logits.bfloat16()
        assert loss(rough, labels).dtype == torch.float32
        assert loss(rough, labels).item() == loss(rough.float(), labels).item()

    def test_large_logits_stay_finite(self, loss):
        logits, labels = example()
        logits = (1e4 * logits).requires_grad_()
        loss(logits, labels).backward()
        assert torch.isfinite(logits.grad).all()

    def test_labels_may_be_uint8(self, loss):
        logits, labels = example()
        assert loss(logits, labels.to(torch.uint8)).item() == loss(logits, labels).item()

    def test_a_shape_that_does_not_fit_is_refused(self, loss):
        logits, labels = example()
        with pytest.raises(InputError, match="do not fit"):
            loss(logits, labels[:, :, :, 1:])
