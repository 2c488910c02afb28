"""Segmentation of a CT volume: locate, refine, bring labels back, post-process, measure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

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
    OrganFacts,
    image_facts,
    located_share,
    locator_facts,
    refined_share,
)
from hlfd.inference.quality_lesions import LesionEvidence, gather_evidence
from hlfd.inference.regions import Found, RegionRules, find_regions, side_of
from hlfd.inference.result import Lesion, SegmentationResult, Structure
from hlfd.inference.roles import is_cyst, make_roles
from hlfd.inference.running import Running
from hlfd.inference.steps import Examined, Exported, Judged, Located, Refined, Regions
from hlfd.inference.tiling import Backend, predict
from hlfd.labels import Label
from hlfd.models.package import ModelPackage, NetworkEntry
from hlfd.preprocess.body import Body, find_body
from hlfd.preprocess.frame import AlignedFrame, ObliqueFrame, box_slices, make_frame
from hlfd.preprocess.grid import Box, Grid, Triple, grid_over
from hlfd.preprocess.orientation import Canonical, canonical
from hlfd.threads import run_threaded
from hlfd.volume import LabelMap, Volume

_SMALLEST_CAP_MB = 64.0


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
        regions = Regions([], []) if self._unlike(image, NOTHING, run) else self._regions(frame, body, run)
        labels = np.zeros(volume.shape, np.uint8)
        seen = view.orientation.view(labels)
        refined = self._refine(frame, body, regions, run)
        judged = run_threaded(lambda pair: self._judge(*pair), list(zip(refined, regions.shares)), self.threads)
        exported = []
        for region, verdict in zip(refined, judged):
            exported.append(self._export(region, verdict, frame, seen, run))
            run.progress(run.done + 0.15 / len(refined), 1)
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
            left_out_ml=tuple(sorted((ml for verdict in judged for ml in verdict.left_out_ml), reverse=True)),
        )
        organs = tuple(e.judged.organ for e in exported if e.judged is not None)
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

    def _regions(self, frame: AlignedFrame | ObliqueFrame, body: Body, run: Running) -> Regions:
        """Return what to refine: where the locator finds the organ, or the whole body."""
        locator = self.package.locator
        if self.settings.mode == "box" or locator is None:
            if self.settings.mode == "roi":
                run.warn("This model has no locator, so the whole body was searched.")
            return Regions([body.box], [1.0])
        run.stage("locate")
        grid, padded = grid_over(body.box, locator.spacing_mm), grid_over(body.box, locator.spacing_mm, locator.divisor)
        logits = self._predict(locator, frame.sample(padded), run)[(slice(None), *box_slices((0, 0, 0), grid.shape))]
        back = body.box.low[1] + self.rules.posterior_share * (body.box.high[1] - body.box.low[1])
        facts, labels = locator_facts(logits), argmax_labels(logits)
        if self._unlike(facts, NOTHING, run):
            return Regions([], [], None, facts)
        found = find_regions(labels, grid, locator.classes, body.midline, self.rules, back)
        run.progress(0.3, 1)
        if found.boxes:
            limits = body.box.grown(self.rules.margin_mm).clipped(frame.box)
            boxes = [box.clipped(limits) for box in found.boxes]
            classes = [locator.classes.index(organ) for organ in self.rules.organs]
            mask = found.support & np.isin(labels, classes)
            shares = [located_share(logits, mask, grid, box, classes) for box in boxes]
            return Regions(boxes, shares, found, facts, limits)
        # A model that knows its limits does not go on where it saw no organ: it would invent one.
        if self.quality.limits is not None:
            run.warn(self.quality.no_organ)
            return Regions([], [], found, facts)
        organs = " or ".join(self.rules.organs)
        if self.settings.mode == "roi":
            run.warn(f"No {organs} was found; the result is empty. Mode box searches the whole body.")
            return Regions([], [], found, facts)
        run.warn(f"No {organs} was found at low resolution, so the whole body was searched; check the result.")
        return Regions([body.box], [1.0], None, facts)

    @property
    def _forced(self) -> bool:
        """Whether the user wants something marked, whatever the image looks like."""
        return self.settings.mode == "box"

    def _warning(self, facts: Facts, consequence: str) -> str | None:
        """Return what to say of facts that are unlike the training."""
        return self.quality.warning(facts, "Check every part of the result." if self._forced else consequence)

    def _unlike(self, facts: Facts, consequence: str, run: Running) -> bool:
        """Warn of what is unlike the training; return whether to mark nothing."""
        warning = self._warning(facts, consequence)
        if warning is not None:
            run.warn(warning)
        return warning is not None and not self._forced

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

    def _refine(self, frame: AlignedFrame | ObliqueFrame, body: Body, regions: Regions, run: Running) -> list[Refined]:
        """Refine all regions, and again a larger one where a mass reaches the end of one."""
        found, limits = regions.found, regions.limits
        refined = self._look(frame, [(box, found) for box in regions.boxes], body, run)
        if found is None or limits is None:
            return refined
        support = [found] * len(refined)
        growing = list(range(len(refined)))
        for _ in range(MOST_TIMES):
            wider = {}
            for n in growing:
                seen = refined[n].labels, refined[n].grid, self.roles.lesions, refined[n].box
                place = follow_masses(*seen, limits, support[n], self.rules)
                if place is not None:
                    wider[n] = place
            growing = []
            for n, again in zip(wider, self._look(frame, list(wider.values()), body, run)):
                if again.mass(self.roles) < refined[n].mass(self.roles) / 2:
                    continue  # with more around it, it looks like none
                refined[n], support[n] = again, wider[n][1]
                growing.append(n)
        return refined

    def _look(
        self,
        frame: AlignedFrame | ObliqueFrame,
        places: Sequence[tuple[Box, Found | None]],
        body: Body,
        run: Running,
    ) -> list[Refined]:
        """Run the refiner on the boxes, one after the other, and clean what it says, all at once."""
        if not places:
            return []
        run.stage("refine")
        entry = self.package.refiner
        raw = []
        for box, found in places:
            exact, padded = grid_over(box, entry.spacing_mm), grid_over(box, entry.spacing_mm, entry.divisor)
            logits = self._predict(entry, frame.sample(padded), run)
            raw.append((box, found, exact, logits[(slice(None), *box_slices((0, 0, 0), exact.shape))]))
            run.progress(run.done + (0.8 - run.done) / (len(places) + 1), 1)

        def clean(look: tuple[Box, Found | None, Grid, NDArray[np.float32]]) -> Refined:
            box, found, exact, logits = look
            labels = argmax_labels(logits)
            outside = None if found is None else found.outside(exact)
            plane = clean_region(logits, labels, exact, self.roles, self.rules, body.midline, outside)
            return Refined(box, exact, logits, labels, plane)

        run.stage("postprocess")
        return run_threaded(clean, raw, self.threads)

    def _judge(self, refined: Refined, located: float) -> Judged:
        """Leave out of a region what is doubtful; ``located`` is how surely the locator saw an organ there."""
        exact, logits, labels = refined.grid, refined.logits, refined.labels
        organ = OrganFacts(located, refined_share(logits, labels, self.roles))
        warning = self._warning(organ, "Nothing was marked there.") if labels.any() else None
        if warning is not None and not self._forced:
            relabel(logits, labels, labels > 0, 0)
        lesions = gather_evidence(logits, labels, exact, self.roles)
        doubtful = [n for n, of in enumerate(lesions.lesions, 1) if self._doubtful(of)]
        if doubtful:
            give_back(logits, labels, lesions.mask(doubtful, exact), self.roles)
        volumes = (lesions.lesions[n - 1].volume_ml for n in doubtful)
        left_out = tuple(ml for ml in volumes if ml >= self.settings.min_tumor_ml)
        return Judged(organ, lesions, left_out, warning)

    def _export(
        self,
        refined: Refined,
        judged: Judged,
        frame: AlignedFrame | ObliqueFrame,
        out: NDArray[np.uint8],
        run: Running,
    ) -> Exported:
        """Write the labels of a region into the canonical array ``out``."""
        if judged.warning is not None:
            run.warn(judged.warning)
        run.stage("export")
        if not refined.labels.any():
            return Exported(refined.box, refined.plane, [0, 0, 0], [0, 0, 0])
        values = Values(np.array(self.roles.left, np.uint8), np.array(self.roles.right, np.uint8), refined.plane)
        inside = crop_to_foreground(refined.logits, refined.grid, refined.labels)
        low, high = export_labels(*inside, frame, values, out)
        return Exported(refined.box, refined.plane, low, high, judged)

    def _doubtful(self, evidence: LesionEvidence) -> bool:
        confidence = self.quality.lesion(evidence)
        wanted = self.settings.min_confidence
        return confidence is not None and confidence < (self.quality.min_confidence if wanted is None else wanted)

    def _measure(
        self,
        view: Canonical,
        frame: AlignedFrame | ObliqueFrame,
        labels: NDArray[np.uint8],
        exported: list[Exported],
        body: Body,
    ) -> tuple[tuple[Structure, ...], tuple[Lesion, ...], tuple[LesionEvidence | None, ...]]:
        written = [e for e in exported if min(e.high) > 0] or [Exported(body.box, 0.0, [0, 0, 0], [1, 1, 1])]
        low = np.min([e.low for e in written], axis=0).tolist()
        high = np.max([e.high for e in written], axis=0).tolist()
        affine = view.affine.copy()
        affine[:3, 3] = (view.affine @ [*low[::-1], 1.0])[:3]
        image = Image(view.array[box_slices(low, high)], labels[box_slices(low, high)], affine)

        def side(index: Triple) -> str:
            point = frame.position((index[0] + low[0], index[1] + low[1], index[2] + low[2]))
            planes = [e.plane for e in exported if e.box.touches(Box(point, point))]
            return side_of(point[2], planes[0] if planes else body.midline) if self.rules.sided else ""

        regions = [e.judged.lesions for e in exported if e.judged is not None]

        def evidence(label: Label, points: NDArray[np.int64]) -> LesionEvidence | None:
            return evidence_at(regions, frame.positions(points + low), is_cyst(label.name))

        def doubtful(known: LesionEvidence | None, volume_ml: float) -> bool:
            return known is not None and self._doubtful(known.sized(volume_ml))

        limit = self.settings.min_tumor_ml
        found = [
            (lesion, None if known is None else known.sized(lesion.volume_ml))
            for lesion, known in find_lesions(image, self.roles, side, limit, evidence, doubtful, self.threads)
        ]
        lesions = tuple(replace(lesion, confidence=self.quality.lesion(known)) for lesion, known in found)
        structures = run_threaded(
            lambda label: measure_structure(image, label, lesions), self.package.labels, self.threads
        )
        return tuple(structures), lesions, tuple(known for _, known in found)


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
