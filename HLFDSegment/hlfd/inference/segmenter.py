"""Segmentation of a CT volume: locate, refine, bring labels back, post-process, measure."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hlfd.config import SegmentSettings
from hlfd.errors import GpuOutOfMemoryError
from hlfd.events import CancelToken, OnEvent, ignore
from hlfd.inference.backends import choose_backend, cpu_threads, load_backend
from hlfd.inference.export import Values, crop_to_foreground, export_labels
from hlfd.inference.growth import MOST_TIMES, follow_masses
from hlfd.inference.measure import Image, find_lesions, measure_structure
from hlfd.inference.postprocess import argmax_labels, clean_region, give_back, relabel
from hlfd.inference.quality import NOTHING, UNLIKE, Quality, evidence_at
from hlfd.inference.quality_image import (
    Facts,
    ImageFacts,
    LocatorFacts,
    OrganFacts,
    image_facts,
    located_share,
    locator_facts,
    refined_share,
)
from hlfd.inference.quality_lesions import LesionEvidence, RegionEvidence, gather_evidence
from hlfd.inference.regions import Found, RegionRules, find_regions, side_of
from hlfd.inference.result import Lesion, SegmentationResult, Structure
from hlfd.inference.roles import Roles, is_cyst, make_roles
from hlfd.inference.running import Running
from hlfd.inference.tiling import Backend, predict
from hlfd.labels import Label
from hlfd.models.package import ModelPackage, NetworkEntry
from hlfd.preprocess.body import Body, find_body
from hlfd.preprocess.frame import AlignedFrame, ObliqueFrame, box_slices, make_frame
from hlfd.preprocess.grid import Box, Grid, Triple, grid_over
from hlfd.preprocess.orientation import Canonical, canonical
from hlfd.volume import LabelMap, Volume

_SMALLEST_CAP_MB = 64.0


@dataclass(frozen=True)
class Located:
    """The regions of a volume: boxes in mm of ``frame``, the patient's middle, what was odd, and the facts."""

    frame: AlignedFrame | ObliqueFrame
    boxes: tuple[Box, ...]
    midline: float
    warnings: tuple[str, ...]
    image: ImageFacts
    locator: LocatorFacts | None


@dataclass(frozen=True)
class _Regions:
    """What to refine: boxes, how surely each holds an organ, what the locator found, None without a locator, and how
    far boxes may grow."""

    boxes: list[Box]
    shares: list[float]
    found: Found | None = None
    locator: LocatorFacts | None = None
    limits: Box | None = None


@dataclass(frozen=True)
class _Refined:
    """One region as the refiner sees it: its box, exact grid, logits (classes, z, y, x), labels (z, y, x), middle."""

    box: Box
    grid: Grid
    logits: NDArray[np.float32]
    labels: NDArray[np.uint8]
    plane: float

    def mass(self, roles: Roles) -> int:
        """Return the number of voxels of masses."""
        return int(np.isin(self.labels, roles.lesions).sum())


@dataclass(frozen=True)
class _Exported:
    """One refined region: its box, the plane between the sides, the index box that was written, and what it shows."""

    box: Box
    plane: float
    low: list[int]
    high: list[int]
    organ: OrganFacts | None = None
    lesions: RegionEvidence | None = None
    left_out_ml: tuple[float, ...] = ()


@dataclass(frozen=True)
class Examined:
    """A result, and the numbers that its confidences and warnings are made of: one evidence per lesion."""

    result: SegmentationResult
    image: ImageFacts
    locator: LocatorFacts | None
    organs: tuple[OrganFacts, ...]
    evidence: tuple[LesionEvidence | None, ...]


class Segmenter:
    """Segments volumes with one model package and keeps its networks loaded in between.

    ``settings.model`` is not looked at: the package is given. Raises ``ModelError``, ``DeviceError`` or
    ``MissingDependencyError`` when the networks cannot be loaded.
    """

    def __init__(self, package: ModelPackage, settings: SegmentSettings | None = None) -> None:
        self.package = package
        self.settings = settings or SegmentSettings()
        self.roles = make_roles(package)
        self.rules = RegionRules.of(package)
        self.quality = Quality.of(package, self.rules.organs)
        self.threads = cpu_threads(self.settings)
        wanted = (None if self.settings.mode == "box" else package.locator, package.refiner)
        self.backend, self.device = choose_backend(self.settings, wanted)
        self._loaded: dict[str, Backend] = {}
        for entry in wanted:
            if entry is not None:
                self._network(entry)

    def _network(self, entry: NetworkEntry) -> Backend:
        key = str(entry.weights)
        if key not in self._loaded:
            self._loaded[key] = load_backend(entry, self.backend, self.device, self.threads)
        return self._loaded[key]

    def run(self, volume: Volume, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> SegmentationResult:
        """Segment ``volume``; the label map lies on its grid. Raises ``CancelledError`` when cancelled."""
        return self.examine(volume, on_event, cancel).result

    def examine(self, volume: Volume, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> Examined:
        """Segment as ``run`` does and return what speaks for and against the result, too."""
        run = Running(on_event, cancel)
        begin = time.perf_counter()
        run.stage("prepare")
        view = canonical(volume)
        frame = make_frame(view, self.threads)
        body = find_body(frame)
        if not body.found:
            run.warn("No body was found in the image; all of it was searched.")
        run.progress(0.05, 1)
        image = image_facts(frame, body.box)
        regions = _Regions([], []) if self._unlike(image, NOTHING, run) else self._regions(frame, body, run)
        labels = np.zeros(volume.shape, np.uint8)
        seen = view.orientation.view(labels)
        exported: list[_Exported] = []
        for box, share in zip(regions.boxes, regions.shares):
            exported.append(self._export(self._refine(frame, box, body, regions, run), frame, share, seen, run))
            run.progress(run.done + 0.65 / len(regions.boxes), 1)
        if not labels.any() and self.quality.limits is not None and not any(w.startswith(UNLIKE) for w in run.warnings):
            run.warn(self.quality.no_organ)  # what the locator took for one was none
        run.stage("measure")
        structures, lesions, evidence = self._measure(view, frame, seen, exported, body)
        run.close()
        run.progress(1, 1)
        run.timing["total"] = time.perf_counter() - begin
        result = SegmentationResult(
            label_map=LabelMap(labels, volume.affine, self.package.labels),
            structures=structures,
            lesions=lesions,
            model=self.package.name,
            model_version=self.package.version,
            demonstration=self.package.demonstration,
            device=self.device,
            backend=self.backend,
            mode="box" if regions.boxes and regions.found is None else "roi",
            timing=run.timing,
            warnings=tuple(run.warnings),
            regions=tuple(_ras_box(frame, e.box) for e in exported),
            left_out_ml=tuple(sorted((ml for e in exported for ml in e.left_out_ml), reverse=True)),
        )
        organs = tuple(e.organ for e in exported if e.organ is not None)
        return Examined(result, image, regions.locator, organs, evidence)

    def locate(self, volume: Volume, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> Located:
        """Find the regions that ``run`` would refine, without refining them."""
        run = Running(on_event, cancel)
        run.stage("prepare")
        frame = make_frame(canonical(volume), self.threads)
        body = find_body(frame)
        regions, image = self._regions(frame, body, run), image_facts(frame, body.box)
        return Located(frame, tuple(regions.boxes), body.midline, tuple(run.warnings), image, regions.locator)

    def refiner_logits(self, hu: NDArray[np.float32], cancel: CancelToken | None = None) -> NDArray[np.float32]:
        """Return the refiner's logits (classes, z, y, x) of HU (z, y, x) at its spacing, padded to its divisor."""
        return self._predict(self.package.refiner, hu, Running(ignore, cancel))

    def _regions(self, frame: AlignedFrame | ObliqueFrame, body: Body, run: Running) -> _Regions:
        """Return what to refine: where the locator finds the organ, or the whole body."""
        locator = self.package.locator
        if self.settings.mode == "box" or locator is None:
            if self.settings.mode == "roi":
                run.warn("This model has no locator, so the whole body was searched.")
            return _Regions([body.box], [1.0])
        run.stage("locate")
        grid, padded = grid_over(body.box, locator.spacing_mm), grid_over(body.box, locator.spacing_mm, locator.divisor)
        logits = self._predict(locator, frame.sample(padded), run)[(slice(None), *box_slices((0, 0, 0), grid.shape))]
        back = body.box.low[1] + self.rules.posterior_share * (body.box.high[1] - body.box.low[1])
        facts, labels = locator_facts(logits), argmax_labels(logits)
        if self._unlike(facts, NOTHING, run):
            return _Regions([], [], None, facts)
        found = find_regions(labels, grid, locator.classes, body.midline, self.rules, back)
        run.progress(0.3, 1)
        if found.boxes:
            limits = body.box.grown(self.rules.margin_mm).clipped(frame.box)
            boxes = [box.clipped(limits) for box in found.boxes]
            classes = [locator.classes.index(organ) for organ in self.rules.organs]
            mask = found.support & np.isin(labels, classes)
            shares = [located_share(logits, mask, grid, box, classes) for box in boxes]
            return _Regions(boxes, shares, found, facts, limits)
        # A model that knows its limits does not go on where it saw no organ: it would invent one.
        if self.quality.limits is not None:
            run.warn(self.quality.no_organ)
            return _Regions([], [], found, facts)
        organs = " or ".join(self.rules.organs)
        if self.settings.mode == "roi":
            run.warn(f"No {organs} was found; the result is empty. Mode box searches the whole body.")
            return _Regions([], [], found, facts)
        run.warn(f"No {organs} was found at low resolution, so the whole body was searched; check the result.")
        return _Regions([body.box], [1.0], None, facts)

    def _unlike(self, facts: Facts, consequence: str, run: Running) -> bool:
        """Warn of what is unlike the training; return whether to mark nothing, which ``mode`` box overrides."""
        forced = self.settings.mode == "box"
        warning = self.quality.warning(facts, "Check every part of the result." if forced else consequence)
        if warning is not None:
            run.warn(warning)
        return warning is not None and not forced

    def _predict(self, entry: NetworkEntry, hu: NDArray[np.float32], run: Running) -> NDArray[np.float32]:
        """Run a network; when the GPU has no memory left, with smaller tiles, in the end on the CPU."""
        cap = float(self.settings.memory_mb)
        while True:
            try:
                return predict(self._network(entry), entry, hu, cap, run.cancel)
            except GpuOutOfMemoryError:
                cap /= 2
                if cap >= _SMALLEST_CAP_MB:
                    run.warn("The GPU ran out of memory, so the image was worked on in smaller blocks.")
                else:
                    run.warn("The GPU has too little free memory, so the CPU was used.")
                    self._loaded.clear()
                    self.backend, self.device = choose_backend(
                        replace(self.settings, device="cpu", backend="auto"),
                        (self.package.locator, self.package.refiner),
                    )
                    cap = float(self.settings.memory_mb)

    def _refine(
        self, frame: AlignedFrame | ObliqueFrame, box: Box, body: Body, regions: _Regions, run: Running
    ) -> _Refined:
        """Refine one region, and again a larger one where a mass reaches its end."""
        found, limits = regions.found, regions.limits
        refined = self._look(frame, box, body, found, run)
        if found is None or limits is None:
            return refined
        for _ in range(MOST_TIMES):
            seen = refined.labels, refined.grid, self.roles.lesions, refined.box
            wider = follow_masses(*seen, limits, found, self.rules)
            if wider is None:
                break
            box, found = wider
            again = self._look(frame, box, body, found, run)
            if again.mass(self.roles) < refined.mass(self.roles) / 2:
                break  # with more around it, it looks like none
            refined = again
        return refined

    def _look(
        self, frame: AlignedFrame | ObliqueFrame, box: Box, body: Body, found: Found | None, run: Running
    ) -> _Refined:
        """Run the refiner on ``box`` and clean what it says."""
        run.stage("refine")
        entry = self.package.refiner
        exact, padded = grid_over(box, entry.spacing_mm), grid_over(box, entry.spacing_mm, entry.divisor)
        logits = self._predict(entry, frame.sample(padded), run)[(slice(None), *box_slices((0, 0, 0), exact.shape))]
        run.stage("postprocess")
        labels = argmax_labels(logits)
        outside = None if found is None else found.outside(exact)
        plane = clean_region(logits, labels, exact, self.roles, self.rules, body.midline, outside)
        return _Refined(box, exact, logits, labels, plane)

    def _export(
        self,
        refined: _Refined,
        frame: AlignedFrame | ObliqueFrame,
        located: float,
        out: NDArray[np.uint8],
        run: Running,
    ) -> _Exported:
        """Leave out of a region what is doubtful and write its labels into the canonical array ``out``."""
        box, exact, logits, labels, plane = refined.box, refined.grid, refined.logits, refined.labels, refined.plane
        organ = OrganFacts(located, refined_share(logits, labels, self.roles))
        if labels.any() and self._unlike(organ, "Nothing was marked there.", run):
            relabel(logits, labels, labels > 0, 0)
        lesions = gather_evidence(logits, labels, exact, self.roles)
        doubtful = [n for n, of in enumerate(lesions.lesions, 1) if self._doubtful(of)]
        if doubtful:
            give_back(logits, labels, lesions.mask(doubtful, exact), self.roles)
        volumes = (lesions.lesions[n - 1].volume_ml for n in doubtful)
        left_out = tuple(ml for ml in volumes if ml >= self.settings.min_tumor_ml)
        run.stage("export")
        if not labels.any():
            return _Exported(box, plane, [0, 0, 0], [0, 0, 0], left_out_ml=left_out)
        values = Values(np.array(self.roles.left, np.uint8), np.array(self.roles.right, np.uint8), plane)
        low, high = export_labels(*crop_to_foreground(logits, exact, labels), frame, values, out)
        return _Exported(box, plane, low, high, organ, lesions, left_out)

    def _doubtful(self, evidence: LesionEvidence) -> bool:
        confidence = self.quality.lesion(evidence)
        wanted = self.settings.min_confidence
        return confidence is not None and confidence < (self.quality.min_confidence if wanted is None else wanted)

    def _measure(
        self,
        view: Canonical,
        frame: AlignedFrame | ObliqueFrame,
        labels: NDArray[np.uint8],
        exported: list[_Exported],
        body: Body,
    ) -> tuple[tuple[Structure, ...], tuple[Lesion, ...], tuple[LesionEvidence | None, ...]]:
        written = [e for e in exported if min(e.high) > 0] or [_Exported(body.box, 0.0, [0, 0, 0], [1, 1, 1])]
        low = np.min([e.low for e in written], axis=0).tolist()
        high = np.max([e.high for e in written], axis=0).tolist()
        affine = view.affine.copy()
        affine[:3, 3] = (view.affine @ [*low[::-1], 1.0])[:3]
        image = Image(view.array[box_slices(low, high)], labels[box_slices(low, high)], affine)

        def side(index: Triple) -> str:
            point = frame.position((index[0] + low[0], index[1] + low[1], index[2] + low[2]))
            planes = [e.plane for e in exported if e.box.touches(Box(point, point))]
            return side_of(point[2], planes[0] if planes else body.midline) if self.rules.sided else ""

        regions = [e.lesions for e in exported if e.lesions is not None]

        def evidence(label: Label, points: NDArray[np.int64]) -> LesionEvidence | None:
            return evidence_at(regions, frame.positions(points + low), is_cyst(label.name))

        def doubtful(known: LesionEvidence | None, volume_ml: float) -> bool:
            return known is not None and self._doubtful(known.sized(volume_ml))

        limit = self.settings.min_tumor_ml
        found = [
            (lesion, None if known is None else known.sized(lesion.volume_ml))
            for lesion, known in find_lesions(image, self.roles, side, limit, evidence, doubtful)
        ]
        lesions = tuple(replace(lesion, confidence=self.quality.lesion(known)) for lesion, known in found)
        structures = tuple(measure_structure(image, label, lesions) for label in self.package.labels)
        return structures, lesions, tuple(known for _, known in found)


def _ras_box(frame: AlignedFrame | ObliqueFrame, box: Box) -> tuple[Triple, Triple]:
    """Return the (low, high) RAS corners (x, y, z) of a box in mm."""
    a, b = np.array(frame.to_ras(box.low)), np.array(frame.to_ras(box.high))
    low, high = np.minimum(a, b).tolist(), np.maximum(a, b).tolist()
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def segment(
    volume: Volume,
    package: ModelPackage,
    settings: SegmentSettings | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> SegmentationResult:
    """Segment one volume; use ``Segmenter`` for several, which keeps the networks loaded."""
    return Segmenter(package, settings).run(volume, on_event, cancel)
