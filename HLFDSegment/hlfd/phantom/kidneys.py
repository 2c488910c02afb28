"""Kidneys placed in a body: cortex, medulla, sinus, tumours, cysts, stones, fat and vessels around them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from torch.nn import functional

from hlfd.phantom.canvas import Box, Canvas, smooth_noise
from hlfd.phantom.fields import Coordinates, chain
from hlfd.phantom.frame import Frame
from hlfd.phantom.shapes import SHAPE_MM, KidneyShape
from hlfd.phantom.tissues import T

SUBTYPES = {"clear_cell": T.TUMOR_CLEAR_CELL, "papillary": T.TUMOR_PAPILLARY, "chromophobe": T.TUMOR_CHROMOPHOBE}
COMPLEX_SHARE = 0.15  # of cysts, by assumption
YIELDING = (  # what gives way to a kidney and its masses
    *(T.FAT_VISCERAL, T.MESENTERIC_VESSEL, T.LIVER, T.LIVER_VESSEL, T.LIVER_METASTASIS, T.LIVER_HCC, T.GALLBLADDER),
    *(T.SPLEEN, T.PANCREAS, T.STOMACH_WALL, T.STOMACH_FLUID, T.STOMACH_GAS, T.BOWEL_WALL, T.BOWEL_FLUID),
    *(T.BOWEL_CONTRAST, T.BOWEL_GAS, T.BOWEL_FAECES, T.LUNG, T.LUNG_VESSEL),
)


RENAL = (
    *(T.FAT_PERIRENAL, T.FAT_SINUS, T.RENAL_PELVIS, T.STONE, T.VEIN, T.ARTERY, T.CYST, T.CYST_COMPLEX, T.ADRENAL),
    *(T.KIDNEY_LEFT_CORTEX, T.KIDNEY_LEFT_MEDULLA, T.KIDNEY_RIGHT_CORTEX, T.KIDNEY_RIGHT_MEDULLA),
)


@dataclass
class Kidney:
    """A kidney at its place: fields in mm on the shape's voxels, negative inside; ``shift`` moves it in the body."""

    shape: KidneyShape
    shift: NDArray[np.float64]
    stretch: float
    fields: dict[str, NDArray[np.floating]] = field(default_factory=dict)
    tumor_kinds: NDArray[np.uint8] | None = None
    hilum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    pole: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    pelvis_mm: tuple[float, float] = (0.0, 0.0)
    """Radius and length of the part of the renal pelvis that lies outside the kidney."""
    pelvis_turn: tuple[float, float] = (0.0, 0.0)
    """Angles in radians by which it points forwards and downwards from the direction of the midline."""

    def to_world(self, voxel: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the position (x, y, z) in mm of a voxel position (k, j, i)."""
        return (self.shape.origin + SHAPE_MM * np.asarray(voxel)[::-1]) * self.stretch + self.shift


@dataclass(frozen=True)
class LesionPlan:
    """How many lesions a kidney pair gets in addition to those of its label map, and of what kind."""

    tumors: int
    tumor_mm: tuple[float, float]
    subtype: str | None
    cysts: int
    cyst_mm: tuple[float, float]
    stones: int


def distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the signed distance in mm to the surface of a mask on shape voxels, negative inside."""
    if not mask.any():
        return np.full(mask.shape, 1e3, np.float32)
    outside = ndimage.distance_transform_edt(~mask)
    inside = ndimage.distance_transform_edt(mask)
    return ((outside - inside) * SHAPE_MM + np.where(mask, 0.5, -0.5) * SHAPE_MM).astype(np.float32)


def _surface(fraction: NDArray[np.float32], whole: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return ``whole``, distances in mm that know whole voxels only, placed within the voxel near the surface."""
    near = (fraction > 0.03) & (fraction < 0.97)
    return np.where(near, (0.5 - fraction) * 2 * SHAPE_MM, whole)


def prepare_kidney(shape: KidneyShape, shift: NDArray, stretch: float, rng: np.random.Generator) -> Kidney:
    """Compute the fields of a kidney: hull, tumour, its closed contour and depth."""
    kidney = Kidney(shape, np.asarray(shift, float), stretch)
    hull = distance(shape.hull > 0.5)
    kidney.fields["hull"] = _surface(shape.hull, hull)
    closing = rng.uniform(6, 11)
    kidney.fields["closed"] = closing - ndimage.distance_transform_edt(hull < closing).astype(np.float32) * SHAPE_MM
    kidney.fields["tumor"] = _surface(shape.tumor, distance(shape.tumor > 0.5))
    voxels = np.argwhere(hull < 0)
    lowest = voxels[voxels[:, 0] <= voxels[:, 0].min() + 3]
    kidney.pole = kidney.to_world(lowest.mean(0))
    middle = voxels[np.abs(voxels[:, 0] - np.median(voxels[:, 0])) < 6]
    inner = middle[:, 2].max() if shape.side == "left" else middle[:, 2].min()
    kidney.hilum = kidney.to_world(np.array([np.median(middle[:, 0]), np.median(middle[:, 1]), inner]))
    return kidney


def _noise(kidney: Kidney, wavelength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    return smooth_noise(kidney.shape.hull.shape, SHAPE_MM, wavelength, rng).numpy()


def _ball(kidney: Kidney, centre: NDArray, radii: NDArray, wobble: float, rng: np.random.Generator) -> tuple:
    """Return a window (slices) and the field of a bumpy ellipsoid around a voxel (k, j, i)."""
    reach = radii / SHAPE_MM * 1.5 + 2
    size = np.array(kidney.shape.hull.shape)
    low = np.clip(np.floor(centre - reach), 0, size - 1).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low + 1, size).astype(int)
    lines = [(np.arange(a, b) - c) * SHAPE_MM / r for a, b, c, r in zip(low, high, centre, radii)]
    q = np.sqrt(lines[0][:, None, None] ** 2 + lines[1][None, :, None] ** 2 + lines[2][None, None, :] ** 2)
    values = (q - 1) * radii.min()
    if wobble:
        values = values + wobble * smooth_noise(values.shape, SHAPE_MM, max(6.0, radii.min()), rng).numpy()
    return tuple(slice(a, b) for a, b in zip(low, high)), values.astype(np.float32)


def _surface_point(kidney: Kidney, depth: float, rng: np.random.Generator) -> NDArray[np.float64]:
    band = np.argwhere(np.abs(kidney.fields["hull"] + depth) < 1.5)
    if len(band) == 0:
        band = np.argwhere(kidney.fields["hull"] < 0)
    return band[rng.integers(len(band))].astype(float)


def add_lesions(kidneys: list[Kidney], plan: LesionPlan, rng: np.random.Generator) -> None:
    """Draw tumours, cysts and stones and add their fields to the kidneys; cysts of the label map come first."""
    for kidney in kidneys:
        empty = np.full(kidney.shape.hull.shape, 1e3, np.float32)
        kidney.fields |= {"cyst": empty, "complex": empty.copy(), "stone": empty.copy()}
        if kidney.shape.cyst.any():
            parts, count = ndimage.label(kidney.shape.cyst > 0.03)
            complex_ones = np.append(False, rng.random(count) < COMPLEX_SHARE)[parts]
            for kind, of_kind in (("cyst", ~complex_ones), ("complex", complex_ones)):
                cyst = kidney.shape.cyst * of_kind
                kidney.fields[kind] = _surface(cyst, distance(cyst > 0.5)).astype(np.float32)
    for _ in range(plan.tumors if kidneys else 0):
        radius = float(np.exp(rng.uniform(*np.log(plan.tumor_mm)))) / 2
        _add(kidneys[rng.integers(len(kidneys))], "tumor", radius, rng.uniform(-0.5, 0.9) * radius, 0.12, rng)
    for _ in range(plan.cysts if kidneys else 0):
        radius = float(np.exp(rng.uniform(*np.log(plan.cyst_mm)))) / 2
        kind = "complex" if rng.random() < COMPLEX_SHARE else "cyst"
        _add(kidneys[rng.integers(len(kidneys))], kind, radius, rng.uniform(-0.8, 1.0) * radius, 0.03, rng)
    for _ in range(plan.stones if kidneys else 0):
        _add(kidneys[rng.integers(len(kidneys))], "stone", rng.uniform(1.2, 6), rng.uniform(12, 22), 0.15, rng)
    for kidney in kidneys:
        kidney.tumor_kinds = _kinds(kidney.fields["tumor"] < 0.8, plan.subtype, rng)


def _add(kidney: Kidney, name: str, radius: float, depth: float, wobble: float, rng: np.random.Generator) -> None:
    centre = _surface_point(kidney, depth, rng)
    window, values = _ball(kidney, centre, radius * rng.uniform(0.85, 1.15, 3), wobble * radius, rng)
    part = kidney.fields[name][window]
    np.minimum(part, values, out=part)


def _kinds(mask: NDArray[np.bool_], subtype: str | None, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a tissue per voxel: each tumour component has its own subtype (clear cell is the commonest)."""
    parts, count = ndimage.label(mask)
    names = rng.choice(list(SUBTYPES), size=count + 1, p=[0.68, 0.18, 0.14])
    table = np.array([SUBTYPES[subtype or str(name)] for name in names], np.uint8)
    kinds = table[parts]
    if count > 1:  # voxels between components take the nearest one
        nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
        kinds = kinds[tuple(nearest)]
    elif count == 1:
        kinds[:] = table[1]
    return kinds


def _pyramids(kidney: Kidney, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the field of the medullary pyramids: cells of 11 to 18 mm with columns of cortex between them.

    A medulla in one piece is a dark mass of centimetres that no patient has, and a network learns to call it a tumour.
    """
    size, column = rng.uniform(11, 18), rng.uniform(2.5, 5.0)
    inside = kidney.fields["hull"] < 2.0
    values = np.full(inside.shape, 1e3, np.float32)
    voxels = np.argwhere(inside)
    if len(voxels) == 0:
        return values
    corner = voxels.min(0) * SHAPE_MM - size
    nodes = np.indices(np.ceil((voxels.max(0) * SHAPE_MM + size - corner) / size).astype(int) + 1).reshape(3, -1).T
    seeds = corner + size * (nodes + rng.uniform(-0.32, 0.32, nodes.shape))
    distances, cells = KDTree(seeds).query(voxels * SHAPE_MM, k=2)
    apart = np.linalg.norm(seeds[cells[:, 0]] - seeds[cells[:, 1]], axis=1)
    border = (distances[:, 1] ** 2 - distances[:, 0] ** 2) / (2 * apart)  # mm from the plane between the two cells
    missing = rng.random(len(seeds)) < 0.12
    values[inside] = np.where(missing[cells[:, 0]], 9.0, column / 2 - border)
    return values


def inner_fields(kidney: Kidney, rng: np.random.Generator) -> None:
    """Add the fields of sinus, pelvis, medulla, necrosis, calcification, septa and perirenal fat."""
    f = kidney.fields
    wave, fine = _noise(kidney, 16.0, rng), _noise(kidney, 9.0, rng)
    depth = rng.uniform(14, 24)
    f["sinus"] = f["closed"] + depth + 2.5 * wave
    f["gap"] = np.maximum(f["closed"] + 1.0, -f["hull"])
    pelvis = rng.uniform(-0.8, 0.8) + (0.9 if rng.random() < 0.06 else 0)
    f["pelvis"] = fine + 0.6 * wave - pelvis
    cortex = rng.uniform(4.5, 8)
    f["medulla"] = np.maximum(f["closed"] + cortex + 1.5 * wave, _pyramids(kidney, rng))
    dead = float(rng.choice([9.0, 0.6, 0.0], p=[0.45, 0.35, 0.2]))  # threshold on unit noise: no, some, much necrosis
    f["necrosis"] = np.maximum(f["tumor"] + rng.uniform(3, 7), dead - _noise(kidney, 15.0, rng))
    fatty = 0.3 if rng.random() < 0.05 else 9.0  # angiomyolipoma
    f["fatty"] = np.maximum(f["tumor"] + 1.5, fatty - _noise(kidney, 10.0, rng))
    chalk = 2.3 if rng.random() < 0.15 else 9.0
    f["calcification"] = np.maximum(f["tumor"] + 1.5, chalk - _noise(kidney, 6.0, rng))
    f["septum"] = np.maximum(f["complex"], np.minimum(np.abs(_noise(kidney, 14.0, rng)) - 0.10, 0.9 + f["complex"]) * 4)


def draw_pelvis(kidneys: list[Kidney], rng: np.random.Generator) -> None:
    """Give half of the kidneys a renal pelvis that bulges out of the hilum, and some a dilated collecting system.

    Fluid that is no cyst: a funnel of 10 to 36 mm across and up to 34 mm long, and in one kidney of seven calyces that
    are wider than usual and full of urine (hydronephrosis).
    """
    for kidney in kidneys:
        size = (float(np.exp(rng.uniform(np.log(5), np.log(18)))), float(rng.uniform(4, 34)))
        turn = (float(rng.uniform(-0.2, 0.9)), float(rng.uniform(0.0, 0.8)))
        wide, growth = rng.random() < 0.14, rng.uniform(0, 7)
        filled = 0.0  # how much more of the sinus is urine instead of fat
        if rng.random() < 0.5:
            kidney.pelvis_mm, kidney.pelvis_turn = size, turn
            filled = size[0] / 18
        if wide:
            kidney.fields["sinus"] = kidney.fields["sinus"] - growth
            filled = 2.0
        kidney.fields["pelvis"] = kidney.fields["pelvis"] - filled


def fat_field(kidney: Kidney, amount: float, touching: bool, rng: np.random.Generator) -> None:
    """Add the field of the perirenal fat: ``amount`` mm thick on average, none at a touching lower pole."""
    thickness = (amount * (1 + 0.55 * _noise(kidney, 45.0, rng))).clip(0, 24)
    if touching:
        k, j, i = np.ogrid[tuple(slice(n) for n in kidney.shape.hull.shape)]
        pole = (kidney.pole - kidney.shift) / kidney.stretch - kidney.shape.origin
        d = np.sqrt((i * SHAPE_MM - pole[0]) ** 2 + (j * SHAPE_MM - pole[1]) ** 2 + (k * SHAPE_MM - pole[2]) ** 2)
        thickness = thickness * (1 - np.exp(-((d / 26) ** 2)))
    outer = np.minimum(kidney.fields["hull"], np.minimum(kidney.fields["cyst"], kidney.fields["complex"]))
    kidney.fields["fat"] = (outer - thickness).astype(np.float32)


def paint_surroundings(canvas: Canvas, frame: Frame, kidney: Kidney) -> None:
    """Paint perirenal fat with strands, renal vessels and the ureter."""
    rng, s = canvas.rng, frame.scale
    box, values = _sample(canvas, kidney, ["fat"])
    if box is None:
        return
    canvas.fill(values[0] < 0, T.FAT_PERIRENAL, box, over=YIELDING)
    strands = canvas.sample(torch.sqrt(canvas.noise(20.0, box) ** 2 + canvas.noise(20.0, box) ** 2), box)
    canvas.fill((values[0] < 0) & (strands < rng.uniform(0.0, 0.13)), T.MESENTERIC_VESSEL, box, over=(T.FAT_PERIRENAL,))
    hilum, sign = kidney.hilum, -1 if kidney.shape.side == "left" else 1
    at = canvas.coordinates()
    over = (T.FAT_VISCERAL, T.FAT_PERIRENAL, T.MESENTERIC_VESSEL)
    cava, aorta = (17.0, 27 * s + 8, hilum[2] + 12), (-8.0, 27 * s + 5, hilum[2] + 10)
    bend = (hilum[0] - sign * 22, max(hilum[1] + 12, 22 * s), hilum[2] + 4)
    front = (0.0, 27 * s + 24, hilum[2] + 10) if sign < 0 else bend
    canvas.paint(chain(at, [tuple(hilum), bend, front, cava], [4.5, 5, 5, 5.5]), T.VEIN, over=over)
    low = (bend[0], bend[1] - 9, bend[2] - 3)
    canvas.paint(chain(at, [(hilum[0], hilum[1] - 5, hilum[2]), low, aorta], [2.6, 2.8, 3.0]), T.ARTERY, over=over)
    down = [
        (sign * 36 * s, 26 * s, hilum[2] - 60),
        (sign * 38 * s, 34 * s, -125 * s),
        (sign * 20 * s, 10 * s, -215 * s),
    ]
    path = [(hilum[0] - sign * 8, hilum[1] + 4, hilum[2] - 12), *down]
    canvas.paint(chain(at, path, [4.5, 2.4, 2.2, 2.2]), T.RENAL_PELVIS, over=over)
    if kidney.pelvis_mm[0]:
        canvas.paint(_outer_pelvis(kidney, at), T.RENAL_PELVIS, over=(*over, T.VEIN, T.ARTERY))


def _outer_pelvis(kidney: Kidney, at: Coordinates) -> torch.Tensor:
    """Return the field of the renal pelvis outside the kidney: widest near the hilum, a funnel towards the ureter."""
    radius, length = kidney.pelvis_mm
    forwards, downwards = kidney.pelvis_turn
    inwards = 1.0 if kidney.shape.side == "left" else -1.0
    way = np.array([inwards * np.cos(forwards) * np.cos(downwards), np.sin(forwards), -np.sin(downwards)])
    points = [tuple((kidney.hilum + way * step).tolist()) for step in (-8.0, 0.4 * length, length)]
    return chain(at, points, [0.8 * radius, radius, 0.4 * radius])


def paint_kidney(canvas: Canvas, kidney: Kidney) -> None:
    """Paint the kidney itself with everything in it."""
    names = [
        "hull",
        "gap",
        "sinus",
        "pelvis",
        "medulla",
        "tumor",
        "necrosis",
        "fatty",
        "calcification",
        "cyst",
        "complex",
        "septum",
        "stone",
    ]
    box, values = _sample(canvas, kidney, names)
    if box is None:
        return
    f = dict(zip(names, values))
    left = kidney.shape.side == "left"
    cortex = T.KIDNEY_LEFT_CORTEX if left else T.KIDNEY_RIGHT_CORTEX
    medulla = T.KIDNEY_LEFT_MEDULLA if left else T.KIDNEY_RIGHT_MEDULLA
    canvas.fill(f["gap"] < 0, T.FAT_SINUS, box, over=(*YIELDING, T.FAT_PERIRENAL))
    canvas.fill(f["hull"] < 0, cortex, box)
    canvas.fill((f["hull"] < 0) & (f["medulla"] < 0), medulla, box)
    solid = (f["hull"] < -2.0) & (f["sinus"] < 0) & (f["tumor"] > 1.0)
    canvas.fill(solid, T.FAT_SINUS, box, over=(cortex, medulla))
    canvas.fill(f["pelvis"] < 0, T.RENAL_PELVIS, box, over=(T.FAT_SINUS,))
    canvas.fill(f["stone"] < 0, T.STONE, box, over=(T.FAT_SINUS, T.RENAL_PELVIS, medulla))
    room = (*YIELDING, *RENAL)  # cysts push organs aside, not bone or the body wall
    canvas.fill(f["cyst"] < 0, T.CYST, box, over=room)
    canvas.fill(f["complex"] < 0, T.CYST_COMPLEX, box, over=room)
    canvas.fill(f["septum"] < 0, T.CYST_SEPTUM, box, over=(T.CYST_COMPLEX,))
    _paint_tumor(canvas, kidney, box, f)


def _paint_tumor(canvas: Canvas, kidney: Kidney, box: Box, f: dict[str, torch.Tensor]) -> None:
    room = canvas.allowed((*YIELDING, *RENAL))[canvas.tissue[canvas.voxels(box)].int()]
    inside = (f["tumor"] < 0) & (room | (f["hull"] < 0))
    if not bool(inside.any()) or kidney.tumor_kinds is None:
        return
    kinds = np.unique(kidney.tumor_kinds)
    for kind in kinds:
        if len(kinds) == 1:
            mask = inside
        else:
            where = torch.from_numpy((kidney.tumor_kinds == kind).astype(np.float32)).to(canvas.device)
            mask = inside & (_at(canvas, kidney, where[None], box)[0] > 0.5)
        canvas.fill(mask, T(int(kind)), box)
    rest = inside & ~canvas.allowed(list(SUBTYPES.values()))[canvas.tissue[canvas.voxels(box)].int()]
    canvas.fill(rest, T(int(kinds[0])), box)
    masses = tuple(SUBTYPES.values())
    canvas.fill(f["necrosis"] < 0, T.TUMOR_NECROSIS, box, over=masses)
    canvas.fill(f["fatty"] < 0, T.ANGIOMYOLIPOMA_FAT, box, over=masses)
    canvas.fill(f["calcification"] < 0, T.TUMOR_CALCIFICATION, box, over=masses)


def _sample(canvas: Canvas, kidney: Kidney, names: list[str]) -> tuple[Box | None, torch.Tensor]:
    size = np.array(kidney.shape.hull.shape) - 1
    low, high = kidney.to_world(np.zeros(3)), kidney.to_world(size)
    box = canvas.box(low.tolist(), high.tolist(), 6.0)
    stack = torch.from_numpy(np.stack([kidney.fields[name] for name in names]).astype(np.float32)).to(canvas.device)
    if box is None:
        return None, stack
    return box, _at(canvas, kidney, stack, box)


def _at(canvas: Canvas, kidney: Kidney, stack: torch.Tensor, box: Box) -> torch.Tensor:
    """Sample fields (n, k, j, i) on shape voxels at the canvas voxels of ``box``, through the canvas's warp."""
    lines = []
    for axis, world in enumerate(canvas.coordinates(box)):
        position = canvas.sample(world, box)
        voxel = ((position - float(kidney.shift[axis])) / kidney.stretch - float(kidney.shape.origin[axis])) / SHAPE_MM
        lines.append(voxel * (2.0 / (kidney.shape.hull.shape[2 - axis] - 1)) - 1)
    where = torch.stack(lines, -1)[None]
    return functional.grid_sample(stack[None], where, mode="bilinear", padding_mode="border", align_corners=True)[0]
