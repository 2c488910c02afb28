"""How many training steps fit into a given time, by measuring one."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from hlfd.networks import SegmentationNetwork
from hlfd.training.objective import Objective
from hlfd.training.precision import choose_device, choose_precision
from hlfd.training.source import PatchSource

LEAST, MOST = 20, 5000
_PER_CASE, _ANY_CASES = 75, 200
"""Steps per case to learn from that are worth their time, and as many for few cases. With four cases 300 steps brought
more on unseen cases of their scanner than 800 to 1,350 did (tumor Dice +0.09 against +0.04 to +0.07) and cost 0.00 on
the student's old test cases instead of 0.02 to 0.05."""
_TRIALS = 3


def most_steps(cases: int) -> int:
    """Return after how many steps a training on so many cases ends, however much time is left."""
    return min(max(_PER_CASE * cases, _ANY_CASES), MOST)


def affordable_steps(
    network: SegmentationNetwork,
    objective: Objective,
    source: PatchSource,
    batch_size: int,
    device: str,
    seconds: float,
    validate: Callable[[nn.Module], object],
    validations: int,
    most: int = MOST,
) -> int:
    """Return how many steps, with ``validations`` in between, take ``seconds``; from 20 to ``most``.

    Steps are tried on a copy, so that ``network`` does not change.
    """
    place = choose_device(device)
    trial = copy.deepcopy(network)
    step = timed_step(trial, objective, source, batch_size, place)
    step(0)  # the first one also allocates and tunes
    one = min(step(number) for number in range(1, _TRIALS))
    begin = time.monotonic()
    with torch.no_grad(), choose_precision("auto", place).autocast():
        validate(cast(SegmentationNetwork, trial.eval()))
    _wait(place)
    if isinstance(objective, nn.Module):
        objective.zero_grad(set_to_none=True)  # the trial leaves no trace in trained projections either
    left = seconds - validations * (time.monotonic() - begin)
    return int(min(max(left / one, LEAST), most))


def timed_step(
    network: SegmentationNetwork, objective: Objective, source: PatchSource, batch_size: int, device: torch.device
) -> Callable[[int], float]:
    """Return a function that does step ``n`` of a training without its update and returns the seconds it took.

    ``network`` and ``objective`` move to ``device``; their gradients are left behind.
    """
    network.to(device, memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    if isinstance(objective, nn.Module):
        objective.to(device)
    precision = choose_precision("auto", device)

    def step(number: int) -> float:
        begin = time.monotonic()
        samples = [source.sample(number * batch_size + n) for n in range(batch_size)]
        batch = {name: torch.stack([sample[name] for sample in samples]).to(device) for name in samples[0]}
        batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        with precision.autocast():
            _, terms = objective(network, batch)
        torch.stack([term.float() for term in terms.values()]).sum().backward()
        _wait(device)
        return time.monotonic() - begin

    return step


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
