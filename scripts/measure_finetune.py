#!/usr/bin/env python
"""Measures fine-tuning on a scanner that the student has not seen: before and after, there and on its old test cases.

    python scripts/measure_finetune.py --out runs/finetune [--minutes 10] [--methods none kd hlfd+kd] [--threads 2]

Five labelled cases (four to learn from, one to choose when to stop) and ten held-out ones have the shapes of the label
maps 180 to 194 of KiTS, which the shipped student did not learn from, simulated on the held-out scanner: virtual
monoenergetic images of 40 keV of the nephrographic phase, in which what takes up iodine is 2.7 times as far above 40 HU
(cortex at 190 to 580 HU), coarse noise of 38 HU and a softer kernel than any in its training. The old test cases are
those of --recipe, the student's own.
Methods: ``none`` learns from labels alone, ``kd`` and ``hlfd+kd`` are guided by the student as it was on the replayed
patches.

The shipped student marks nothing in a scan that is unlike its training, and some of these are; a fine-tuned one knows
them. So that no gain comes from that alone, the student goes without these limits here, before and after.

One command that goes on where it was stopped. Writes OUT/measured.json and prints it. ``--quick`` is a trial: few cases
on a coarse grid, to be given few --steps; its numbers say nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hlfd.config import SegmentSettings
from hlfd.data.layouts import find_cases
from hlfd.data.pool import shape_of
from hlfd.events import Event, Progress, Stage, Warn
from hlfd.files import write_json, write_text
from hlfd.inference.segmenter import Segmenter
from hlfd.io import read_label_map, write_label_map, write_volume
from hlfd.labels import PHANTOM_LABELS
from hlfd.models.amend import add_quality
from hlfd.models.package import ModelPackage, file_sha256, load_package
from hlfd.models.registry import find
from hlfd.phantom import AnatomySettings, Scan, Tissue, build_anatomy, render, to_labels
from hlfd.phantom.intensity import draw_patient
from hlfd.training.assess import KINDS, SEGMENTATION, make_test_case, task_labels
from hlfd.training.dataset_evaluate import score_case
from hlfd.training.finetune import FinetuneSettings, finetune
from hlfd.training.finetune_data import Roles
from hlfd.training.recipe import Recipe, read_recipe
from hlfd.volume import LabelMap, Volume

LABELLED, HELD_OUT = range(180, 185), range(185, 195)
RECIPE = Path(__file__).resolve().parents[1] / "configs" / "kidney" / "kidney.yaml"
STRUCTURES = ("tumor", "kidney_and_masses", "masses")
SEED = 41
ENHANCING = [
    *(Tissue.MUSCLE, Tissue.LIMB_MUSCLE, Tissue.HEART_WALL, Tissue.HEART_BLOOD, Tissue.LIVER, Tissue.LIVER_VESSEL),
    *(Tissue.LIVER_METASTASIS, Tissue.LIVER_HCC, Tissue.SPLEEN, Tissue.PANCREAS, Tissue.STOMACH_WALL, Tissue.ADRENAL),
    *(Tissue.BOWEL_WALL, Tissue.AORTA, Tissue.VENA_CAVA, Tissue.ARTERY, Tissue.VEIN, Tissue.MESENTERIC_VESSEL),
    *(Tissue.KIDNEY_LEFT_CORTEX, Tissue.KIDNEY_LEFT_MEDULLA, Tissue.KIDNEY_RIGHT_CORTEX, Tissue.KIDNEY_RIGHT_MEDULLA),
    *(Tissue.TUMOR_CLEAR_CELL, Tissue.TUMOR_PAPILLARY, Tissue.TUMOR_CHROMOPHOBE, Tissue.CYST_SEPTUM),
    *(Tissue.BLADDER_WALL, Tissue.PELVIC_ORGAN, Tissue.LYMPH_NODE, Tissue.BONE_MARROW),
]
IODINE = 2.7
"""How much more iodine enhances at 40 keV than at 70 keV, which a scan at 120 kVp is like; a rounded textbook value."""
GAIN_BAR, LOSS_BAR = 0.05, 0.01


@dataclass(frozen=True)
class Sizes:
    """How much is made and measured."""

    labelled: tuple[int, ...] = tuple(LABELLED)
    held_out: tuple[int, ...] = tuple(HELD_OUT)
    old: int = 15
    spacing_mm: tuple[float, float, float] = (0.9, 0.9, 3.0)


QUICK = Sizes(tuple(LABELLED[:2]), tuple(HELD_OUT[:1]), 1, (3.0, 3.0, 3.0))


def without_limits(package: ModelPackage, root: Path) -> ModelPackage:
    """Return a copy of the package that looks at every image."""
    folder = root / package.name / package.version
    if not folder.is_dir():
        shutil.copytree(package.folder, folder)
    quality = {key: value for key, value in package.metadata.get("quality", {}).items() if key != "limits"}
    return add_quality(load_package(folder), quality)


def held_out_scan(rng: np.random.Generator) -> Scan:
    """Return patient and scanner: one scanner for all, the patients' contrast differs within its phase."""
    patient = draw_patient(rng, "nephrographic")
    hu, coarse, fine = patient.hu.copy(), patient.coarse.copy(), patient.fine.copy()
    hu[ENHANCING] = 40 + IODINE * (np.maximum(hu[ENHANCING], 40) - 40)
    for spread in (coarse, fine):
        spread[ENHANCING] *= 1.5
    return Scan(
        replace(patient, hu=hu, coarse=coarse, fine=fine),
        noise=38.0,
        grain_mm=1.9,
        blur_mm=1.6,
        slice_mm=4.0,
        shading=4.0,
        streaks=0.0,
        sharpening=0.0,
        voxel_share=0.0,
    )


def make_cases(folder: Path, shapes: str, sizes: Sizes) -> Path:
    """Write the cases of the held-out scanner that are missing, and the list of all; return the list."""
    rows = ["id,image,label"]
    for case in (*sizes.labelled, *sizes.held_out):
        name = f"case_{case:05d}"
        image, label = folder / f"{name}.nii.gz", folder / f"{name}-label.nii.gz"
        if not label.is_file():
            tell(f"simulating {name}")
            seed = int(np.random.default_rng([SEED, case]).integers(2**31))
            settings = AnatomySettings(spacing_mm=sizes.spacing_mm)
            anatomy = build_anatomy(settings, seed, shape_of(case, shapes))
            scan = held_out_scan(np.random.default_rng([SEED, case, 1]))
            hu = render(anatomy.tissue, anatomy.spacing_mm, seed, scan=scan).round().numpy().astype(np.int16)
            folder.mkdir(parents=True, exist_ok=True)
            write_volume(Volume(hu, anatomy.affine), image)
            truth = LabelMap(to_labels(anatomy.tissue.numpy()), anatomy.affine, PHANTOM_LABELS)
            write_label_map(task_labels(truth, "kidney"), label)  # last: marks the case whole
        rows.append(f"{name},{image.name},{label.name}")
    write_text(folder / "cases.csv", "\n".join(rows))
    return folder / "cases.csv"


def old_cases(recipe: Recipe, sizes: Sizes) -> list[tuple[str, Path, Path]]:
    """Return name, image and truth of the student's own test cases, simulated where they are missing."""
    if sizes is QUICK:
        recipe = replace(recipe, test=replace(recipe.test, anatomy={"spacing_mm": sizes.spacing_mm}))
    first = recipe.test.cases[0]
    found = []
    for case in range(first, first + sizes.old):
        tell(f"old test case {case}")
        place = make_test_case(recipe, case)
        found += [(f"{place.name}-{kind}", place / f"{kind}.nii.gz", place / SEGMENTATION) for kind in KINDS]
    return found


def score_old(package: ModelPackage, cases: Sequence[tuple[str, Path, Path]], path: Path) -> dict[str, Any]:
    """Return the scores of a package by old test case; those in ``path`` are not made again."""
    identity = file_sha256(package.folder / "model.json")
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    scores = dict(kept.get("scores", {})) if kept.get("model") == identity else {}
    segmenter = Segmenter(package, SegmentSettings(device="cpu"))
    for name, image, truth in cases:
        if name not in scores:
            tell(f"{package.name} {package.version}: {name}")
            labels = task_labels(read_label_map(truth, PHANTOM_LABELS), "kidney")
            scores[name] = score_case(segmenter, image, labels)
            write_json(path, {"model": identity, "scores": scores})
    return scores


def mean_dice(scores: dict[str, Any], structure: str, part: str = "") -> float | None:
    """Return the mean Dice of a structure over the cases that have it; ``part`` ends the names of those that count."""
    groups = [case["groups"].get(structure) for name, case in scores.items() if name.endswith(part)]
    known = [g["dice"] for g in groups if g and not g.get("both_empty") and g["dice"] is not None]
    return round(float(np.mean(known)), 4) if known else None


def tune(method: str, model: str, data: Path, out: Path, sizes: Sizes, options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune by one method, or go on with it; return what was measured on the held-out cases."""
    names = [case.id for case in find_cases(data)]
    labelled, held_out = names[: len(sizes.labelled)], names[len(sizes.labelled) :]
    roles = Roles(tuple(labelled[:-1]), tuple(labelled[-1:]), tuple(held_out))
    settings = FinetuneSettings(
        minutes=options.minutes,
        steps=options.steps,
        lr=options.lr,
        method=method,
        guide_weight=options.guide,
        replay_share=options.replay,
        replay_patients=options.replay_patients,
        patch=options.patch,
        device="cpu",
    )
    begin = time.monotonic()
    done = finetune(model, data, out, settings, on_event=show, roles=roles)
    sides = {
        side: {
            name: mean_dice({c: both[side] for c, both in done.comparison.cases.items()}, name) for name in STRUCTURES
        }
        for side in ("before", "after")
    }
    return {
        "package": str(done.package.folder),
        "steps": done.steps,
        "improved": done.improved,
        "minutes_in_all": round((time.monotonic() - begin) / 60, 2),
        "held_out": sides,
        "cases": {
            case: {side: both[side]["groups"].get("tumor", {}).get("dice") for side in ("before", "after")}
            for case, both in done.comparison.cases.items()
        },
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Do all of it; return what is written."""
    out, sizes = options.out, QUICK if options.quick else Sizes()
    recipe: Recipe = replace(read_recipe(options.recipe), folder=out / "old")
    data = make_cases(out / "cases", recipe.test.shapes, sizes)
    old = old_cases(recipe, sizes)
    base = without_limits(find(options.model), out / "base")
    before = score_old(base, old, out / "old-before.json")
    measured: dict[str, Any] = {
        "model": f"{base.name}/{base.version}",
        "settings": {name: str(value) for name, value in vars(options).items()},
        "methods": {},
    }
    for method in options.methods:
        folder = out / method
        path = folder / "tuned.json"
        if not path.is_file():
            write_json(path, tune(method, str(base.folder), data, folder, sizes, options))
        tuned = json.loads(path.read_text(encoding="utf-8"))
        after = score_old(find(tuned["package"]), old, folder / "old-after.json")
        measured["methods"][method] = {**tuned, "old": compared(before, after), **verdict(tuned, before, after)}
        write_json(out / "measured.json", measured)
    return measured


def compared(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the mean Dice on the old test cases, all and by kind of scan."""
    kinds = {"all": "", **{kind: f"-{kind}" for kind in KINDS}}
    return {
        kind: {
            name: {"before": mean_dice(before, name, part), "after": mean_dice(after, name, part)}
            for name in STRUCTURES
        }
        for kind, part in kinds.items()
    }


def verdict(tuned: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return gain and loss of tumor Dice, and whether they meet the bars."""
    sides = tuned["held_out"]
    gain = round((sides["after"]["tumor"] or 0) - (sides["before"]["tumor"] or 0), 4)
    loss = round((mean_dice(before, "tumor") or 0) - (mean_dice(after, "tumor") or 0), 4)
    return {"tumor_gain": gain, "old_tumor_loss": loss, "bar_met": gain >= GAIN_BAR and loss <= LOSS_BAR}


def show(event: Event) -> None:
    """Print stages and warnings, and progress now and then."""
    if isinstance(event, (Stage, Warn)):
        tell(event.name if isinstance(event, Stage) else f"warning: {event.message}")
    elif isinstance(event, Progress) and (event.done == event.total or event.done % 50 == 0):
        tell(f"  {event.done:g} of {event.total:g}")


def tell(text: str) -> None:
    """Print a line at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="kidney")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="whose test cases are the old ones")
    parser.add_argument("--methods", nargs="+", default=["none", "kd", "hlfd+kd"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--lr", type=float, default=FinetuneSettings.lr)
    parser.add_argument("--guide", type=float, default=FinetuneSettings.guide_weight)
    parser.add_argument("--replay", type=float, default=FinetuneSettings.replay_share)
    parser.add_argument("--replay-patients", type=int, default=FinetuneSettings.replay_patients)
    parser.add_argument("--patch", type=int, default=FinetuneSettings.patch)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tell(json.dumps(measure(options), indent=1))


if __name__ == "__main__":
    main()
