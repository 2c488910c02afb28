"""Hounsfield values of the tissues of one patient at one contrast phase.

The ranges are textbook values, an assumption: every model trained on them says so. Wide random ranges follow
SynthSeg (Billot et al., arXiv 2107.09559).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.phantom.liver_intensity import LATER, draw_liver_lesions
from hlfd.phantom.tissues import T

PHASES = ("native", "corticomedullary", "nephrographic", "excretory", "mixed", "random")
PHASE_SHARES = (0.36, 0.12, 0.28, 0.10, 0.06, 0.08)


@dataclass(frozen=True)
class Patient:
    """HU and its spread inside each of the 256 tissue values, for one patient and phase."""

    phase: str
    hu: NDArray[np.float32]
    coarse: NDArray[np.float32]
    """Standard deviation in HU of variation over 25 mm."""
    fine: NDArray[np.float32]
    """Standard deviation in HU of variation over 5 mm."""


def draw_patient(rng: np.random.Generator, phase: str | None = None) -> Patient:
    """Draw the intensities of a patient, in ``phase`` or in a random one."""
    name = phase or str(rng.choice(PHASES, p=PHASE_SHARES))
    hu = np.zeros(256)
    coarse, fine = np.full(256, 3.0), np.full(256, 3.0)
    _constant(hu, coarse, fine, rng)
    base = (
        str(rng.choice(["native", "corticomedullary", "nephrographic", "excretory"]))
        if name in ("mixed", "random")
        else name
    )
    _native(hu, rng)
    if base != "native":
        _enhanced(hu, base, rng)
    _hard_negatives(hu, rng)
    _spread(hu, coarse, fine, rng)
    if name == "mixed":
        other = draw_patient(rng, str(rng.choice(["native", "nephrographic", "corticomedullary"])))
        hu += rng.uniform(0.2, 0.8) * (other.hu - hu)
    if name == "random":
        soft = [t for t in T if t not in LATER and -40 < hu[t] < 400]
        hu[soft] += rng.normal(0, rng.uniform(10, 45), len(soft))
        for cortex, medulla in (
            (T.KIDNEY_LEFT_CORTEX, T.KIDNEY_LEFT_MEDULLA),
            (T.KIDNEY_RIGHT_CORTEX, T.KIDNEY_RIGHT_MEDULLA),
        ):
            hu[medulla] = hu[cortex] * rng.uniform(0.6, 1.1)
    draw_liver_lesions(hu, coarse, fine, base)
    return Patient(name, hu.astype(np.float32), coarse.astype(np.float32), fine.astype(np.float32))


def _constant(hu: NDArray, coarse: NDArray, fine: NDArray, rng: np.random.Generator) -> None:
    u = rng.uniform
    fat = u(-118, -88)
    hu[T.AIR] = -1000
    hu[T.SKIN] = u(-20, 40)
    hu[T.FAT_SUBCUTANEOUS] = fat
    hu[T.FAT_VISCERAL] = hu[T.FAT_PERIRENAL] = fat + u(-4, 14)
    hu[T.FAT_SINUS] = fat + u(0, 45)
    hu[T.MUSCLE_STREAK] = u(-95, -10)
    hu[T.BONE_CORTEX] = u(380, 1000)
    hu[T.BONE_MARROW] = u(90, 300)
    hu[T.DISC] = u(60, 115)
    hu[T.SPINAL_CANAL] = u(15, 45)
    hu[T.LUNG] = u(-900, -760)
    hu[T.LUNG_VESSEL] = u(-500, 30)
    hu[T.CALCIFICATION] = u(250, 900)
    hu[T.STONE] = u(200, 1300)
    hu[T.TUMOR_CALCIFICATION] = u(160, 700)
    hu[T.ANGIOMYOLIPOMA_FAT] = u(-90, -30)
    hu[T.STOMACH_GAS] = hu[T.BOWEL_GAS] = u(-990, -850)
    hu[T.BOWEL_FAECES] = u(-60, 60)
    hu[T.BOWEL_CONTRAST] = u(120, 500)
    hu[T.TABLE] = u(-750, 100)
    hu[T.LIMB_BONE] = u(300, 900)
    hu[T.METAL] = 3000
    hu[T.GALLBLADDER] = u(0, 25)
    hu[T.CYST] = u(-2, 20)
    hu[T.CYST_COMPLEX] = u(10, 60)
    hu[T.CYST_SEPTUM] = u(30, 120)


def _native(hu: NDArray, rng: np.random.Generator) -> None:
    u = rng.uniform
    blood = u(30, 52)
    for tissue in (T.AORTA, T.VENA_CAVA, T.ARTERY, T.VEIN, T.HEART_BLOOD):
        hu[tissue] = blood + u(-3, 3)
    hu[T.HEART_WALL] = u(36, 58)
    kidney = u(22, 46)
    for left, right in ((T.KIDNEY_LEFT_CORTEX, T.KIDNEY_RIGHT_CORTEX), (T.KIDNEY_LEFT_MEDULLA, T.KIDNEY_RIGHT_MEDULLA)):
        hu[left], hu[right] = kidney + u(-4, 4), kidney + u(-4, 4)
    hu[T.RENAL_PELVIS] = u(-6, 22)
    liver = u(0, 35) if rng.random() < 0.15 else u(38, 74)
    hu[T.LIVER], hu[T.LIVER_VESSEL] = liver, blood + u(-4, 4)
    hu[T.LIVER_METASTASIS], hu[T.LIVER_HCC] = liver + u(-28, -6), liver + u(-15, 8)
    hu[T.SPLEEN] = u(34, 62)
    hu[T.PANCREAS] = u(15, 50)
    hu[T.ADRENAL], hu[T.LYMPH_NODE] = u(5, 40), u(20, 45)
    hu[T.MUSCLE] = u(35, 72)
    hu[T.LIMB_MUSCLE] = hu[T.MUSCLE] + u(-5, 5)
    hu[T.STOMACH_WALL], hu[T.BOWEL_WALL] = u(25, 50), u(22, 50)
    hu[T.STOMACH_FLUID], hu[T.BOWEL_FLUID] = u(-5, 50), u(0, 48)
    hu[T.MESENTERIC_VESSEL] = u(-40, 45)
    hu[T.BLADDER], hu[T.BLADDER_WALL] = u(-3, 18), u(20, 45)
    hu[T.PELVIC_ORGAN] = u(30, 55)
    for tissue in (T.TUMOR_CLEAR_CELL, T.TUMOR_PAPILLARY, T.TUMOR_CHROMOPHOBE):
        hu[tissue] = kidney + u(-10, 16)
    hu[T.TUMOR_NECROSIS] = u(8, 26)


def _enhanced(hu: NDArray, phase: str, rng: np.random.Generator) -> None:
    u = rng.uniform
    arterial, late = phase == "corticomedullary", phase == "excretory"
    aorta = u(190, 400) if arterial else u(80, 140) if late else u(110, 190)
    vein = u(60, 160) if arterial else aorta * u(0.85, 1.05)
    hu[T.AORTA], hu[T.ARTERY] = aorta, aorta * u(0.8, 1.0)
    hu[T.VENA_CAVA], hu[T.VEIN] = vein * u(0.7, 1.1), vein
    hu[T.HEART_BLOOD], hu[T.HEART_WALL] = aorta * u(0.7, 1.1), u(80, 130)
    hu[T.MESENTERIC_VESSEL] = u(-20, 0.7 * aorta)
    cortex = u(110, 270) if arterial else u(95, 240)
    ratio = u(0.35, 0.75) if arterial else u(0.88, 1.1)
    for c, m in ((T.KIDNEY_LEFT_CORTEX, T.KIDNEY_LEFT_MEDULLA), (T.KIDNEY_RIGHT_CORTEX, T.KIDNEY_RIGHT_MEDULLA)):
        hu[c] = cortex * u(0.93, 1.07)
        hu[m] = hu[c] * ratio
    hu[T.RENAL_PELVIS] = float(np.exp(u(np.log(150), np.log(1500)))) if late else u(0, 40)
    steatosis = u(-40, 0) if rng.random() < 0.15 else 0
    hu[T.LIVER] = (u(55, 90) if arterial else u(80, 135)) + steatosis
    hu[T.LIVER_VESSEL] = hu[T.LIVER] + (u(-5, 30) if arterial else u(10, 60))
    hu[T.LIVER_METASTASIS] = hu[T.LIVER] - u(20, 60)
    hu[T.LIVER_HCC] = hu[T.LIVER] + (u(15, 60) if arterial else u(-30, 5))
    hu[T.SPLEEN] = u(90, 180) if arterial else u(90, 145)
    hu[T.PANCREAS] = u(70, 130) if arterial else u(60, 115)
    hu[T.ADRENAL], hu[T.LYMPH_NODE] = u(40, 90), u(50, 100)
    hu[T.MUSCLE] += u(0, 18)
    hu[T.STOMACH_WALL], hu[T.BOWEL_WALL] = u(45, 110), u(45, 115)
    hu[T.BLADDER] = u(100, 900) if late and rng.random() < 0.5 else u(-3, 20)
    hu[T.BLADDER_WALL], hu[T.PELVIC_ORGAN] = u(35, 80), u(50, 120)
    hu[T.TUMOR_CLEAR_CELL] = min(u(85, 170) if arterial else u(60, 125), hu[T.KIDNEY_LEFT_CORTEX] * u(0.65, 1.0))
    hu[T.TUMOR_PAPILLARY], hu[T.TUMOR_CHROMOPHOBE] = u(45, 85), u(55, 100)
    hu[T.CYST_SEPTUM] = u(40, 120)


def _hard_negatives(hu: NDArray, rng: np.random.Generator) -> None:
    """Give structures that a network takes for a kidney the kidney's HU in a part of the patients."""
    kidney = (hu[T.KIDNEY_LEFT_CORTEX] + hu[T.KIDNEY_LEFT_MEDULLA]) / 2
    alike = (
        ((T.BOWEL_FLUID, T.BOWEL_WALL), 0.3),
        ((T.STOMACH_FLUID,), 0.12),
        ((T.SPLEEN,), 0.15),
        ((T.LIVER,), 0.12),
        ((T.MUSCLE,), 0.08),
        ((T.BLADDER,), 0.08),
    )
    for tissues, share in alike:
        if rng.random() < share:
            hu[list(tissues)] = kidney + rng.uniform(-8, 8, len(tissues))
    if kidney * 0.8 < hu[T.RENAL_PELVIS] < kidney * 1.25 or abs(hu[T.RENAL_PELVIS] - kidney) < 10:
        # The collecting system is background: alike its surroundings, its border could not be known.
        hu[T.RENAL_PELVIS] = min(kidney * 0.6, kidney - rng.uniform(10, 25))


def _spread(hu: NDArray, coarse: NDArray, fine: NDArray, rng: np.random.Generator) -> None:
    coarse[[T.AIR, T.STOMACH_GAS, T.BOWEL_GAS, T.METAL, T.TABLE]] = 0
    fine[[T.AIR, T.STOMACH_GAS, T.BOWEL_GAS, T.METAL, T.TABLE]] = 0
    for tissue in (T.FAT_SUBCUTANEOUS, T.FAT_VISCERAL, T.FAT_PERIRENAL):
        coarse[tissue], fine[tissue] = rng.uniform(1, 6), rng.uniform(1, 9)
    fine[T.FAT_SINUS] = rng.uniform(5, 40)
    fine[T.BONE_MARROW], coarse[T.BONE_MARROW] = rng.uniform(20, 70), 40
    fine[T.BONE_CORTEX] = 90
    fine[T.LUNG], coarse[T.LUNG] = rng.uniform(10, 30), rng.uniform(10, 40)
    fine[T.BOWEL_FAECES], coarse[T.BOWEL_FAECES] = rng.uniform(15, 80), 25
    coarse[T.BOWEL_FLUID] = rng.uniform(3, 16)
    coarse[T.BOWEL_CONTRAST] = 60
    fine[T.MUSCLE], coarse[T.MUSCLE] = rng.uniform(3, 12), rng.uniform(2, 8)
    fine[T.PANCREAS] = rng.uniform(3, 14)
    coarse[T.STOMACH_FLUID], fine[T.STOMACH_FLUID] = rng.uniform(2, 10), rng.uniform(2, 10)
    fine[T.MESENTERIC_VESSEL] = 15
    strong = max(0.0, float(hu[T.TUMOR_CLEAR_CELL]) - 30)
    fine[T.TUMOR_CLEAR_CELL] = coarse[T.TUMOR_CLEAR_CELL] = 4 + rng.uniform(0.05, 0.3) * strong
    coarse[T.TUMOR_PAPILLARY] = coarse[T.TUMOR_CHROMOPHOBE] = rng.uniform(3, 9)
    coarse[T.AORTA] = coarse[T.HEART_BLOOD] = rng.uniform(1, 6)
    coarse[T.VENA_CAVA] = rng.uniform(2, 12)
