"""Training in several processes (``torchrun``): who does what, and how gradients and decisions are shared."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from hlfd.collectives import shared_batch
from hlfd.errors import ConfigError, DeviceError, HlfdError
from hlfd.ranks import Ranks, current_ranks
from hlfd.training.objective import Batch, Objective
from hlfd.training.precision import choose_device
from hlfd.training.sync_norm import synchronised_batch_norm

T = TypeVar("T")
# Dead processes are noticed at once (their connections close, torchrun sees them end), so waiting is no sign of a
# fault: the main process may validate or simulate anatomies for hours while the others wait.
_PATIENCE = datetime.timedelta(days=2)
_FAREWELL_S = 10.0  # longest wait at the end for the others, which may have failed


class StepModule(nn.Module):
    """Network and objective as one module: its forward pass names the loss terms of a batch."""

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss terms alone, so that only what they depend on counts as used."""
        return self.objective(self.network, batch)[1]


@dataclass(frozen=True)
class World:
    """The processes of one training; a single one needs no torch.distributed."""

    ranks: Ranks
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process logs, validates and writes."""
        return self.ranks.main

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.ranks.size

    def wrap(self, network: nn.Module, objective: Objective) -> nn.Module:
        """Return network and objective as one module whose gradients are averaged over the processes.

        All processes begin with the parameters and buffers of the main one.
        """
        module = StepModule(network, objective)
        if self.size == 1:
            return module
        if not any(parameter.requires_grad for parameter in module.parameters()):
            raise ConfigError("The network has no trainable parameter.", "Unfreeze a part of it.")
        self.copy_from_main(module)
        devices = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 renames broadcast_buffers
            return DistributedDataParallel(
                module,
                device_ids=devices,
                find_unused_parameters=True,  # an objective may leave out a projection in some steps
                broadcast_buffers=False,  # they are equal by construction
                gradient_as_bucket_view=True,
            )

    @contextlib.contextmanager
    def step(self, module: nn.Module, last_part: bool) -> Iterator[None]:
        """Context of one forward and backward pass; gradients are shared after the last part of a step's batch."""
        if self.size == 1:
            yield
            return
        waiting = contextlib.nullcontext() if last_part else module.no_sync()  # type: ignore[operator]
        with shared_batch(), waiting:
            yield

    @contextlib.contextmanager
    def synchronised(self, module: nn.Module) -> Iterator[None]:
        """Context of the whole training, in which the batch norms of ``module`` see the batch of all processes."""
        if self.size == 1:
            yield
            return
        with synchronised_batch_norm(module), warnings.catch_warnings():
            # Kernels with one input channel have no one order of memory, which costs a copy of a few numbers.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` is set in any process."""
        return flag if self.size == 1 else bool(self.mean(torch.tensor(float(flag))) > 0)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` over the processes."""
        if self.size > 1:
            values = values.to(self.device, copy=True)
            distributed.all_reduce(values)
            values /= self.size
        return values

    def from_main(self, value: T) -> T:
        """Return the main process's ``value``: plain values and tensors (which arrive on the CPU or as they were)."""
        if self.size == 1:
            return value
        box = [value if self.main else None]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]  # type: ignore[return-value]

    def copy_from_main(self, module: nn.Module) -> None:
        """Overwrite the parameters and buffers of ``module`` with those of the main process."""
        if self.size > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                distributed.broadcast(tensor.detach(), src=0)


def join(device: torch.device) -> World:
    """Return the processes that share this training, as the environment names them; the first call connects them.

    ``cuda`` without an index becomes the GPU with the number of the process on its machine. Raises ``ConfigError`` for
    variables that make no sense and ``DeviceError`` where there are more processes than GPUs or none is reached.
    """
    ranks = current_ranks()
    if ranks.size == 1:
        return World(ranks, device)
    if device.type == "cuda":
        device = torch.device("cuda", ranks.local_rank if device.index is None else device.index)
        if ranks.local_rank >= torch.cuda.device_count():
            raise DeviceError(
                f"Process {ranks.local_rank} of this machine has no GPU: there are {torch.cuda.device_count()}.",
                "Start one process per GPU: torchrun --nproc-per-node gpu.",
            )
        torch.cuda.set_device(device)
    _connect(device)
    return World(ranks, device)


def _connect(device: torch.device) -> None:
    if not distributed.is_available():
        raise DeviceError("This torch is built without distributed training.", "Start a single process.")
    if distributed.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, size = _meet()
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise DeviceError(
            f"The processes of this job do not find each other: {error}.",
            "Start them with torchrun, or set MASTER_ADDR and MASTER_PORT.",
        ) from error
    atexit.register(_disconnect, store, size)


def _meet() -> tuple[Any, int, int]:
    """Return a key-value store that only the present processes of the job use, this one's rank, and their number.

    A launcher that starts processes again keeps its store, in which the ended ones left addresses that would be waited
    for; its restart count may differ between machines. So the main process names a new part of the store, the others
    answer there with a token, and go on once the main process has repeated theirs.
    """
    store, rank, size = next(distributed.rendezvous("env://"))
    token = uuid.uuid4().hex
    if rank == 0:
        store.set("hlfd", token)
        tokens = [store.get(f"{token}/{other}").decode() for other in range(1, size)]
        store.set(f"{token}/all", ",".join(tokens))
        return distributed.PrefixStore(token, store), rank, size
    answered = ""
    while True:
        part = store.get("hlfd").decode()
        if part != answered:
            store.set(f"{part}/{rank}", token)
            answered = part
        if store.check([f"{part}/all"]) and token in store.get(f"{part}/all").decode().split(","):
            return distributed.PrefixStore(part, store), rank, size
        time.sleep(0.02)


def _disconnect(store: Any, size: int) -> None:
    """Leave once all processes are through: who closes its connections early may cut off what others still read."""
    if not distributed.is_initialized():
        return
    with contextlib.suppress(RuntimeError):  # the process that keeps the store may be gone
        store.add("left", 1)
        end = time.monotonic() + _FAREWELL_S
        while store.add("left", 0) < size and time.monotonic() < end:
            time.sleep(0.02)
    distributed.destroy_process_group()


def on_main(action: Callable[[], object]) -> Callable[[], None]:
    """Return ``action`` done by the main process while the others wait, for work whose results are files.

    Where it fails in the main process the others end with an error too.
    """

    def run() -> None:
        world = join(choose_device("auto"))
        failed = True
        try:
            if world.main:
                action()
            failed = False
        finally:
            failed = world.from_main(failed)
        if failed:
            raise HlfdError("The main process of this job failed; its message tells why.")

    return run


def in_shares(action: Callable[[], object]) -> Callable[[], None]:
    """Return ``action`` done by all processes, each for its share, after which they wait for each other."""

    def run() -> None:
        world = join(choose_device("auto"))
        action()
        world.any(False)

    return run
