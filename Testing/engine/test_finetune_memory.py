"""Where the memory is too small for a patch a smaller one is taken, and said."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

import torch

from hlfd.errors import InputError, OutOfMemoryError
from hlfd.events import Warn
from hlfd.training.finetune_estimate import kept_for_backward_mb
from hlfd.training.finetune_memory import FitMemory, PatchSteps, free_memory_mb, want_of_memory, with_less_memory

STEPS = PatchSteps(16, 32)
TOO_MUCH = 1 << 60


@pytest.fixture
def said():
    return []


@pytest.fixture
def memory(tmp_path, said):
    return FitMemory(tmp_path / "patch.json", 64, 2, STEPS, said.append)


def test_patches_become_smaller_in_steps_that_the_networks_take():
    sides = [96]
    while (smaller := STEPS.below(sides[-1])) is not None:
        sides.append(smaller)
    assert sides == [96, 64, 48, 32]
    assert (STEPS.at_least(50), STEPS.at_least(8)) == (64, 32)


def test_work_that_finds_no_memory_is_done_with_smaller_patches(memory, said, tmp_path):
    def work() -> int:
        if memory.patch > 32:
            torch.empty(TOO_MUCH)  # torch itself says that it cannot be allocated
        return memory.patch

    assert with_less_memory(work, memory) == 32
    assert [warning.message for warning in said] == [
        "The memory is too small for the training as it was set; it goes on with patches of 48 voxels a side instead "
        "of 64.",
        "The memory is too small for the training as it was set; it goes on with patches of 32 voxels a side instead "
        "of 48.",
    ]
    assert all(isinstance(warning, Warn) for warning in said)
    again = FitMemory(tmp_path / "patch.json", 64, 2, STEPS, said.append)
    assert (again.patch, again.batch_size) == (32, 2)


def test_then_the_batch_becomes_smaller_and_at_last_the_error_says_what_to_do(memory, said):
    def work() -> None:
        torch.empty(TOO_MUCH)

    with pytest.raises(OutOfMemoryError, match=r"smallest patches .* do not fit either. Close other programs"):
        with_less_memory(work, memory)
    assert "1 instead of 2 patches per step" in said[-1].message


def test_memory_of_the_gpu_is_told_from_that_of_the_machine(memory, said):
    def work() -> int:
        if memory.patch > 48:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return memory.patch

    assert with_less_memory(work, memory) == 48
    assert said[0].message.startswith("The memory of the GPU is too small")


def test_other_errors_are_passed_on(memory, said):
    def work() -> None:
        raise InputError("Not an image.")

    with pytest.raises(InputError):
        with_less_memory(work, memory)
    assert said == []
    assert want_of_memory(RuntimeError("The size of tensor a must match")) is None


def test_what_is_kept_for_the_backward_pass_is_counted_once():
    weight = torch.ones(1024, 256, requires_grad=True)  # 1 MiB

    def work() -> None:
        found = weight * weight  # keeps the weight twice, but it is one storage
        found.exp().sum().backward()

    assert kept_for_backward_mb(work) == pytest.approx(2.0, abs=0.1)


def test_the_free_memory_is_known_here_or_said_not_to_be():
    found = free_memory_mb(torch.device("cpu"))
    assert found is None or (found > 0 and math.isfinite(found))
