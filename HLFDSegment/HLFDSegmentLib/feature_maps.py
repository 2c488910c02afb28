"""The answer of the job ``features``, read map by map: arrays stay memory-mapped until one is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import UsageError
from hlfd.viewer import KINDS

_REACH = 1.5  # a focus at the rim leaves half of a view empty otherwise
CHANNEL_WINDOW = (-3.0, 3.0)
NUMBERS = ("cosine", "cka", "share_tumor", "share_kidney", "share_background")
TITLES = {
    "teacher": "Teacher",
    "student": "Student",
    "undistilled": "Student without distillation",
    "base": "Student before fine-tuning",
}
SCALES = {
    "attention": "Attention / mean",
    "channel": "Standard deviations",
    "evidence": "Tumor evidence",
    "difference": "Attention - teacher's",
    "pca": "",
}


@dataclass(frozen=True)
class Map:
    """One map to show: array (k, j, i), or (k, j, i, 3) RGB, its IJK->RAS matrix, and its scale."""

    array: NDArray
    affine: NDArray[np.float64]
    window: tuple[float, float]
    kind: str


@dataclass(frozen=True)
class Selection:
    """What is shown: layer pair, kind of map, and per role the channel (the most selective where none is named)."""

    pair: str
    kind: str = "attention"
    channels: tuple[tuple[str, int], ...] = ()

    def channel(self, role: str) -> int | None:
        """Return the channel chosen for the network of ``role``."""
        return dict(self.channels).get(role)


class FeatureMaps:
    """The maps of one look at a region, by layer pair, role and kind."""

    def __init__(self, answer: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
        self.answer = answer
        self._arrays = arrays
        self._pairs = {pair["name"]: pair["layers"] for pair in answer["pairs"]}

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names of the layer pairs, shallow to deep and back."""
        return tuple(self._pairs)

    @property
    def roles(self) -> tuple[str, ...]:
        """The networks that there are, teacher first."""
        return tuple(network["role"] for network in self.answer["networks"])

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions that the segmenter found."""
        return tuple(region["name"] for region in self.answer["regions"])

    @property
    def focus(self) -> NDArray[np.float64]:
        """RAS position in mm to look at first: the middle of the tumor, else of the organ."""
        return np.array(self.answer["focus"])

    @property
    def extent(self) -> NDArray[np.float64]:
        """Size in mm along R, A, S of what is shown: the region, or the part of it that was looked at."""
        shown = self.answer.get("part") or self.answer["regions"][self.answer["region"]]
        return np.subtract(shown["high"], shown["low"])

    @property
    def reach(self) -> NDArray[np.float64]:
        """Size in mm along R, A, S of a view centred on the focus that shows (nearly) all of that."""
        shown = self.answer.get("part") or self.answer["regions"][self.answer["region"]]
        both = np.maximum(np.subtract(self.focus, shown["low"]), np.subtract(shown["high"], self.focus))
        return np.clip(2 * both, self.extent, _REACH * self.extent)

    @property
    def partial(self) -> bool:
        """Whether only a part of the region was looked at."""
        return bool(self.answer.get("part"))

    def title(self, role: str) -> str:
        """Return what to call the network of ``role``."""
        title = next(network["title"] for network in self.answer["networks"] if network["role"] == role)
        return f"{TITLES[role]} ({title})"

    def layer(self, pair: str, role: str) -> Mapping[str, Any]:
        """Return what is known of one layer: tap, shape, selectivity, numbers."""
        if pair not in self._pairs:
            raise UsageError(f'There is no layer pair "{pair}".', f"Choose one of {', '.join(self._pairs)}.")
        layer: Mapping[str, Any] = self._pairs[pair][role]
        return layer

    def kinds(self, pair: str) -> tuple[str, ...]:
        """Return which kinds of maps there are for a pair."""
        layers = [self.layer(pair, role) for role in self.roles]
        absent = set()
        if not any(layer["evidence"] for layer in layers):
            absent.add("evidence")
        if not any("difference_high" in layer for layer in layers):
            absent.add("difference")
        return tuple(kind for kind in KINDS if kind not in absent)

    def channels(self, pair: str, role: str) -> list[tuple[int, float]]:
        """Return (channel, selectivity) of a layer, the most selective for tumor first."""
        selectivity = np.array(self.layer(pair, role)["selectivity"])
        return [(int(index), float(selectivity[index])) for index in np.argsort(-selectivity, kind="stable")]

    def number(self, pair: str, role: str, name: str) -> float:
        """Return one of ``NUMBERS``; NaN where it has no meaning, such as a teacher's likeness to itself."""
        return float(self.layer(pair, role)["numbers"].get(name, float("nan")))

    def shown_channel(self, role: str, selection: Selection) -> int:
        """Return the channel that a selection shows of a network."""
        chosen, count = selection.channel(role), self.layer(selection.pair, role)["shape"][0]
        if chosen is None:
            return self.channels(selection.pair, role)[0][0]
        if not 0 <= chosen < count:
            raise UsageError(f"There is no channel {chosen}; the layer has {count}.", "Choose one from the list.")
        return chosen

    def map(self, role: str, selection: Selection) -> Map | None:
        """Return what a selection shows of a network, None where there is nothing; the teacher stands for itself in
        the kind difference: its attention is shown."""
        layer, kind = self.layer(selection.pair, role), selection.kind
        if kind not in KINDS:
            raise UsageError(f'There is no kind of map "{kind}".', f"Choose one of {', '.join(KINDS)}.")
        if kind == "difference" and role == "teacher":
            kind = "attention"
        stored = "channels" if kind == "channel" else kind
        array = self._arrays.get(f"{selection.pair}-{role}-{stored}")
        if array is None:
            return None
        if kind == "channel":
            array = array[self.shown_channel(role, selection)].astype(np.float32)
        affine = np.array(layer["difference_affine" if kind == "difference" else "affine"])
        return Map(np.ascontiguousarray(array), affine, self._window(selection.pair, kind), kind)

    def _window(self, pair: str, kind: str) -> tuple[float, float]:
        """Return the scale that all networks share."""
        layers = [self.layer(pair, role) for role in self.roles]
        if kind == "attention":
            return 0.0, max(layer["attention_high"] for layer in layers)
        if kind == "difference":
            high = max(layer.get("difference_high", 0.0) for layer in layers)
            return -high, high
        return {"channel": CHANNEL_WINDOW, "evidence": (0.0, 1.0)}.get(kind, (0.0, 255.0))
