"""Ribs, spine and pelvis."""

from __future__ import annotations

import torch

from hlfd.phantom.canvas import Box, Canvas
from hlfd.phantom.fields import chain, ellipsoid, superellipse
from hlfd.phantom.frame import Frame
from hlfd.phantom.tissues import T


def paint_skeleton(canvas: Canvas, frame: Frame) -> None:
    """Paint the bones of the trunk."""
    _ribs(canvas, frame)
    _spine(canvas, frame)
    _pelvis(canvas, frame)


def _ribs(canvas: Canvas, frame: Frame) -> None:
    rng, (x, y, z) = canvas.rng, canvas.coordinates()
    s = frame.scale
    middle = (frame.front - frame.back) / 2
    theta = torch.atan2(x.abs(), -(y - middle))  # 0 at the back, pi at the front
    drop = 62.0 * s * theta * rng.uniform(0.75, 1.25)
    pitch = 27.0 * s
    along = torch.remainder(z + drop + rng.uniform(0, pitch), pitch) - pitch / 2
    across = frame.fields["wall"] + 4.5
    rib = (torch.sqrt((across / 3.6) ** 2 + (along / 6.0) ** 2 + 1e-6) - 1) * 3.6
    arch = rng.uniform(-35, 0) * s + 32 * s * (theta - 1.4).clamp(min=0) * rng.uniform(0.8, 1.5)
    rib = torch.maximum(rib, arch - z)
    rib = torch.maximum(rib, 18 * s - x.abs())
    canvas.paint(rib, T.MUSCLE, over=(T.FAT_VISCERAL,), below=2.5)
    bony = torch.where(theta < 2.3, rib, rib + 100)
    layer = canvas.paint(bony, T.BONE_CORTEX)
    canvas.fill(layer.values < -1.4, T.BONE_MARROW, layer.box)
    cartilage = torch.where(theta < 2.3, rib + 100, rib)
    canvas.paint(cartilage, T.DISC, over=(T.MUSCLE, T.FAT_SUBCUTANEOUS, T.FAT_VISCERAL))


def _spine(canvas: Canvas, frame: Frame) -> None:
    rng, s = canvas.rng, frame.scale
    box = canvas.box((-60, -95 * s, -115 * s), (60, 40, 500), 12)
    if box is None:
        return
    x, y, z = canvas.coordinates(box)
    y = y + 6 * s * torch.sin((z + 30) / (70 * s))  # lordosis
    pitch = 36.0 * s
    level = torch.remainder(z + pitch / 2, pitch) - pitch / 2
    waist = 1 - 0.10 * torch.cos(level / pitch * 6.28)
    body = superellipse(x, y, 23 * s * waist, 17.5 * s * waist, 2.3)
    body = torch.maximum(body, (-108 * s - z))
    disc = level.abs() - (pitch / 2 - 4.5 * s)
    layer = canvas.paint(body, T.DISC, box, below=1.0)
    bone = torch.maximum(body, disc)
    layer = canvas.paint(bone, T.BONE_CORTEX, box)
    canvas.fill(layer.values < -1.6, T.BONE_MARROW, layer.box)
    arch = torch.minimum(
        superellipse(x, y + 28 * s, 16 * s, 14 * s, 2.0).abs() - 3.2 * s,
        torch.maximum(x.abs() - 3.2 * s, (y + 55 * s).abs() - 18 * s),
    )
    arch = torch.maximum(arch, torch.where(y < -52 * s, (level + 5).abs() - 10 * s, level.abs() - 15 * s))
    wing = torch.sqrt((y + 26 * s + 0.2 * x.abs()) ** 2 + (level - 2) ** 2) - 4.5 * s
    wing = torch.maximum(wing, x.abs() - rng.uniform(34, 46) * s)
    facet = torch.sqrt((x.abs() - 19 * s) ** 2 + (y + 34 * s) ** 2) - 7.5 * s
    facet = torch.maximum(facet, level.abs() * -1 + pitch / 2 - 12 * s)
    arch = torch.minimum(torch.minimum(arch, wing), facet)
    arch = torch.maximum(arch, -108 * s - z)
    layer = canvas.paint(arch, T.BONE_CORTEX, box)
    canvas.fill(layer.values < -2.6, T.BONE_MARROW, layer.box)
    canal = superellipse(x, y + 27 * s, 10.5 * s, 8.5 * s, 2.0)
    canvas.paint(canal, T.SPINAL_CANAL, box)


def _pelvis(canvas: Canvas, frame: Frame) -> None:
    rng, s = canvas.rng, frame.scale
    box = canvas.box((-150 * s, -100 * s, -300 * s), (150 * s, 90 * s, -60 * s))
    if box is None:
        return
    at = canvas.coordinates(box)
    x, y, z = at
    ax = x.abs()
    crest = -rng.uniform(68, 92) * s
    down = ((crest - z) / (110 * s)).clamp(0, 1.3)
    ox, oy = (122 - 28 * down) * s, (38 - 6 * down) * s
    ix, iy = (42 + 10 * down) * s, (-62 + 14 * down) * s
    dx, dy = ox - ix, oy - iy
    length = torch.sqrt(dx * dx + dy * dy)
    u = ((ax - ix) * dx + (y - iy) * dy) / length
    v = ((ax - ix) * dy - (y - iy) * dx) / length - 10 * torch.sin(3.14 * (u / length).clamp(0, 1))
    plate = torch.maximum(v.abs() - (4.0 + 3 * (1 - u / length).clamp(0, 1)) * s, (u - length / 2).abs() - length / 2)
    plate = torch.maximum(plate, z - crest + 55 * s * (2 * u / length - 1).abs() ** 2.2)
    bone = torch.maximum(plate, (crest - 125 * s - z))
    folded = (ax, y, z)
    hip = (88 * s, 4 * s, crest - 125 * s)
    socket = torch.maximum(ellipsoid(folded, hip, (33 * s,) * 3), ax - hip[0] - 8 * s)
    bone = torch.minimum(bone, socket)
    pubis = (8 * s, 58 * s, hip[2] - 35 * s)
    bone = torch.minimum(
        bone, chain(folded, [(80 * s, 26 * s, hip[2]), (45 * s, 52 * s, hip[2] - 15), pubis], [13 * s, 9 * s, 11 * s])
    )
    bone = torch.minimum(
        bone,
        chain(folded, [(82 * s, -18 * s, hip[2]), (62 * s, -28 * s, hip[2] - 55 * s), pubis], [15 * s, 14 * s, 8 * s]),
    )
    sacrum_y = -26 * s - 28 * s * torch.sin(((-105 * s - z) / (110 * s)).clamp(0, 1) * 3.1)
    width = (50 * s - 0.30 * (-105 * s - z)).clamp(min=10)
    sacrum = superellipse(x, y - sacrum_y, width, 17 * s, 2.5)
    bone = torch.minimum(bone, torch.maximum(sacrum, (z + 165 * s).abs() - 60 * s))
    bone = torch.maximum(bone, frame.fields["wall"][box] + 4)
    layer = canvas.paint(bone, T.BONE_CORTEX, box)
    canvas.fill(layer.values < -2.0, T.BONE_MARROW, layer.box)
    _hips(canvas, box, hip, s)


def _hips(canvas: Canvas, box: Box, hip: tuple[float, float, float], s: float) -> None:
    """Paint the femora; in a few patients the hip of one side is a metal implant."""
    rng, (x, y, z) = canvas.rng, canvas.coordinates(box)
    folded = (x.abs(), y, z)
    head = ellipsoid(folded, hip, (24 * s,) * 3)
    canvas.paint(head, T.MUSCLE, box, below=3.0)
    trochanter = (128 * s, -6 * s, hip[2] - 22 * s)
    neck = chain(folded, [hip, trochanter, (130 * s, 0, hip[2] - 150)], [14 * s, 16 * s, 14 * s])
    layer = canvas.paint(torch.minimum(head, neck), T.BONE_CORTEX, box)
    canvas.fill(layer.values < -2.5, T.BONE_MARROW, layer.box)
    if rng.random() < 0.05:
        side = x if rng.random() < 0.5 else -x
        implant = torch.minimum(head + 4, chain(folded, [hip, trochanter, (130 * s, 0, hip[2] - 150)], [7, 8, 6]))
        canvas.paint(torch.maximum(implant, -side), T.METAL, box)
