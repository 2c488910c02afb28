"""What a scan shows beside the trunk: table and arms."""

from __future__ import annotations

import torch

from hlfd.phantom.canvas import Canvas
from hlfd.phantom.fields import chain
from hlfd.phantom.frame import Frame
from hlfd.phantom.tissues import T


def paint_extras(canvas: Canvas, frame: Frame, arms: bool | None, table: bool | None) -> None:
    """Paint arms and table in the air around the body."""
    rng = canvas.rng
    if arms or (arms is None and rng.random() < 0.12):
        _arms(canvas, frame)
    if table or (table is None and rng.random() < 0.85):
        _table(canvas, frame)


def _arms(canvas: Canvas, frame: Frame) -> None:
    rng, at = canvas.rng, canvas.coordinates()
    out = frame.half_width * 1.1 + frame.fat_side + rng.uniform(28, 50)
    for side in (-1, 1):
        if rng.random() < 0.15:
            continue
        y = rng.uniform(-40, 40)
        arm = chain(at, [(side * out, y, 400), (side * (out + 8), y + 5, 0), (side * out, y + 30, -400)], [44, 40, 28])
        air = (T.AIR,)
        canvas.paint(arm, T.SKIN, over=air)
        canvas.paint(arm + 1.8, T.FAT_SUBCUTANEOUS, over=(T.SKIN,))
        canvas.paint(arm + rng.uniform(6, 14), T.LIMB_MUSCLE, over=(T.FAT_SUBCUTANEOUS,))
        canvas.paint(arm + 31, T.LIMB_BONE, over=(T.LIMB_MUSCLE,))


def _table(canvas: Canvas, frame: Frame) -> None:
    rng = canvas.rng
    x = torch.tensor(canvas.nodes.axis(0), dtype=torch.float32, device=canvas.device)[None, None, :]
    y = torch.tensor(canvas.nodes.axis(1), dtype=torch.float32, device=canvas.device)[None, :, None]
    top = -(frame.back + frame.fat_back) - rng.uniform(2, 14)
    curve = rng.uniform(0, 7e-4)
    line = y - top - curve * x * x + rng.uniform(4, 16)
    shell = torch.minimum(line.abs(), (line + rng.uniform(14, 45)).abs()) - rng.uniform(0.8, 2.4)
    shell = torch.maximum(shell, x.abs() - rng.uniform(190, 260))
    canvas.paint(shell.expand(canvas.nodes.shape), T.TABLE, over=(T.AIR,))
