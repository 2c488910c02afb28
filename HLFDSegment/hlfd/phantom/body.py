"""The trunk: skin, fat, wall muscles, ribs, spine, pelvis, lungs and heart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from hlfd.phantom.canvas import Canvas
from hlfd.phantom.fields import chain, ellipsoid, smooth_union, superellipse
from hlfd.phantom.tissues import T


@dataclass
class Frame:
    """Sizes in mm that the parts of one body share; the origin is the centre of the second lumbar vertebra."""

    scale: float
    half_width: float
    front: float
    back: float
    fat_front: float
    fat_side: float
    fat_back: float
    muscle: float
    dome: float
    """Height of the right diaphragm dome."""
    atrophy: float
    """0 for lean muscle, 1 for muscle full of fat streaks."""
    tilt: float
    fields: dict[str, torch.Tensor] = field(default_factory=dict)


def draw_frame(rng: np.random.Generator, size: float | None = None, fatness: float | None = None) -> Frame:
    """Draw the sizes of a body; ``size`` scales it (1 is average), ``fatness`` is 0 (lean) to 1 (obese)."""
    scale = float(np.clip(rng.normal(1.0, 0.07), 0.84, 1.18)) if size is None else size
    fat = float(rng.beta(1.4, 1.8)) if fatness is None else fatness
    roundness = rng.uniform(0, 1)
    return Frame(
        scale=scale,
        half_width=scale * (rng.uniform(112, 138) + 18 * fat),
        front=scale * (90 + 42 * roundness + 28 * fat),
        back=scale * rng.uniform(70, 92),
        fat_front=4 + 42 * fat * rng.uniform(0.5, 1.2),
        fat_side=4 + 38 * fat * rng.uniform(0.5, 1.2),
        fat_back=6 + 42 * fat * rng.uniform(0.5, 1.3),
        muscle=scale * rng.uniform(8, 17),
        dome=scale * rng.uniform(95, 150),
        atrophy=float(rng.beta(1.2, 1.6)),
        tilt=rng.uniform(-0.06, 0.06),
    )


def paint_body(canvas: Canvas, frame: Frame) -> None:
    """Paint everything of the trunk that is not an abdominal organ; leaves the shared fields in ``frame.fields``."""
    _shell(canvas, frame)
    _chest(canvas, frame)
    _muscles(canvas, frame)
    _ribs(canvas, frame)
    _spine(canvas, frame)
    _pelvis(canvas, frame)
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
        for side, h in zip((1, -1), high, strict=True)
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
    femur = ellipsoid(folded, hip, (24 * s,) * 3)
    canvas.paint(femur, T.MUSCLE, box, below=3.0)
    neck = chain(
        folded, [hip, (128 * s, -6 * s, hip[2] - 22 * s), (130 * s, 0, hip[2] - 150)], [14 * s, 16 * s, 14 * s]
    )
    layer = canvas.paint(torch.minimum(femur, neck), T.BONE_CORTEX, box)
    canvas.fill(layer.values < -2.5, T.BONE_MARROW, layer.box)
