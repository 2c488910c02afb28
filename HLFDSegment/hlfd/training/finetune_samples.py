"""An example slice after every validation: image, labels, and what the network says now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hlfd.events import Event, Metric, OnEvent
from hlfd.files import write_atomically
from hlfd.training.finetune_settings import Watch
from hlfd.training.fit import Validate
from hlfd.training.source import Sample

_VALIDATED = "validation/dice"


class WatchedValidation:
    """Validates as ``validate`` does and keeps an example; ``on_event`` must hear the events of the training.

    ``sample`` is one of those that are validated, ``window`` the HU range of its first channel.
    """

    def __init__(
        self,
        validate: Validate,
        samples: Sequence[Sample],
        names: Sequence[str],
        window: Sequence[float],
        watch: Watch,
        on_event: OnEvent,
    ) -> None:
        self._validate, self._watch, self._on_event = validate, watch, on_event
        self._names, self._window = list(names), window
        self._sample, self._slice = _most_labelled(samples)
        self._prediction: NDArray[np.uint8] | None = None

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return the numbers of the validation."""
        values = self._validate(network)
        if self._watch.samples is not None:
            weight = next(network.parameters())
            with torch.no_grad():
                logits = network(self._sample["image"][None].to(weight.device))
            self._prediction = logits[0, :, self._slice].argmax(0).to(torch.uint8).cpu().numpy()
        return values

    def on_event(self, event: Event) -> None:
        """Pass an event on, and write the example once the step of the validation is known."""
        self._on_event(event)
        if isinstance(event, Metric) and _VALIDATED in event.values:
            self.write(event.step)

    def write(self, step: int) -> None:
        """Write the example of the last validation as that of ``step``."""
        if self._watch.samples is None or self._prediction is None:
            return
        path = self._watch.samples / f"step-{step:06d}.npz"
        arrays = self._arrays(self._prediction)
        write_atomically(path, lambda temporary: _save(temporary, arrays))
        if self._watch.on_sample is not None:
            self._watch.on_sample(step, path)

    def _arrays(self, prediction: NDArray[np.uint8]) -> dict[str, NDArray]:
        """Return the slice as an axial view shows it: rows to the back, columns to the patient's left."""
        low, high = self._window
        hu = (self._sample["image"][0, self._slice].numpy() + 1) / 2 * (high - low) + low
        label = self._sample["label"][self._slice].numpy().astype(np.uint8)
        parts: dict[str, NDArray] = {"image": np.rint(hu).astype(np.int16), "label": label, "prediction": prediction}
        shown = {name: np.ascontiguousarray(part[::-1, ::-1]) for name, part in parts.items()}
        return {**shown, "names": np.array(self._names)}


def _most_labelled(samples: Sequence[Sample]) -> tuple[Sample, int]:
    """Return the sample and the slice (z) with most of a lesion, else most of anything; classes above 1 are lesions."""
    best, found = (samples[0], samples[0]["label"].shape[0] // 2), -1.0
    for sample in samples:
        label = sample["label"]
        score = ((label > 1).sum((1, 2)) * 1000 + (label > 0).sum((1, 2))).float()
        if float(score.max()) > found:
            best, found = (sample, int(score.argmax())), float(score.max())
    return best


def _save(path: Path, arrays: Mapping[str, NDArray]) -> None:
    with path.open("wb") as stream:  # savez would add a suffix to the path
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
