"""A contact sheet of simulated scans as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from hlfd.phantom.anatomy import AnatomySettings
from hlfd.phantom.shapes import kits_cases, load_kits
from hlfd.phantom.simulate import PhantomSettings, simulate
from hlfd.volume import LabelMap, Volume

TILE = 224
WINDOW_HU = (-160.0, 240.0)


def sheet(out_png: Path, seeds: Sequence[int], settings: PhantomSettings | None = None) -> Path:
    """Write one row per seed: four axial, two coronal and one sagittal slice, as a radiologist sees them."""
    cases = kits_cases()
    rows = []
    for seed in seeds:
        kits = load_kits(cases[seed % len(cases)]) if cases else None
        volume, labels = simulate(settings or PhantomSettings(AnatomySettings()), seed, kits)
        rows.append(sheet_row(volume, labels))
    return write_sheet(out_png, rows)


def write_sheet(out_png: Path, rows: Sequence[NDArray[np.uint8]]) -> Path:
    """Write rows of ``sheet_row`` below each other."""
    sitk.WriteImage(sitk.GetImageFromArray(np.vstack(rows)), str(out_png))
    return Path(out_png)


def sheet_row(volume: Volume, truth: LabelMap) -> NDArray[np.uint8]:
    """Return four axial, two coronal and one sagittal slice of a scan in RAS order, placed by its kidneys."""
    (x, y, z), image, labels = volume.spacing, volume.array, truth.array
    where = np.argwhere((labels > 0) & (labels < 5))
    low, mid, high = (np.percentile(where, q, axis=0).astype(int) for q in (8, 50, 88))
    end = image.shape[0] - 1
    heights = (min(high[0] + int(40 / z), end), high[0], mid[0], low[0], max(low[0] - int(60 / z), 0))
    tiles = [_tile(image[k], y, x) for k in heights]
    tiles += [_tile(image[:, j], z, x) for j in (mid[1], min(mid[1] + int(50 / y), image.shape[1] - 1))]
    tiles.append(_tile(image[:, :, high[2]], z, y))
    return np.hstack(tiles)


def _tile(plane: NDArray, row_mm: float, column_mm: float) -> NDArray[np.uint8]:
    """Scale a plane to a square tile, with anterior or superior up and the patient's right on the left."""
    step = max(plane.shape[0] * row_mm, plane.shape[1] * column_mm) / TILE
    rows = ((np.arange(TILE) - TILE / 2) * step / row_mm + plane.shape[0] / 2).round().astype(int)
    columns = ((np.arange(TILE) - TILE / 2) * step / column_mm + plane.shape[1] / 2).round().astype(int)
    tile = np.zeros((TILE, TILE), np.uint8)
    low, high = WINDOW_HU
    values = plane[np.ix_(rows.clip(0, plane.shape[0] - 1), columns.clip(0, plane.shape[1] - 1))]
    scaled = ((values.astype(np.float32) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    keep = np.outer((rows >= 0) & (rows < plane.shape[0]), (columns >= 0) & (columns < plane.shape[1]))
    tile[keep] = scaled[keep]
    return tile[::-1, ::-1]
