"""The trunk: skin, fat, muscles, lungs and heart."""

from __future__ import annotations

import torch

from hlfd.phantom.canvas import Canvas
from hlfd.phantom.fields import chain, ellipsoid, smooth_union, superellipse
from hlfd.phantom.frame import Frame
from hlfd.phantom.skeleton import paint_skeleton
from hlfd.phantom.tissues import T


def paint_body(canvas: Canvas, frame: Frame) -> None:
    """Paint everything of the trunk that is not an abdominal organ; leaves the shared fields in ``frame.fields``."""
    _shell(canvas, frame)
    _chest(canvas, frame)
    _muscles(canvas, frame)
    paint_skeleton(canvas, frame)
    streaks = canvas.noise(9.0)
    planes = canvas.noise(26.0)
    width = 0.02 + 0.11 * frame.atrophy**2
    fat = torch.minimum(planes.abs() - width, 1.9 - 1.0 * frame.atrophy - streaks)
    canvas.paint(fat, T.MUSCLE_STREAK, over=(T.MUSCLE,))


def _shell(canvas: Canvas, frame: Frame) -> None:
    rng, (x, y, z) = canvas.rng, canvas.coordinates()
    middle = (frame.front - frame.back) / 2
    lower = torch.sigmoid((-80 * frame.scale - z) / 25)  # 1 in the pelvis
    upper = torch.sigmoid((z - 60) / 40)
    depth = (frame.front + frame.back) / 2 * (1 - 0.10 * lower + rng.uniform(-0.05, 0.1) * upper)
    width = frame.half_width * (1 + rng.uniform(0.0, 0.12) * lower - rng.uniform(0.0, 0.08) * upper)
    v = y - middle
    groove = rng.uniform(4, 12) * torch.exp(-((x / 22) ** 2)) * (v < 0)
    wall = superellipse(x, v - groove, width, depth, rng.uniform(2.1, 2.6)) + 2.0 * canvas.noise(60.0)
    angle = v / torch.sqrt(x * x + v * v + 1)
    front, back = angle.clamp(min=0) ** 2, angle.clamp(max=0) ** 2
    fat = frame.fat_front * front + frame.fat_back * back + frame.fat_side * (1 - front - back)
    fat = fat * (1 + 0.6 * lower * rng.uniform(0.3, 1.2)) * (1 + 0.15 * canvas.noise(80.0))
    skin = wall - fat.clamp(min=2.5)
    layer = canvas.paint(skin, T.SKIN)
    canvas.fill(layer.values < -1.8, T.FAT_SUBCUTANEOUS, layer.box)
    growth = (-(z + 90 * frame.scale)).clamp(min=0)
    side = 1 - front
    thickness = frame.muscle * (0.7 + 0.5 * (1 - front - back)) + growth * side * rng.uniform(0.45, 0.62)
    thickness = (thickness * (1 - 0.45 * upper)).clamp(max=85)
    frame.fields |= {"wall": wall, "skin": skin, "cavity": wall + thickness, "thickness": thickness}
    frame.fields |= {"front": front, "upper": upper, "lower": lower}
    canvas.paint(wall, T.MUSCLE)
    for share in (0.33, 0.66):  # fat planes between the layers of the abdominal wall
        plane = (wall + share * thickness).abs() + 0.2 - 0.9 * frame.atrophy + 1.1 * canvas.noise(30.0)
        canvas.paint(torch.maximum(plane, front - 0.85), T.MUSCLE_STREAK, over=(T.MUSCLE,))
    middle_line = x.abs() - 2.5 + 0 * z + 30 * (front < 0.6)
    canvas.paint(middle_line, T.FAT_SUBCUTANEOUS, over=(T.MUSCLE,))
    canvas.paint(frame.fields["cavity"], T.FAT_VISCERAL)


def _chest(canvas: Canvas, frame: Frame) -> None:
    rng, at = canvas.rng, canvas.coordinates()
    x, y, z = at
    s, cavity = frame.scale, frame.fields["cavity"]
    inset = 2.0
    high = frame.dome, frame.dome - rng.uniform(4, 22)
    lateral, behind = frame.half_width + rng.uniform(-4, 20), frame.back + rng.uniform(-4, 24)
    # Half axes differ in front and behind, so that the lungs reach lower behind the liver than before it.
    v = torch.where(y > 20 * s, (y - 20 * s) / (frame.front + 35 * s), (20 * s - y) / (behind + 20 * s))
    domes = [
        (torch.sqrt(((x - side * 56 * s) / (lateral - 56 * s)) ** 2 + v * v + (z / h) ** 2) - 1) * 75 * s
        for side, h in zip((1, -1), high)
    ]
    dome = smooth_union(domes[0], domes[1], 30.0) + 2.0 * canvas.noise(45.0)
    recess = rng.uniform(-10, 35) * s  # where the lung ends at the wall: low at the back, high in front
    below = (z - recess - rng.uniform(10, 50) * s * ((y + 10) / frame.front).clamp(0, 1)) * 0.8
    below = smooth_union(dome, below, 28.0)
    abdomen = torch.maximum(below, cavity)
    mediastinum = torch.minimum(
        superellipse(x + 6, y - 18, 34 * s, 42 * s, 2.2) + 3 * canvas.noise(30.0),
        ellipsoid(at, (-14 * s, 52 * s, frame.dome + 25), (66 * s, 52 * s, 52 * s)) - 3,
    )
    chest = torch.maximum(cavity + 1.0, -below)
    lung = torch.maximum(chest, -mediastinum)
    canvas.paint(lung, T.LUNG)
    vessels = torch.sqrt(canvas.noise(22.0) ** 2 + canvas.noise(22.0) ** 2) - 0.16
    canvas.paint(torch.maximum(vessels, lung + 6), T.LUNG_VESSEL, over=(T.LUNG,))
    shell = torch.maximum((below + 1.2).abs() - rng.uniform(1.0, 2.0), cavity)
    canvas.paint(torch.maximum(shell, 20 - z), T.MUSCLE, over=(T.FAT_VISCERAL, T.LUNG))
    heart = ellipsoid(at, (-18 * s, 52 * s, frame.dome + 30), (58 * s, 45 * s, 48 * s), 0.4) + 2 * canvas.noise(30.0)
    heart = torch.maximum(heart, -dome + 3)
    canvas.paint(heart, T.HEART_WALL)
    blood = torch.maximum(heart + 9, 2.0 - 8 * (canvas.noise(40.0) + 0.9))
    canvas.paint(blood, T.HEART_BLOOD, over=(T.HEART_WALL,))
    canvas.paint(
        chain(at, [(-4, 28 * s, 400), (-10, 30 * s, 120), (-18, 38 * s, 88)], [8, 8, 9]),
        T.MUSCLE,
        over=(T.FAT_VISCERAL,),
    )
    frame.fields["abdomen"] = abdomen + inset
    frame.fields["dome"] = dome


def _muscles(canvas: Canvas, frame: Frame) -> None:
    rng, at, s = canvas.rng, canvas.coordinates(), frame.scale
    bulk = rng.uniform(0.68, 1.08) * s
    for side in (-1, 1):
        points = [(22, -4, 40), (34, 0, 0), (44, 3, -60), (52, 14, -115), (62, 34, -160), (88, 40, -215)]
        psoas = [(side * px * s, py * s, pz * s) for px, py, pz in points]
        radii = [bulk * r for r in (5, 13, 20, 21, 19, 15)]
        box = canvas.box((side * 10, -40, -250 * s), (side * 110, 70, 55 * s), 25)
        canvas.paint(chain(canvas.coordinates(box), psoas, radii), T.MUSCLE, box) if box else None
        quad = [(side * 48 * s, -28 * s, 45 * s), (side * 66 * s, -24 * s, -30 * s), (side * 82 * s, -20 * s, -80 * s)]
        quadratus = chain(at, quad, [6 * bulk, 13 * bulk, 13 * bulk])
        canvas.paint(quadratus, T.MUSCLE, over=(T.FAT_VISCERAL,))
    x, y, _ = at
    v = y + (frame.back / 2 + 6)
    back = torch.minimum(
        superellipse(x - 33 * s, v + 4, 32 * bulk, 0.5 * frame.back - 10 * s, 2.3),
        superellipse(x + 33 * s, v + 4, 32 * bulk, 0.5 * frame.back - 10 * s, 2.3),
    )
    canvas.paint(torch.maximum(back, frame.fields["wall"]), T.MUSCLE)
    seam = torch.maximum(back.abs() - 1.0 - frame.atrophy * 1.5 + canvas.noise(30.0), y + 40 * s)
    canvas.paint(torch.maximum(seam, frame.fields["wall"] + 2), T.MUSCLE_STREAK, over=(T.MUSCLE,))
