"""The only training loop: teacher, student, distillation and fine-tuning."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.checkpoint import load_weights, save_weights
from hlfd.config import write_yaml
from hlfd.errors import CancelledError, ConfigError, HlfdError, InputError, ModelError
from hlfd.events import CancelToken, OnEvent, Progress, Stage, Warn, ignore
from hlfd.files import write_atomically
from hlfd.networks.base import SegmentationNetwork
from hlfd.training.distributed import World, join
from hlfd.training.ema import Ema
from hlfd.training.log import RunLog
from hlfd.training.memory import kept_memory
from hlfd.training.objective import Batch, Objective
from hlfd.training.precision import choose_device, choose_precision
from hlfd.training.schedule import learning_rate, make_optimizer
from hlfd.training.settings import TrainSettings
from hlfd.training.source import PatchSource, Shares, batches
from hlfd.training.state import RunFolder, seed_step

Validate = Callable[[nn.Module], dict[str, float]]
_MAX_BAD_STEPS = 20
_FREE_TO_CHANGE = {"device", "log_every", "checkpoint_every", "workers", "tensorboard"}


@dataclass(frozen=True)
class FitResult:
    """The outcome of a run: steps done, best validation (None and empty without one), its numbers, and the files."""

    step: int
    best_value: float | None
    best_step: int | None
    best_weights: Path
    last_weights: Path
    seconds: float
    metrics: dict[str, float]


@dataclass
class _Position:
    """How far the run is."""

    step: int = 0
    best_value: float | None = None
    best_step: int | None = None
    stale_validations: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)


def fit(
    network: nn.Module,
    objective: Objective,
    train_source: PatchSource,
    settings: TrainSettings,
    folder: Path,
    validate: Validate | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    resume: bool = True,
) -> FitResult:
    """Train ``network`` and return where its weights are; it then holds the best averaged weights, in eval mode.

    ``folder`` gets checkpoints, best.safetensors, last.safetensors, metrics.jsonl, settings.yaml and TensorBoard
    events. ``objective`` names the loss terms of a batch; ``train_source`` makes the patches (see their classes);
    ``validate`` gets the averaged network in eval mode, without gradients and within autocast, and returns numbers
    with ``settings.monitor`` among them. A folder with a checkpoint is continued unless ``resume`` is False; on CPU
    in float32 the run ends with exactly the weights of an unbroken run. Cancelling writes a checkpoint and raises
    ``CancelledError``. Raises ``OutputError``, ``DiskFullError``, ``DeviceError``, ``ConfigError``, ``InputError``, or
    ``HlfdError`` when the gradient stays not finite.

    Started by ``torchrun`` in several processes, each trains on its share of every batch, and the run goes as in one
    process. The first process alone validates, writes and sends events; all end with the same weights.
    """
    world = join(choose_device(settings.device))
    events = on_event if world.main else ignore
    run = _Run(network, objective, settings, world, folder, validate, events, cancel or CancelToken(), resume)
    try:
        with kept_memory(run.device):
            return run.train(train_source)
    finally:
        if run.log is not None:
            run.log.close()


class _Run:
    """One run of the loop; the methods are its stages."""

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        settings: TrainSettings,
        world: World,
        folder: Path,
        validate: Validate | None,
        on_event: OnEvent,
        cancel: CancelToken,
        resume: bool,
    ) -> None:
        self.settings, self.validate, self.on_event, self.cancel = settings, validate, on_event, cancel
        self.folder = RunFolder(Path(folder))
        self.world, self.device = world, world.device
        self.shares = Shares(settings.batch_size, settings.accumulate, world.ranks)
        self.precision = choose_precision(settings.precision, self.device)
        self.format = _memory_format(network, settings.channels_last)
        self.network = network.to(self.device, memory_format=self.format).train()  # type: ignore[call-overload]
        self.objective = objective
        modules = [network]
        if isinstance(objective, nn.Module):
            modules.append(objective.to(self.device))
        self.module = world.wrap(network, objective)
        self.optimizer = make_optimizer(modules, settings, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.dtype == torch.float16)
        self.ema = Ema(network, settings.ema_decay)
        self.position = _Position()
        self.bad_steps = 0
        self.log: RunLog | None = None
        if world.main:
            write_atomically(self.folder.path / "settings.yaml", lambda temporary: write_yaml(settings, temporary))
            self.folder.clear_leftovers()
        if resume:
            self._restore()
        if world.main:
            self.log = RunLog(self.folder.path, self.position.step, settings.tensorboard, on_event)
        self.sums: dict[str, Tensor] = {}
        self.steps_in_sums = 0
        self.waited = 0.0

    def train(self, source: PatchSource) -> FitResult:
        """Run the remaining steps."""
        start, first = time.monotonic(), self.position.step
        self.on_event(Stage("train"))
        pin = self.device.type == "cuda"
        stream = batches(source, self.shares.steps(first, self.settings.steps), self.settings.workers, pin)
        cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=True)
        with contextlib.closing(stream), cudnn, self.world.synchronised(self.module):
            for step in range(first, self.settings.steps):
                if self._finished_early():
                    break
                self._step(step, stream, check=step == first)
                self.position.step = step + 1
                self._after_step(step + 1)
                done = time.monotonic() - start
                left = done / (step + 1 - first) * (self.settings.steps - step - 1)
                self.on_event(Progress(step + 1, self.settings.steps, left))
        return self._finish(time.monotonic() - start, trained=self.position.step > first)

    def _next_batch(self, stream: Iterator[Batch], check: bool) -> Batch:
        begin = time.monotonic()
        batch = next(stream)
        self.waited += time.monotonic() - begin
        if check:
            _check_batch(batch, self.network)
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        moved["image"] = moved["image"].contiguous(memory_format=self.format)
        return moved

    def _step(self, step: int, stream: Iterator[Batch], check: bool) -> None:
        """Make one optimiser step, unless its gradient is not finite."""
        rate = learning_rate(self.settings, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        seed_step(self.settings.seed, step, self.world.ranks.rank)
        values: dict[str, Tensor] = {}
        for part in range(self.settings.accumulate):
            for name, value in self._backward(part, self._next_batch(stream, check and part == 0)).items():
                values[name] = values[name] + value if name in values else value
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm or math.inf)
        finite = bool(torch.isfinite(norm))
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._watch(finite, step)
        self.ema.update(self.network, step)
        self._collect({**values, "gradient_norm": norm} if finite else {})

    def _backward(self, part: int, batch: Batch) -> dict[str, Tensor]:
        """Add the gradient of one part of a step's batch; return its loss terms, whose mean over processes counts."""
        weight = self.shares.weight(part)
        with self.world.step(self.module, last_part=part + 1 == self.settings.accumulate):
            with self.precision.autocast():
                terms = self.module(batch)
            terms = {name: term.float() * weight for name, term in terms.items()}
            loss = torch.stack(list(terms.values())).sum()
            self.scaler.scale(loss).backward()
        return {name: value.detach() for name, value in {**terms, "loss": loss}.items()}

    def _watch(self, finite: bool, step: int) -> None:
        """Give up after many steps in a row without a finite gradient."""
        self.bad_steps = 0 if finite else self.bad_steps + 1
        if self.bad_steps >= _MAX_BAD_STEPS:
            raise HlfdError(
                f"The gradient was not finite in {_MAX_BAD_STEPS} steps in a row, up to step {step}.",
                "Lower lr, or use precision float32.",
            )

    def _collect(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()
        self.steps_in_sums += bool(values)

    def _after_step(self, step: int) -> None:
        """Log, validate and write a checkpoint where they are due after ``step`` finished steps."""
        settings, last = self.settings, step == self.settings.steps
        if step % settings.log_every == 0 or last:
            self._write_log(step)
        if self.validate is not None and (last or _due(step, settings.validate_every)):
            if self.world.main:
                self._validate(self.validate, step)
            self.position = _Position(**self.world.from_main(asdict(self.position)))
        if self.world.any(self.cancel.cancelled):
            self._save()
            raise CancelledError()
        if _due(step, settings.checkpoint_every) and not last:
            self._save()

    def _write_log(self, step: int) -> None:
        sums = self.world.mean(torch.stack(list(self.sums.values()))).tolist() if self.sums else []
        values = {f"train/{name}": value / max(self.steps_in_sums, 1) for name, value in zip(self.sums, sums)}
        rate = learning_rate(self.settings, step - 1)
        self._log(step, {**values, "train/lr": rate, "time/data_wait_s": round(self.waited, 4)})
        self.sums, self.steps_in_sums, self.waited = {}, 0, 0.0

    def _log(self, step: int, values: dict[str, float]) -> None:
        if self.log is not None:
            self.log.write(step, values)

    def _validate(self, validate: Validate, step: int) -> None:
        """Validate the averaged weights and keep them if they are the best so far."""
        self.on_event(Stage("validate"))
        with torch.no_grad(), self.precision.autocast():
            values = {name: float(value) for name, value in validate(self.ema.network).items()}
        if self.settings.monitor not in values:
            raise ConfigError(
                f'Validation gives {", ".join(values)}, but not "{self.settings.monitor}".', "Change monitor."
            )
        self._log(step, {f"validation/{name}": value for name, value in values.items()})
        value, best = values[self.settings.monitor], self.position.best_value
        if best is None or value > best:
            self.position = _Position(step, value, step, 0, values)
            save_weights(self.ema.network, self.folder.best, metadata={"step": str(step), "value": f"{value:.6f}"})
        else:
            self.position.stale_validations += 1
        self.on_event(Stage("train"))

    def _finished_early(self) -> bool:
        return 0 < self.settings.patience <= self.position.stale_validations

    def _finish(self, seconds: float, trained: bool) -> FitResult:
        position, folder = self.position, self.folder
        if trained:
            self._save()
        if self.world.main:
            save_weights(self.ema.network, folder.last, metadata={"step": str(position.step)})
            if position.best_value is None:
                save_weights(self.ema.network, folder.best, metadata={"step": str(position.step)})
            load_weights(self.network, folder.best)
        self.world.copy_from_main(self.network)
        self.network.eval()
        best = (position.best_value, position.best_step, folder.best)
        return FitResult(position.step, *best, folder.last, round(seconds, 3), position.best_metrics)

    def _save(self) -> None:
        """Write everything that the rest of the run depends on; it is the same in all processes."""
        if not self.world.main:
            return
        self.folder.save(
            {
                "settings": asdict(self.settings),
                "position": asdict(self.position),
                "network": self.network.state_dict(),
                "ema": self.ema.network.state_dict(),
                "objective": self.objective.state_dict() if isinstance(self.objective, nn.Module) else {},
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
            }
        )

    def _restore(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        state = self.world.from_main(self.folder.load(self.on_event) if self.world.main else None)
        if state is None:
            return
        self._warn_of_changes(state["settings"])
        try:
            self.network.load_state_dict(state["network"])
            self.ema.network.load_state_dict(state["ema"])
            if isinstance(self.objective, nn.Module):
                self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(
                f'The checkpoint in "{self.folder.path}" belongs to another network or objective: {error}.',
                "Choose another output folder, or start anew without resuming.",
            ) from error
        self.position = _Position(**state["position"])

    def _warn_of_changes(self, old: dict[str, Any]) -> None:
        new = asdict(self.settings)
        names = {field.name for field in fields(self.settings)} - _FREE_TO_CHANGE
        changed = sorted(name for name in names if old.get(name) != new[name])
        if changed:
            self.on_event(Warn(f"The run continues with other settings than it began with: {', '.join(changed)}."))


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _memory_format(network: nn.Module, channels_last: bool) -> torch.memory_format:
    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last_3d if any(p.ndim == 5 for p in network.parameters()) else torch.channels_last


def _check_batch(batch: Batch, network: nn.Module) -> None:
    """Raise ``InputError`` unless the source delivers what the contract says."""
    for name in ("image", "label"):
        if name not in batch:
            raise InputError(f'The patch source gives {", ".join(batch)}; "image" and "label" were expected.')
    image, label = batch["image"], batch["label"]
    if image.shape[:1] + image.shape[2:] != label.shape:
        raise InputError(f"Image {tuple(image.shape)} and label {tuple(label.shape)} of a batch do not fit.")
    highest = int(label.max())
    if isinstance(network, SegmentationNetwork) and highest >= network.description.classes:
        raise InputError(f"A label has value {highest}, but the network has {network.description.classes} classes.")
