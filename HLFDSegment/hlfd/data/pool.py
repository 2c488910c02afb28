"""A folder of simulated anatomies that trainings draw patches from: built once, memory-mapped afterwards."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.config import look_up
from hlfd.errors import ConfigError
from hlfd.events import CancelToken, OnEvent, ProgressClock, ignore
from hlfd.processes import run_all
from hlfd.volume import LabelMap

SHAPES = ("kits19", "kits23", "procedural")
"""Where kidneys come from: real label maps, or drawn where those are not at hand."""
_POINTS = 1000  # positions kept per component: enough to reach every part, small enough to read at once
_LEAST_VOXELS = 8  # smaller components are crumbs that sampling on a grid left over
_ALIKE = ("spacing_mm", "seed", "shapes", "anatomy")  # what anatomies of one folder have in common


@dataclass(frozen=True)
class PoolSettings:
    """Which anatomies a pool holds."""

    cases: tuple[int, int]
    """First and last number of the KiTS label maps whose kidneys and tumours are used, or of procedural patients."""
    variants: int = 1
    """Anatomies per label map, each with its own body, deformation, cysts and further tumours."""
    spacing_mm: float = 1.5
    """Isotropic spacing in mm."""
    seed: int = 0
    """Seed of the pool; anatomy ``n`` of case ``c`` is a pure function of it."""
    shapes: str = "kits19"
    """Where the kidneys come from, of ``SHAPES``."""
    anatomy: dict[str, Any] = field(default_factory=dict)
    """Settings of the simulated patients (``AnatomySettings``) that are fixed instead of drawn."""

    def __post_init__(self) -> None:
        look_up(self.shapes, SHAPES, "shapes")
        if len(self.cases) != 2 or self.cases[0] > self.cases[1] or self.cases[0] < 0:
            raise ConfigError(f"cases is {self.cases}; a first and a last case number were expected.")
        if self.variants < 1 or self.spacing_mm <= 0:
            raise ConfigError("variants must be at least 1 and spacing_mm above 0.")


@dataclass(frozen=True)
class PoolEntry:
    """One anatomy: tissue values (k, j, i) memory-mapped, and positions (n, 3) of structures in (k, j, i) voxels."""

    name: str
    tissue: NDArray[np.uint8]
    spacing_mm: float
    affine: NDArray[np.float64]
    kidney_points: NDArray[np.float64]
    lesion_points: NDArray[np.float64]
    """Tumours and cysts of the kidneys."""
    liver_points: NDArray[np.float64]
    liver_lesion_points: NDArray[np.float64]
    """Tumours, cysts and haemangiomas of the liver; like ``liver_points`` none in pools made before it had points."""
    body_box: NDArray[np.float64]


def shape_of(case: int, shapes: str) -> LabelMap | None:
    """Return the label map whose kidneys a case has by ``shapes`` (of ``SHAPES``), or None for procedural ones."""
    from hlfd.phantom.shapes import load_kits

    return load_kits(None if shapes == "procedural" else case, shapes)


def build_pool(
    folder: Path,
    settings: PoolSettings,
    workers: int = 1,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> list[PoolEntry]:
    """Make the anatomies that ``folder`` still lacks and return all of them; an interrupted build goes on.

    Raises ``ConfigError`` where the folder holds anatomies that were made by other settings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first, last = settings.cases
    wanted = [(case, variant) for variant in range(settings.variants) for case in range(first, last + 1)]
    alike = json.loads(json.dumps({key: getattr(settings, key) for key in _ALIKE}))
    missing = [key for key in wanted if not _made(folder / f"{_name(*key)}.json", alike)]
    calls = [partial(_build_one, folder, settings, *key) for key in missing]
    run_all(calls, workers, ProgressClock(len(missing), on_event, cancel))
    return [_open(folder, _name(*key)) for key in wanted]


def open_pool(folder: Path) -> list[PoolEntry]:
    """Return the finished anatomies in ``folder``, sorted by name."""
    return [_open(Path(folder), path.stem) for path in sorted(Path(folder).glob("anatomy_*.json"))]


def _name(case: int, variant: int) -> str:
    return f"anatomy_{case:05d}_{variant:02d}"


def _made(record: Path, alike: dict[str, Any]) -> bool:
    """Return whether an anatomy is there; raise ``ConfigError`` when other settings than ``alike`` made it."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    for key, wanted in alike.items():
        if known.get(key) != wanted:
            raise ConfigError(
                f'"{record.parent}" holds anatomies made with {key} {known.get(key)}; {wanted} was expected.',
                "Choose another folder for the pool, or delete this one; it is then made again.",
            )
    return True


def _build_one(folder: Path, settings: PoolSettings, case: int, variant: int) -> int:
    """Make one anatomy; return 1, the number made."""
    from hlfd.phantom import AnatomySettings, build_anatomy

    seed = int(np.random.default_rng([settings.seed, case, variant]).integers(2**31))
    patient = AnatomySettings(**{**settings.anatomy, "spacing_mm": settings.spacing_mm})
    anatomy = build_anatomy(patient, seed, shape_of(case, settings.shapes))
    tissue = np.asarray(anatomy.tissue, dtype=np.uint8)
    points = _points(tissue, np.random.default_rng(seed))
    name = _name(case, variant)
    partial = folder / f".{name}.{os.getpid()}.npy"
    np.save(partial, tissue)
    partial.replace(folder / f"{name}.npy")
    np.savez(folder / f"{name}.npz", affine=anatomy.affine, **points)  # type: ignore[arg-type]
    record = {"case": case, "variant": variant, "anatomy_seed": seed, **asdict(settings)}
    (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")  # last: marks the entry as whole
    return 1


def _points(tissue: NDArray[np.uint8], rng: np.random.Generator) -> dict[str, NDArray]:
    from hlfd.labels import KIDNEY_CYST, KIDNEY_LEFT, KIDNEY_RIGHT, KIDNEY_TUMOR, LIVER, LIVER_TUMOR
    from hlfd.phantom.tissues import LABEL_OF_TISSUE, LIVER_BENIGN_TISSUES, LIVER_TUMOR_TISSUES

    labels = LABEL_OF_TISSUE[tissue]
    groups = {
        "kidney_points": (KIDNEY_LEFT.value, KIDNEY_RIGHT.value),
        "lesion_points": (KIDNEY_TUMOR.value, KIDNEY_CYST.value),
    }
    found: dict[str, NDArray] = {}
    for name, values in groups.items():
        parts = [part for value in values for part in _parts(labels == value, rng)]
        found[name] = _joined(parts)
    # After the kidneys' points, which these leave as they are.
    liver = np.isin(labels, (LIVER.value, LIVER_TUMOR.value))
    lesions = np.isin(tissue, LIVER_TUMOR_TISSUES), np.isin(tissue, LIVER_BENIGN_TISSUES)
    found["liver_points"] = _joined(_parts(liver, rng))
    found["liver_lesion_points"] = _joined([part for mask in lesions for part in _parts(mask, rng)])
    body = np.argwhere(labels[::4, ::4, ::4] > 0) * 4.0
    found["body_box"] = np.stack([body.min(0), body.max(0)])
    return found


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.zeros((0, 3))


def _parts(mask: NDArray[np.bool_], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return equally many positions in each component of a mask: small tumours are met as often as large ones."""
    from scipy import ndimage

    components, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    flat = components.ravel()
    inside = np.flatnonzero(flat)
    order = inside[np.argsort(flat[inside], kind="stable")]
    sizes = np.bincount(flat[order])[1:]
    parts = []
    for part in np.split(order, np.cumsum(sizes)[:-1]) if len(order) else []:
        if len(part) >= _LEAST_VOXELS:
            chosen = np.unravel_index(part[rng.integers(len(part), size=_POINTS)], mask.shape)
            parts.append(np.stack(chosen, 1).astype(np.float64))
    return parts


def _open(folder: Path, name: str) -> PoolEntry:
    record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(folder / f"{name}.npz") as points:
        return PoolEntry(
            name=name,
            tissue=np.load(folder / f"{name}.npy", mmap_mode="r"),
            spacing_mm=float(record["spacing_mm"]),
            affine=points["affine"],
            kidney_points=points["kidney_points"],
            lesion_points=points["lesion_points"],
            liver_points=points["liver_points"] if "liver_points" in points else _joined([]),
            liver_lesion_points=points["liver_lesion_points"] if "liver_lesion_points" in points else _joined([]),
            body_box=points["body_box"],
        )
