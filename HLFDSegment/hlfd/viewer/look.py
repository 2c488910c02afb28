"""Runs the networks of a package on one region of a volume and gathers what each layer pair shows. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlfd.config import look_up
from hlfd.errors import ConfigError, EmptyInputError
from hlfd.events import CancelToken, OnEvent, ProgressClock, Stage, Warn, ignore
from hlfd.inference.segmenter import Segmenter
from hlfd.inference.steps import Located
from hlfd.preprocess.intensity import window_channels
from hlfd.viewer import compare, maps
from hlfd.viewer.networks import Seen, Viewed, class_groups
from hlfd.viewer.part import Part, region_part
from hlfd.viewer.region import Region, name_regions, region_to_dict, stage_affine, working_grid
from hlfd.viewer.request import FeatureRequest, Pair, default_pairs
from hlfd.volume import Volume

Save = Callable[[str, NDArray], None]
_HIGH = 0.98
_SAMPLE = 100_000  # for the end of a colour scale


@dataclass
class Look:
    """One look at a volume: what is needed on the way, and the answer as it grows."""

    segmenter: Segmenter
    networks: tuple[Viewed, ...]
    request: FeatureRequest
    save: Save
    on_event: OnEvent = ignore
    cancel: CancelToken | None = None
    warnings: list[str] = field(default_factory=list)

    def run(self, volume: Volume) -> dict[str, Any]:
        """Look at the volume; arrays go to ``save`` as ``PAIR-ROLE-KIND``, the rest is returned as plain values.

        Arrays: ``channels`` (C, k, j, i) float16 in standard deviations, ``attention`` and ``evidence`` (k, j, i)
        float32, ``pca`` (k, j, i, 3) uint8, ``difference`` (k, j, i) float32 for networks other than the teacher.
        Raises ``EmptyInputError`` where the segmenter finds no region.
        """
        self.on_event(Stage("locate"))
        located = self.segmenter.locate(volume, cancel=self.cancel)
        self.warnings += located.warnings
        regions = self._regions(located)
        pairs = self.request.pairs or default_pairs({viewed.role: viewed.taps for viewed in self.networks})
        pairs = self.request.chosen(pairs)
        self._check(pairs)
        clock = ProgressClock(len(self.networks) + len(pairs) * len(self.networks), self.on_event, self.cancel)
        with torch.no_grad():
            chosen, part, around = self._part(located, regions)
            seen = self._passes(part, pairs, clock)
            self.on_event(Stage("maps"))
            entries = [self._pair(pair, seen, part, clock) for pair in pairs]
        for message in self.warnings:
            self.on_event(Warn(message))
        return {
            "regions": [region_to_dict(region, located.frame) for region in regions],
            "region": chosen,
            "around": around,
            "part": region_to_dict(Region(regions[chosen].name, part.grid.box()), located.frame) if part.cut else None,
            "affine": part.affine.tolist(),
            "shape": list(part.grid.shape),
            "networks": [
                {"role": v.role, "title": v.title, "evidence_of": seen[v.role].evidence_of} for v in self.networks
            ],
            "focus": part.focus,
            "voxels": part.voxels,
            "pairs": entries,
            "warnings": self.warnings,
        }

    def _regions(self, located: Located) -> tuple[Region, ...]:
        if not located.boxes:
            raise EmptyInputError(
                "The segmenter found no region to look at.", "Choose a CT that shows the organ, or the mode box."
            )
        rules = self.segmenter.rules
        regions = name_regions(located.boxes, located.midline, rules.organs[0], rules.sided)
        if self.request.region >= len(regions):
            raise ConfigError(
                f"There is no region {self.request.region}; {len(regions)} were found.", "Choose another."
            )
        return regions

    def _check(self, pairs: tuple[Pair, ...]) -> None:
        for viewed in self.networks:
            for pair in pairs:
                look_up(pair.tap(viewed.role), list(viewed.taps), f"tap of the {viewed.role}")
        if not pairs:
            raise ConfigError("The networks have no tap of the same name.", "Name the layer pairs in the request.")

    def _part(self, located: Located, regions: tuple[Region, ...]) -> tuple[int, Part, list[float]]:
        """Return the index of the wanted region, or of that with most tumor, what of it is looked at, and around where.

        The last is a RAS position in mm, with which a further request looks at the same part.
        """
        around = self.request.around
        candidates = range(len(regions)) if self.request.region < 0 else [self.request.region]
        if around is not None:
            candidates = [min(candidates, key=lambda n: regions[n].distance(located.frame, around))]
            if regions[candidates[0]].distance(located.frame, around) > 0:
                self.warnings.append("The chosen position lies outside of what was found; the nearest part is shown.")
        found = {n: self._region(located, regions[n]) for n in candidates}
        chosen = max(found, key=lambda n: (found[n].voxels["tumor"], found[n].voxels["kidney"], -n))
        part = found[chosen]
        center = list(around or part.focus)
        if self.request.part_mm:
            part = part.around(center, self.request.part_mm, self._divisor)
        return chosen, part, center

    @property
    def _divisor(self) -> int:
        return math.lcm(*(viewed.network.divisor for viewed in self.networks))

    @property
    def _device(self) -> torch.device:
        return next(iter(self.networks[0].network.parameters())).device

    def _region(self, located: Located, region: Region) -> Part:
        spacing = self.segmenter.package.refiner.spacing_mm
        grid, cut = working_grid(region.box, spacing, self._divisor, self.request.max_voxels)
        said = f"The {region.name} is too large to keep all feature maps of it, so its middle is shown."
        if cut and said not in self.warnings:
            self.warnings.append(said)
        return region_part(self.segmenter, located, grid, self._device, self.cancel)

    def _passes(self, part: Part, pairs: tuple[Pair, ...], clock: ProgressClock) -> dict[str, Seen]:
        channels = window_channels(part.hu, self.segmenter.package.refiner.windows)
        image = torch.from_numpy(channels).to(self._device, memory_format=torch.channels_last_3d)
        tumors = class_groups(self.segmenter.package)["tumor"] if self.request.evidence else ()
        seen = {}
        for viewed in self.networks:
            self.on_event(Stage(f"run {viewed.role}"))
            taps = tuple(dict.fromkeys(pair.tap(viewed.role) for pair in pairs))
            seen[viewed.role] = viewed.look(image, taps, tumors[0] if tumors else None, self.request.precision)
            clock.advance()
        return seen

    def _pair(
        self,
        pair: Pair,
        seen: Mapping[str, Seen],
        part: Part,
        clock: ProgressClock,
    ) -> dict[str, Any]:
        """Save the maps of one layer pair and return what is known of them."""
        shape, affine, masks = part.grid.shape, part.affine, part.masks
        layers: dict[str, Any] = {}
        reference: dict[str, Tensor] = {}
        for role, one in seen.items():
            features = one.features[pair.tap(role)]
            attention = maps.attention_map(features)
            channels = maps.standardise(features, masks)
            scores, variance = maps.components(features)
            self._save(f"{pair.name}-{role}-attention", maps.relative(attention).float())
            self._save(f"{pair.name}-{role}-channels", channels.standardised.half())
            layer: dict[str, Any] = {
                "tap": pair.tap(role),
                "shape": [int(n) for n in features.shape],
                "affine": stage_affine(affine, shape, features.shape[1:]).tolist(),
                "selectivity": channels.selectivity.tolist(),
                "attention_high": _high(maps.relative(attention)),
                "pca_variance": variance,
                "numbers": {f"share_{name}": v for name, v in compare.energy_shares(attention, masks).items()},
            }
            gradient = one.gradients.get(pair.tap(role))
            layer["evidence"] = gradient is not None
            if gradient is not None:
                self._save(f"{pair.name}-{role}-evidence", maps.class_evidence(features, gradient).float())
            if reference:
                scores = maps.turned(scores, reference["scores"])
                if "teacher" in seen:
                    layer |= self._difference(
                        pair, role, features, attention, reference, affine, shape, layer["numbers"]
                    )
            else:
                reference = {"features": features, "attention": attention, "scores": scores}
            self._save(f"{pair.name}-{role}-pca", maps.colours(scores))
            layers[role] = layer
            clock.advance()
        return {"name": pair.name, "layers": layers}

    def _difference(
        self,
        pair: Pair,
        role: str,
        features: Tensor,
        attention: Tensor,
        teacher: Mapping[str, Tensor],
        affine: NDArray[np.float64],
        shape: tuple[int, ...],
        numbers: dict[str, float],
    ) -> dict[str, Any]:
        difference = compare.attention_difference(attention, teacher["attention"])
        self._save(f"{pair.name}-{role}-difference", difference.float())
        numbers["cosine"] = compare.cosine(attention, teacher["attention"])
        numbers["cka"] = compare.linear_cka(features, teacher["features"])
        return {
            "difference_affine": stage_affine(affine, shape, difference.shape).tolist(),
            "difference_high": _high(difference.abs()),
        }

    def _save(self, name: str, array: Tensor) -> None:
        self.save(name, np.ascontiguousarray(array.cpu().numpy()))


def _high(values: Tensor) -> float:
    """Return the value that 2 % of the voxels exceed: the end of the colour scale."""
    flat = values.flatten()
    sample = flat[:: max(1, len(flat) // _SAMPLE)].float()
    return float(sample.kthvalue(max(1, round(_HIGH * len(sample)))).values)
