"""Liver, spleen, stomach, pancreas, great vessels and the organs of the pelvis."""

from __future__ import annotations

import numpy as np
import torch

from hlfd.phantom.canvas import Canvas, Layer
from hlfd.phantom.fields import chain, ellipsoid, smooth_union
from hlfd.phantom.frame import Frame
from hlfd.phantom.tissues import T

SOFT = (T.FAT_VISCERAL, T.MESENTERIC_VESSEL)


def paint_organs(canvas: Canvas, frame: Frame, liver_lesions: int | None = None, liver_growth_mm: float = 0.0) -> None:
    """Paint the upper abdominal organs, the great vessels and the pelvic organs.

    The surface of the liver lies ``liver_growth_mm`` farther out than it is drawn, where there is room for it; its
    field is kept in ``frame``.
    """
    _mesentery(canvas, frame)
    _liver(canvas, frame, liver_lesions, liver_growth_mm)
    _spleen(canvas, frame)
    _pancreas(canvas, frame)
    _stomach(canvas, frame)
    _great_vessels(canvas, frame)
    _pelvic_organs(canvas, frame)


def _mesentery(canvas: Canvas, frame: Frame) -> None:
    large = torch.hypot(canvas.noise(24.0), canvas.noise(24.0)) - canvas.rng.uniform(0.07, 0.16)
    small = torch.hypot(canvas.noise(13.0), canvas.noise(13.0)) - canvas.rng.uniform(0.02, 0.17)
    vessels = torch.minimum(large, small)
    _, y, _ = canvas.coordinates()
    inside = torch.maximum(frame.fields["abdomen"] + 8, 20 - y)
    canvas.paint(torch.maximum(vessels, inside), T.MESENTERIC_VESSEL, over=(T.FAT_VISCERAL,))


def _liver(canvas: Canvas, frame: Frame, lesions: int | None, growth_mm: float) -> None:
    rng, at, s = canvas.rng, canvas.coordinates(), frame.scale
    x, y, z = at
    low = rng.uniform(-55, 40) * s  # lower tip of the right lobe
    normal = np.array([-rng.uniform(0.5, 0.95), -rng.uniform(0.05, 0.35), -rng.uniform(0.6, 1.0)])
    normal /= np.linalg.norm(normal)
    point = np.array([frame.half_width * 0.62, 0.0, low])
    under = sum(float(n) * (c - p) for n, c, p in zip(normal, (x.clamp(min=15), y, z), point))
    under = under + rng.uniform(0.0, 0.45) * (15 - x).clamp(min=0) + 5 * canvas.noise(45.0)
    left_tip = -rng.uniform(35, 112) * s
    thin = rng.uniform(0.45, 0.95)  # the left lobe thins out towards its tip
    left = torch.maximum(under + 4, 26 * s + thin * (8 - x).clamp(min=0) * 0.55 - y + 7 * canvas.noise(50.0))
    tip = (
        left_tip
        - x
        + rng.uniform(-0.3, 0.5) * (z - low - 100)
        + rng.uniform(0, 0.5) * (60 * s - y)
        + 8 * canvas.noise(40.0)
    )
    left = torch.maximum(left, 0.8 * tip)
    curve = 26 * s - x + 0.004 * ((y - 12) ** 2) * (y < 12) - 0.35 * (y - 25).clamp(min=0) + 6 * canvas.noise(40.0)
    liver = smooth_union(torch.maximum(under, curve), left, 24.0) - growth_mm
    liver = torch.maximum(liver, frame.fields["abdomen"] + 2)
    fissure = torch.maximum(
        (x - 8 - 0.25 * y).abs() - 1.2, torch.maximum(34 * s - y, y - 100 * s + 4 * canvas.noise(30.0))
    )
    liver = torch.maximum(liver, -fissure)
    frame.fields["liver"] = liver
    canvas.paint(liver, T.LIVER, over=SOFT)
    tree = torch.sqrt(canvas.noise(38.0) ** 2 + canvas.noise(38.0) ** 2) - rng.uniform(0.07, 0.15)
    canvas.paint(torch.maximum(tree, liver + 7), T.LIVER_VESSEL, over=(T.LIVER,))
    _liver_lesions(canvas, liver, lesions)
    if rng.random() < 0.8:
        base = (rng.uniform(38, 60) * s, rng.uniform(45, 70) * s, low + rng.uniform(5, 35) * s)
        fundus = (base[0] + rng.uniform(0, 25), base[1] + rng.uniform(0, 20), base[2] - rng.uniform(20, 45))
        r = rng.uniform(9, 19) * s
        gall = chain(at, [base, fundus], [0.6 * r, r])
        canvas.paint(torch.maximum(gall, frame.fields["abdomen"]), T.GALLBLADDER, over=(*SOFT, T.LIVER, T.LIVER_VESSEL))


def _liver_lesions(canvas: Canvas, liver: torch.Tensor, lesions: int | None) -> None:
    rng = canvas.rng
    number = (1 + rng.poisson(1.5) if rng.random() < 0.3 else 0) if lesions is None else lesions
    inside = torch.nonzero(liver < -4)
    for _ in range(number if len(inside) else 0):
        kind = T.LIVER_METASTASIS if rng.random() < 0.7 else T.LIVER_HCC
        node = tuple(inside[int(rng.integers(len(inside)))].tolist())
        centre = [float(axis.expand(liver.shape)[node]) for axis in canvas.coordinates()]
        radius = rng.uniform(3, 26)
        box = canvas.box([c - radius for c in centre], [c + radius for c in centre])
        if box:
            lesion = ellipsoid(canvas.coordinates(box), centre, radius * rng.uniform(0.75, 1.25, 3))
            canvas.paint(lesion + 0.1 * radius * canvas.noise(14.0, box), kind, box, over=(T.LIVER, T.LIVER_VESSEL))


def _spleen(canvas: Canvas, frame: Frame) -> None:
    rng, s = canvas.rng, frame.scale
    volume = rng.uniform(100, 420) if rng.random() < 0.85 else rng.uniform(400, 800)
    radii = np.array([0.62, 0.95, 1.25]) * rng.uniform(0.85, 1.15, 3)
    radii *= (volume * 1000 / (4.19 * radii.prod())) ** (1 / 3)
    centre = (
        -(frame.half_width - 0.55 * radii[0] - frame.muscle),
        rng.uniform(-38, -8) * s,
        rng.uniform(25, 80) * s,
    )
    at = canvas.coordinates()
    tilt = rng.uniform(-0.5, 0.1)
    spleen = ellipsoid(at, centre, radii, tilt)
    hollow = ellipsoid(at, (centre[0] + radii[0] * 1.25, centre[1] + 0.5 * radii[1], centre[2]), radii * 0.9, tilt)
    spleen = torch.maximum(spleen, -0.7 * hollow) + 2.5 * canvas.noise(28.0)
    room = frame.fields["abdomen"] + 1
    inside = spleen[room < 0]
    if len(inside) > 1:  # the wall cuts the shape: move its surface until the volume is right
        count = min(int(volume * 1000 / canvas.node_mm**3), len(inside) - 1)
        spleen = spleen - float(inside.kthvalue(count)[0].clamp(-30, 18))
    canvas.paint(torch.maximum(spleen, room), T.SPLEEN, over=(*SOFT, T.LIVER, T.LIVER_VESSEL))


def _pancreas(canvas: Canvas, frame: Frame) -> None:
    rng, at, s = canvas.rng, canvas.coordinates(), frame.scale
    up = rng.uniform(-12, 12)
    path = [(34, 34, -22), (26, 40, -2), (2, 50, 10), (-30, 40, 18), (-62, 14, 30), (-85, -5, 42)]
    points = [tuple((np.array(p) + rng.uniform(-6, 6, 3)) * s + [0, 0, up]) for p in path]
    bulk = rng.uniform(0.8, 1.4) * s
    field = chain(at, points, [bulk * r for r in (11, 14, 9, 9, 10, 7)]) + 2.2 * canvas.noise(9.0)
    canvas.paint(field, T.PANCREAS, over=SOFT)
    for side in (-1, 1):
        base = (side * rng.uniform(26, 34) * s, rng.uniform(-8, 8), rng.uniform(30, 45) * s)
        tip = (base[0] + side * rng.uniform(2, 18), base[1] - rng.uniform(8, 25), base[2] + rng.uniform(-12, 8))
        box = canvas.box(base, tip, 15)
        if box:
            canvas.paint(chain(canvas.coordinates(box), [base, tip], [3.4, 1.8]), T.ADRENAL, box, over=SOFT)


def _stomach(canvas: Canvas, frame: Frame) -> None:
    rng, at, s = canvas.rng, canvas.coordinates(), frame.scale
    top = frame.dome - rng.uniform(25, 50) * s
    path = [(-52, 2, top / s), (-66, 28, 60), (-52, 52, 28), (-12, 66, 8), (26, 56, 6)]
    points = [tuple((np.array(p) + rng.uniform(-9, 9, 3)) * s) for p in path]
    full = rng.uniform(0.4, 1.0) * s
    field = chain(at, points, [full * r for r in (34, 31, 26, 20, 12)]) + 2.5 * canvas.noise(25.0)
    field = torch.maximum(field, frame.fields["abdomen"] + 1)
    over = (*SOFT, T.PANCREAS, T.LIVER, T.LIVER_VESSEL)
    layer = canvas.paint(field, T.STOMACH_WALL, over=over)
    _fill_lumen(canvas, layer, rng.uniform(2.5, 6.0), rng.uniform(10, 80) * s, T.STOMACH_WALL)


def _fill_lumen(canvas: Canvas, layer: Layer, wall: float, level: float, over: T) -> None:
    y = torch.tensor(canvas.grid.axis(1), dtype=torch.float32, device=canvas.device)
    y = y[canvas.voxels(layer.box)[1]][None, :, None]
    lumen = layer.values < -wall
    canvas.fill(lumen, T.STOMACH_FLUID, layer.box, over=(over,))
    canvas.fill(lumen & (y > level), T.STOMACH_GAS, layer.box, over=(T.STOMACH_FLUID,))


def _great_vessels(canvas: Canvas, frame: Frame) -> None:
    rng, at, s = canvas.rng, canvas.coordinates(), frame.scale
    front = 27 * s
    r = rng.uniform(8, 11.5) * s
    shift = rng.uniform(-7, 7)
    split = rng.uniform(-82, -58) * s
    over = tuple(t for t in T if t not in (T.BONE_CORTEX, T.BONE_MARROW, T.DISC, T.SPINAL_CANAL, T.AIR))
    trunk = [
        (-14, 6 * s, 500),
        (-16 + shift / 2, 20 * s, 110),
        (-10 + shift, front + r * 0.6, 30),
        (-6 + shift, front + r * 0.6, split),
    ]
    aorta = chain(at, trunk, [1.25 * r, 1.2 * r, r, 0.9 * r])
    layer = canvas.paint(aorta, T.AORTA, over=over)
    if rng.random() < 0.5:
        spots = canvas.sample(canvas.noise(8.0, layer.box), layer.box)
        rim = (layer.values > -2.2) & (layer.values < 0) & (spots > rng.uniform(1.2, 2.2))
        canvas.fill(rim, T.CALCIFICATION, layer.box, over=(T.AORTA,))
    cava = [(24, 30 * s, 150), (20, 30 * s, 60), (17, front + 8, 0), (15, front + 7, split)]
    rv = rng.uniform(8, 12) * s
    canvas.paint(chain(at, cava, [rv * 1.1, rv * 1.1, rv, 0.9 * rv]), T.VENA_CAVA, over=over)
    for side in (-1, 1):
        leg = [
            (side * 38 * s, 30 * s, split - 45),
            (side * 62 * s, 34 * s, -150 * s),
            (side * 78 * s, 72 * s, -225 * s),
        ]
        artery = chain(at, [trunk[-1], *leg], [0.65 * r, 5.2 * s, 4.6 * s, 4.2 * s])
        canvas.paint(artery, T.ARTERY, over=over)
        vein = [(p[0] - side * 2, p[1] - 11 * s, p[2]) for p in leg]
        canvas.paint(chain(at, [cava[-1], *vein], [0.7 * rv, 6.5 * s, 6.0 * s, 5.5 * s]), T.VEIN, over=over)
    for _ in range(rng.poisson(3)):  # lymph nodes along the aorta
        node = np.array([rng.uniform(-34, 34), front + rng.uniform(-4, 20), rng.uniform(split, 30)])
        radii = rng.uniform(2.5, 7, 3)
        box = canvas.box((node - radii).tolist(), (node + radii).tolist())
        if box:
            canvas.paint(ellipsoid(canvas.coordinates(box), node, radii), T.LYMPH_NODE, box, over=SOFT)
    superior = [(trunk[2][0], trunk[2][1], 12), (-4, front + 28, -10), (2, front + 36, -70), (14, front + 30, -110)]
    canvas.paint(chain(at, superior, [4, 3.6, 3, 2]), T.ARTERY, over=SOFT)
    portal = [(10, front + 34, -70), (8, front + 28, -5), (18, front + 22, 20), (48, 35, 58)]
    canvas.paint(chain(at, portal, [3, 5.5, 7, 6.5]), T.VEIN, over=(*SOFT, T.PANCREAS, T.LIVER, T.LIVER_VESSEL))
    splenic = [(8, front + 28, 0), (-30, 36 * s, 15), (-85, 0, 38)]
    canvas.paint(chain(at, splenic, [4.5, 4, 3.5]), T.VEIN, over=(*SOFT, T.PANCREAS))


def _pelvic_organs(canvas: Canvas, frame: Frame) -> None:
    rng, s = canvas.rng, frame.scale
    box = canvas.box((-90, -100, -300 * s), (90, 120, -110 * s))
    if box is None:
        return
    at = canvas.coordinates(box)
    full = rng.uniform(0.45, 1.25) * s
    centre = (rng.uniform(-6, 6), rng.uniform(22, 38) * s, (-220 * s + 28 * full))
    bladder = ellipsoid(at, centre, (40 * full, 32 * full, 34 * full)) + 2 * canvas.noise(40.0, box)
    layer = canvas.paint(bladder, T.BLADDER_WALL, box)
    canvas.fill(layer.values < -rng.uniform(2.0, 4.0), T.BLADDER, layer.box)
    organ = ellipsoid(at, (0, 2 * s, -225 * s + rng.uniform(0, 35)), np.array([26, 16, 24]) * rng.uniform(0.7, 1.4, 3))
    canvas.paint(organ + 2 * canvas.noise(18.0, box), T.PELVIC_ORGAN, box, over=SOFT)
