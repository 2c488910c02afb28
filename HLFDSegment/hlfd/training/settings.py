"""Settings of one training run."""

from __future__ import annotations

from dataclasses import dataclass

from hlfd.config import look_up
from hlfd.errors import ConfigError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TrainSettings:
    """How one network is trained."""

    steps: int = 10_000
    """Optimiser steps of the whole run; the learning rate falls to ``final_lr`` at the last. 0 keeps the weights that
    the network begins with."""
    batch_size: int = 2
    """Patches per step, over all processes and parts."""
    accumulate: int = 1
    """Parts that a step's batch is computed in to save memory; Dice over the batch and batch norm see one part."""
    lr: float = 1e-3
    """Highest learning rate (AdamW), reached after the warm-up."""
    final_lr: float = 1e-6
    """Learning rate at the end of the cosine."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises linearly from near 0."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of the convolution weights; biases and norms have none."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average that is validated and kept; 0 turns it off. Shorter in early steps."""
    clip_norm: float = 12.0
    """Largest norm of the gradient of all parameters together; 0 turns clipping off."""
    precision: str = "auto"
    """``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 on GPUs that have it and on CPUs that gain by it,
    else float32."""
    device: str = "auto"
    """``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:N``."""
    channels_last: bool = True
    """Whether tensors are kept with channels innermost (1.4 times faster on CPU)."""
    seed: int = 0
    """Seed of everything random in the loop; the patch source has its own."""
    validate_every: int = 500
    """Steps between validations; 0 validates only at the end."""
    checkpoint_every: int = 200
    """Steps between checkpoints; 0 writes one only at the end or when cancelled."""
    log_every: int = 10
    """Steps between logged metrics, which are means over these steps."""
    workers: int = 0
    """Processes that make patches ahead; 0 makes them in the training process. The result does not depend on it."""
    monitor: str = "dice"
    """Name of the validation number that decides which weights are best; larger is better."""
    patience: int = 0
    """Stop after this many validations without improvement; 0 never stops early."""
    tensorboard: bool = True
    """Whether TensorBoard events are written (when tensorboard is installed)."""

    def __post_init__(self) -> None:
        look_up(self.precision, PRECISIONS, "precision")
        if self.device not in ("auto", "cpu", "cuda") and not self.device.removeprefix("cuda:").isdigit():
            raise ConfigError(f'Unknown device "{self.device}"; auto, cpu, cuda or cuda:N was expected.')
        for name in ("batch_size", "accumulate", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; at least 1 was expected.")
        intervals = ("validate_every", "checkpoint_every")
        for name in ("steps", "warmup_steps", "weight_decay", "clip_norm", "workers", *intervals):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; 0 or more was expected.")
        if not 0 < self.final_lr <= self.lr:
            raise ConfigError(f"lr is {self.lr} and final_lr {self.final_lr}; 0 < final_lr <= lr was expected.")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay is {self.ema_decay}; a value from 0 to below 1 was expected.")
        if self.patience < 0 or self.seed < 0:
            raise ConfigError("patience and seed must not be negative.")
