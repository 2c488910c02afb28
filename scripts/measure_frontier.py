"""Measure what working resolution, width and region margin cost and bring, and draw it.

    python scripts/measure_frontier.py --out runs/frontier --point "1.5 mm=kidney" --point "margin 8=kidney@8"

A point is a name and a model package, with ``:`` a network of it that takes the refiner's place (teacher, undistilled),
and with ``@`` a margin in mm other than the package's. With ``--min-confidence`` masses below it are left out, by the
package's calibration; without it a network is judged by all that it says. Every point segments simulated scans of the
*validation* patients of ``--recipe`` (made on first use, with and without contrast medium), so that choices do not look
at the test patients. Time is processor time of one thread, which other work changes little.
Writes ``frontier.json`` and ``frontier.png`` into OUT; points that are there already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "HLFDSegment"))

from hlfd.config import SegmentSettings
from hlfd.errors import UsageError
from hlfd.files import write_json
from hlfd.inference.segmenter import Segmenter
from hlfd.io import read_label_map, read_volume
from hlfd.labels import PHANTOM_LABELS
from hlfd.metrics import evaluate
from hlfd.models.package import ModelPackage, NetworkEntry
from hlfd.models.registry import find
from hlfd.training.assess import KINDS, SEGMENTATION, make_test_case, summarise, task_labels
from hlfd.training.quality import without_quality
from hlfd.training.recipe import Recipe, read_recipe

RECIPE = Path(__file__).resolve().parents[1] / "configs" / "kidney" / "kidney.yaml"


def main() -> None:
    """Measure the points and draw all that were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--point", action="append", default=[], metavar="NAME=PACKAGE[:NETWORK][@MARGIN]")
    parser.add_argument("--min-confidence", type=float, metavar="SHARE")
    parser.add_argument("--seed", type=int, help="of the scans, instead of the recipe's; choose another OUT with it")
    args = parser.parse_args()
    recipe: Recipe = replace(read_recipe(args.recipe), folder=args.out)
    seed = recipe.test.seed if args.seed is None else args.seed
    recipe = replace(recipe, test=replace(recipe.test, cases=recipe.validation.cases, seed=seed))
    path = args.out / "frontier.json"
    points: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for text in args.point:
        name, package = _point(text)
        if name not in points:
            points[name] = measure(recipe, package, args.min_confidence)
            write_json(path, points)
        print(name, json.dumps(points[name]), flush=True)
    draw(points).savefig(args.out / "frontier.png", dpi=110)


def _point(text: str) -> tuple[str, ModelPackage]:
    name, separator, rest = text.partition("=")
    if not separator:
        raise UsageError(f'--point "{text}" has no "="; NAME=PACKAGE[:NETWORK][@MARGIN] was expected.')
    model, _, margin = rest.partition("@")
    model, _, role = model.partition(":")
    package = find(model)
    if role:
        network = getattr(package, role, None)
        if not isinstance(network, NetworkEntry):
            raise UsageError(f'The package {model} has no network "{role}".')
        package = replace(package, refiner=network)
    return name, replace(package, region={**package.region, "margin_mm": float(margin)}) if margin else package


def measure(recipe: Recipe, package: ModelPackage, min_confidence: float | None) -> dict[str, Any]:
    """Return size, processor time per scan and scores of a package on the recipe's validation patients."""
    if min_confidence is None:
        segmenter = Segmenter(without_quality(package), SegmentSettings(device="cpu", threads=1))
    else:
        segmenter = Segmenter(package, SegmentSettings(device="cpu", threads=1, min_confidence=min_confidence))
    first, last = recipe.test.cases
    cases: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    seconds = []
    for case in range(first, last + 1):
        folder = make_test_case(recipe, case)
        truth = task_labels(read_label_map(folder / SEGMENTATION, PHANTOM_LABELS), recipe.labels)
        for kind in KINDS:
            volume = read_volume(folder / f"{kind}.nii.gz")
            begin = time.process_time()
            result = segmenter.run(volume)
            seconds.append(time.process_time() - begin)
            cases[kind][folder.name] = evaluate(result.label_map, truth)
    scores = {kind: _scores(found) for kind, found in cases.items()}
    refiner = package.refiner
    return {
        "package": f"{package.name} {package.version}",
        "spacing_mm": refiner.spacing_mm,
        "parameters": refiner.parameters.get("widths"),
        "margin_mm": segmenter.rules.margin_mm,
        "seconds": round(statistics.median(seconds), 3),
        **scores,
    }


def _scores(cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return means over cases, and of the tumor the Dice of all cases' voxels together and of every case."""
    summary = summarise(cases)
    name = _tumor(summary)
    tumors = [case["groups"][name] for case in cases.values()]
    overlap = sum(t["pred_ml"] - t["false_ml"] for t in tumors)
    volumes = sum(t["pred_ml"] + t["ref_ml"] for t in tumors)
    lesions = summary[name]["lesions"]
    return {
        **{group: summary[group]["dice"] for group in (_organ(summary), "masses", name) if group in summary},
        "found_above_1ml": [lesions["found_above_1ml"], lesions["reference_above_1ml"]],
        "precision": [lesions["true"], lesions["predicted"]],
        "tumor_together": round(2 * overlap / volumes, 4) if volumes else None,
        "tumor_of_cases": [None if t["both_empty"] else round(t["dice"], 3) for t in tumors],
    }


def _organ(scores: dict[str, Any]) -> str:
    """Return the group of the organ with what grows in it."""
    return next(name for name in ("kidney_and_masses", "liver_and_tumor") if name in scores)


def _tumor(scores: dict[str, Any]) -> str:
    return next(name for name in ("tumor", "liver_tumor") if name in scores)


def draw(points: dict[str, Any]) -> plt.Figure:
    """Return the points: processor time against tumor Dice and against Dice of the organ with its masses."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    points = dict(sorted(points.items(), key=lambda point: point[1]["seconds"]))
    known = next(iter(points.values()))["contrast"]
    for axis, structure in zip(axes, (_tumor(known), _organ(known))):
        for kind, marker, color in (("contrast", "o", "tab:blue"), ("native", "s", "tab:orange")):
            values = [(one["seconds"], one[kind][structure]) for one in points.values()]
            axis.plot(*zip(*values), marker, color=color, label="with contrast medium" if marker == "o" else "without")
            for number, (name, place) in enumerate(zip(points, values)):
                # By turns below and above, since neighbours cost nearly the same.
                axis.annotate(name, place, textcoords="offset points", xytext=(3, (-11, 5)[number % 2]), fontsize=7)
        axis.set_xlabel("processor time of a scan in s, one thread", fontsize=8)
        axis.set_ylabel(f"Dice, {structure.replace('_', ' ')}", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15, y=0.12)
    axes[0].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
