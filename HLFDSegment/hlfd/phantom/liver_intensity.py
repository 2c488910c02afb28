"""Hounsfield values of liver lesions relative to the liver and the blood around them, phase by phase.

What the ranges follow: liver 100 to 120 HU in the portal phase, at least 50 above its native value, and metastases
darker, often with a brighter rim (Baron, AJR 1994;163:323-331; Heiken et al., Radiology 1995;195:353-357).
Hepatocellular carcinoma brighter than the liver in the arterial phase, darker in later ones, with a capsule that
enhances (LI-RADS 2018, Chernyak et al., Radiology 2018;289:816-830). Cysts below 20 HU without enhancement; nodules
of haemangiomas as bright as the aorta, from where they fill in (Horton et al., RadioGraphics 1999;19:431-451). The
widths are an assumption.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hlfd.phantom.tissues import T

LATER = tuple(t for t in T if t > T.ANGIOMYOLIPOMA_FAT)
"""Tissues whose values are drawn after all others; scans of anatomies without them look as they did before these."""
_LEAST_CONTRAST = 6.0
_CORES = (T.LIVER_METASTASIS_2, T.LIVER_METASTASIS_3)
_RIMS = (T.LIVER_TUMOR_RIM, T.LIVER_TUMOR_RIM_2)


def draw_liver_lesions(hu: NDArray, coarse: NDArray, fine: NDArray, phase: str) -> None:
    """Set HU and spread (256 values each, in place) of the tissues ``LATER`` in one of the four contrast phases.

    Drawn from a stream of its own that the values set so far seed, so that the caller's stream stays where it is.
    """
    rng = np.random.default_rng(np.frombuffer(hu.tobytes(), np.uint32))
    liver, blood = float(hu[T.LIVER]), float(hu[T.AORTA])
    for core, rim in zip(_CORES, _RIMS):
        hu[core] = _metastasis(liver, phase, rng)
        hu[rim] = _rim(hu[core], liver, phase, rng)
    hu[T.LIVER_HCC_2] = liver + _hepatocellular(phase, rng)
    late = phase in ("nephrographic", "excretory")
    hu[T.LIVER_TUMOR_CAPSULE] = liver + rng.uniform(5, 30) if late else hu[T.LIVER_HCC_2] + rng.uniform(-8, 5)
    for necrosis in (T.LIVER_TUMOR_NECROSIS, T.LIVER_TUMOR_NECROSIS_2):
        hu[necrosis] = rng.uniform(5, 32)
    hu[T.LIVER_TUMOR_CALCIFICATION] = rng.uniform(160, 600)
    hu[T.LIVER_CYST] = rng.uniform(-3, 15)
    hu[T.LIVER_HEMANGIOMA], hu[T.LIVER_HEMANGIOMA_NODULE] = _haemangioma(blood, phase, rng)
    for tissue in LATER:
        coarse[tissue], fine[tissue] = rng.uniform(2, 8), rng.uniform(2, 8)
    coarse[T.LIVER_CYST] = fine[T.LIVER_CYST] = rng.uniform(1, 3)
    fine[T.LIVER_TUMOR_CALCIFICATION] = 40


def _metastasis(liver: float, phase: str, rng: np.random.Generator) -> float:
    """Return the HU of solid metastasis; one of five takes up contrast medium early, as those of kidney tumours do."""
    u = rng.uniform
    if phase == "native":  # about that of muscle, so in a fatty liver brighter than the liver
        value = u(25, 50)
        return value if abs(value - liver) >= _LEAST_CONTRAST else liver - u(_LEAST_CONTRAST, 20)
    if phase == "corticomedullary":
        return liver + (u(20, 70) if rng.random() < 0.2 else -u(8, 45))
    return max(liver - (u(20, 65) if phase == "nephrographic" else u(10, 45)), u(25, 45))


def _rim(core: float, liver: float, phase: str, rng: np.random.Generator) -> float:
    u = rng.uniform
    if phase == "native":
        return core + u(0, 8)
    return {"corticomedullary": liver + u(0, 50), "nephrographic": liver + u(-10, 30)}.get(phase, liver - u(2, 20))


def _hepatocellular(phase: str, rng: np.random.Generator) -> float:
    """Return the difference to the liver."""
    u = rng.uniform
    if phase == "corticomedullary":
        return u(15, 70) if rng.random() < 0.85 else -u(8, 25)
    return -{"native": u(5, 25), "nephrographic": u(8, 35)}.get(phase, u(10, 40))


def _haemangioma(blood: float, phase: str, rng: np.random.Generator) -> tuple[float, float]:
    """Return the HU of what is not filled yet and of the nodules at the edge."""
    u = rng.uniform
    if phase == "native":
        value = blood + u(-6, 6)
        return value, value
    if phase == "corticomedullary":
        return u(30, 50), blood * u(0.6, 0.95)
    return (u(45, 80) if phase == "nephrographic" else blood * u(0.75, 1.0)), blood * u(0.8, 1.0)
