"""Draws the icons of the extension and its modules: two kidneys in a CT slice, one with a tumor; a curve for training.

Usage: python scripts/make_icon.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {
    ROOT / "Resources" / "HLFD.png": (256, False),
    ROOT / "HLFDSegment/Resources/Icons/HLFDSegment.png": (128, False),
    ROOT / "HLFDTrain/Resources/Icons/HLFDTrain.png": (128, True),
}
CURVE = ((-0.80, 0.80), (-0.42, 0.42), (-0.05, 0.56), (0.74, 0.14))  # rising Dice
OVERSAMPLING = 4


def draw(size: int, training: bool = False) -> NDArray[np.uint8]:
    """Return the icon as (size, size, 4) RGBA with smooth edges; ``training`` adds the curve."""
    n = size * OVERSAMPLING
    y, x = (np.mgrid[0:n, 0:n] + 0.5) / n * 2 - 1  # -1..1, y downwards
    image = np.zeros((n, n, 4))

    def paint(inside: NDArray[np.bool_], color: tuple[int, int, int], opacity: float = 1.0) -> None:
        image[inside, :3] = image[inside, :3] * (1 - opacity) + np.array(color) * opacity
        image[inside, 3] = np.maximum(image[inside, 3], 255 * opacity)

    def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> NDArray[np.float64]:
        turn = np.radians(degrees)
        u, v = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn), (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        return (u / rx) ** 2 + (v / ry) ** 2

    body = ellipse(0, 0, 0.97, 0.84)
    paint(body < 1, (46, 50, 58))
    paint(body < 0.86, (88, 94, 104))
    paint(ellipse(0, 0.30, 0.17, 0.19) < 1, (226, 220, 205))  # vertebra
    for side in (-1, 1):
        kidney = (ellipse(side * 0.50, 0.08, 0.25, 0.44, side * 16) < 1) & (
            ellipse(side * 0.27, 0.06, 0.15, 0.17, side * 16) > 1
        )
        paint(kidney, (198, 112, 92))
    tumor = ellipse(0.58, -0.22, 0.22, 0.22)
    paint(tumor < 1, (230, 60, 60))
    paint(ellipse(0.52, -0.29, 0.07, 0.06) < 1, (255, 150, 140))
    if training:
        for width, color in ((0.12, (25, 28, 34)), (0.07, (120, 225, 110))):
            for start, end in zip(CURVE, CURVE[1:]):
                paint(_near(x, y, start, end) < width, color)
            paint(ellipse(*CURVE[-1], 0.09 + width, 0.09 + width) < 1, color)
    premultiplied = image[..., :3] * image[..., 3:] / 255
    blocks = np.concatenate([premultiplied, image[..., 3:]], axis=2).reshape(size, OVERSAMPLING, size, OVERSAMPLING, 4)
    small = blocks.mean(axis=(1, 3))
    small[..., :3] *= 255 / np.maximum(small[..., 3:], 1)
    return np.clip(np.round(small), 0, 255).astype(np.uint8)


def _near(
    x: NDArray[np.float64], y: NDArray[np.float64], start: tuple[float, float], end: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the distance of each pixel from the line between two points."""
    along = np.subtract(end, start)
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along @ along)
    share = np.clip(share, 0, 1)
    return np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])


def main() -> None:
    """Write the icons."""
    for path, (size, training) in TARGETS.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(draw(size, training), isVector=True), str(path), useCompression=True)


if __name__ == "__main__":
    main()
