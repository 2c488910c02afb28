"""Draw the figures of docs/study.md.

    python scripts/draw_study.py differences docs/measured/compare-quick.json --out docs/pictures/study-differences.png
    python scripts/draw_study.py maps configs/compare/quick.yaml --out docs/pictures/study-maps.png

``differences``: tumor Dice of every method minus that of the baseline, with its interval. ``maps``: what the layers of
teacher and students respond to, in a slice through a tumor of middle size. One row per network: the CT with the true
tumor (green) and the network's (red), then the attention of its layers, the mean square over the channels (Zagoruyko
and Komodakis, ICLR 2017), each map scaled to its own largest values.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "HLFDSegment"))

from hlfd.checkpoint import load_weights
from hlfd.compare.data import pool_entries, read_tensors, scan_file, scan_sample
from hlfd.compare.settings import CompareSettings, read_compare
from hlfd.compare.student import build_student
from hlfd.compare.teacher import load_teacher
from hlfd.distillation.teacher import tap_paths
from hlfd.features import FeatureTap
from hlfd.networks import SegmentationNetwork
from hlfd.networks.merge import merge_logits

TAPS = ("e1", "e2", "e3", "e4", "e5", "d5", "d4", "d3")
MARGIN_MM = 40.0
INCHES = 1.25


def main() -> None:
    """Draw one figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    figures = parser.add_subparsers(dest="figure", required=True)
    differences = figures.add_parser("differences")
    differences.add_argument("results", type=Path, help="results.json of a comparison")
    maps = figures.add_parser("maps")
    maps.add_argument("config", type=Path, help="a comparison whose units are trained")
    maps.add_argument("--methods", nargs="+", default=["none", "hlfd", "reviewkd"])
    maps.add_argument("--seed", type=int, default=0)
    for one in (differences, maps):
        one.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.figure == "differences":
        figure = draw_differences(json.loads(args.results.read_text(encoding="utf-8")))
    else:
        figure = draw_maps(read_compare(args.config), args.methods, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=110)


def draw_differences(results: dict[str, Any]) -> Figure:
    """Return the differences of a comparison's results to its baseline, the best on top."""
    rows = [(row["method"], row["tumor"]["difference"]) for row in results["table"] if "difference" in row["tumor"]]
    rows.sort(key=lambda row: row[1]["mean"])
    figure, axis = plt.subplots(figsize=(7, 0.26 * len(rows) + 0.7))
    for place, (_, one) in enumerate(rows):
        clear = "tab:green" if one["low"] > 0 else "tab:red" if one["high"] < 0 else "dimgray"
        axis.plot([one["low"], one["high"]], [place, place], color=clear, linewidth=2)
        axis.plot(one["mean"], place, "o", color=clear, markersize=5)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlabel(f"tumor Dice minus that of {results['baseline']}, 95 % interval", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def draw_maps(settings: CompareSettings, methods: Sequence[str], seed: int) -> Figure:
    """Return CT and attention of the teacher and of the students that ``methods`` taught, as a radiologist looks."""
    path = _middle_tumor(settings)
    sample = scan_sample(settings, path)
    tumor = sample["label"].numpy() == _tumor(settings)
    center = [int(np.median(axis)) for axis in np.nonzero(tumor)]
    center[0] = int(tumor.sum(axis=(1, 2)).argmax())
    networks = {"teacher": (load_teacher(settings), settings.channel_groups())}
    for name in methods:
        student = build_student(settings, seed)
        load_weights(student, settings.unit_folder(name, seed) / "best.safetensors")
        networks[name] = (student.eval(), settings.student_groups())
    window = _window(tumor.shape, center, settings.patch.spacing_mm)
    columns = 1 + len(TAPS)
    figure, axes = plt.subplots(len(networks), columns, figsize=(INCHES * columns, INCHES * len(networks)))
    for row, (name, (network, groups)) in zip(axes, networks.items()):
        maps, found = _look(network, sample["image"], groups, center[0], tumor.shape)
        row[0].imshow(_turned(sample["image"][0, center[0]].numpy()[window]), cmap="gray", vmin=-1, vmax=1)
        for mask, color in ((tumor[center[0]], "lime"), (found == _tumor(settings), "red")):
            if mask[window].any() and not mask[window].all():
                row[0].contour(_turned(mask[window]), [0.5], colors=color, linewidths=0.9)
        row[0].set_ylabel(name, fontsize=8)
        for axis, tap in zip(row[1:], TAPS):
            shown = _turned(maps[tap][window])
            axis.imshow(shown, cmap="magma", vmin=0, vmax=np.quantile(shown, 0.995))
    for axis, title in zip(axes[0], ("CT", *TAPS)):
        axis.set_title(title, fontsize=8)
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout(pad=0.2)
    return figure


def _tumor(settings: CompareSettings) -> int:
    return list(settings.exported).index("tumor") + 1


def _turned(plane: NDArray) -> NDArray:
    """Return a slice (anterior, right) with the front on top and the patient's right on the left."""
    return plane[::-1, ::-1]


def _middle_tumor(settings: CompareSettings) -> Path:
    """Return the scored scan whose tumor is the median of all in volume."""
    paths = [scan_file(settings, entry) for entry in pool_entries(settings.test)]
    voxels = {path: int((read_tensors(path, ["label"])["label"] == _tumor(settings)).sum()) for path in paths}
    ranked = sorted((path for path in paths if voxels[path]), key=voxels.__getitem__)
    return ranked[len(ranked) // 2]


def _window(shape: tuple[int, ...], center: list[int], spacing_mm: float) -> tuple[slice, slice]:
    """Return the part of the slice that is drawn: a square about the tumor."""
    reach = round(MARGIN_MM / spacing_mm)
    spans = []
    for size, middle in zip(shape[1:], center[1:]):
        low = max(0, min(middle - reach, size - 2 * reach))
        spans.append(slice(low, low + 2 * reach))
    return spans[0], spans[1]


@torch.no_grad()
def _look(
    network: SegmentationNetwork, image: torch.Tensor, groups: list[list[int]], level: int, shape: tuple[int, ...]
) -> tuple[dict[str, NDArray], NDArray]:
    """Return the attention of each tap and the network's classes in slice ``level``, at the image's size (j, i)."""
    paths = tap_paths(network, "network")
    with FeatureTap(network, {name: paths[name] for name in TAPS}) as features:
        logits = network(image[None])
    found = merge_logits(logits.float(), groups)[0].argmax(0)[level].numpy()
    maps = {}
    for name, feature in features.items():
        energy = feature[0].float().square().mean(0)
        index = min(int(level * energy.shape[0] / shape[0]), energy.shape[0] - 1)
        steps = [n // m for n, m in zip(shape[1:], energy.shape[1:])]
        maps[name] = np.kron(energy[index].numpy(), np.ones(steps))
    return maps, found


if __name__ == "__main__":
    main()
