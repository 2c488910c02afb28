"""The fine tissue classes of a simulated abdomen and how they map to the labels of ``hlfd.labels``."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hlfd import labels


class Tissue(IntEnum):
    """One class of matter with its own Hounsfield distribution; the value is what an anatomy's voxels hold."""

    AIR = 0
    SKIN = 1
    FAT_SUBCUTANEOUS = 2
    FAT_VISCERAL = 3
    FAT_PERIRENAL = 4
    FAT_SINUS = 5
    MUSCLE = 6
    MUSCLE_STREAK = 7
    BONE_CORTEX = 8
    BONE_MARROW = 9
    DISC = 10
    SPINAL_CANAL = 11
    LUNG = 12
    LUNG_VESSEL = 13
    HEART_WALL = 14
    HEART_BLOOD = 15
    LIVER = 16
    LIVER_VESSEL = 17
    LIVER_METASTASIS = 18
    LIVER_HCC = 19
    GALLBLADDER = 20
    SPLEEN = 21
    PANCREAS = 22
    STOMACH_WALL = 23
    STOMACH_FLUID = 24
    STOMACH_GAS = 25
    BOWEL_WALL = 26
    BOWEL_FLUID = 27
    BOWEL_CONTRAST = 28
    BOWEL_GAS = 29
    BOWEL_FAECES = 30
    AORTA = 31
    VENA_CAVA = 32
    ARTERY = 33
    VEIN = 34
    CALCIFICATION = 35
    KIDNEY_LEFT_CORTEX = 36
    KIDNEY_LEFT_MEDULLA = 37
    KIDNEY_RIGHT_CORTEX = 38
    KIDNEY_RIGHT_MEDULLA = 39
    RENAL_PELVIS = 40
    STONE = 41
    TUMOR_CLEAR_CELL = 42
    TUMOR_PAPILLARY = 43
    TUMOR_CHROMOPHOBE = 44
    TUMOR_NECROSIS = 45
    TUMOR_CALCIFICATION = 46
    CYST = 47
    CYST_COMPLEX = 48
    CYST_SEPTUM = 49
    BLADDER = 50
    BLADDER_WALL = 51
    ADRENAL = 52
    PELVIC_ORGAN = 53
    LIMB_BONE = 54
    LIMB_MUSCLE = 55
    TABLE = 56
    MESENTERIC_VESSEL = 57
    LYMPH_NODE = 58
    METAL = 59
    ANGIOMYOLIPOMA_FAT = 60
    LIVER_METASTASIS_2 = 61
    LIVER_METASTASIS_3 = 62
    LIVER_HCC_2 = 63
    LIVER_TUMOR_RIM = 64
    LIVER_TUMOR_RIM_2 = 65
    LIVER_TUMOR_CAPSULE = 66
    LIVER_TUMOR_NECROSIS = 67
    LIVER_TUMOR_NECROSIS_2 = 68
    LIVER_TUMOR_CALCIFICATION = 69
    LIVER_CYST = 70
    LIVER_HEMANGIOMA = 71
    LIVER_HEMANGIOMA_NODULE = 72


T = Tissue
LIVER_BENIGN_TISSUES = (T.LIVER_CYST, T.LIVER_HEMANGIOMA, T.LIVER_HEMANGIOMA_NODULE)
LIVER_TUMOR_TISSUES = (
    *(T.LIVER_METASTASIS, T.LIVER_METASTASIS_2, T.LIVER_METASTASIS_3, T.LIVER_HCC, T.LIVER_HCC_2, T.LIVER_TUMOR_RIM),
    *(T.LIVER_TUMOR_RIM_2, T.LIVER_TUMOR_CAPSULE, T.LIVER_TUMOR_NECROSIS, T.LIVER_TUMOR_NECROSIS_2),
    T.LIVER_TUMOR_CALCIFICATION,
)
_LABEL_TISSUES: dict[labels.Label, tuple[Tissue, ...]] = {
    labels.KIDNEY_LEFT: (T.KIDNEY_LEFT_CORTEX, T.KIDNEY_LEFT_MEDULLA),
    labels.KIDNEY_RIGHT: (T.KIDNEY_RIGHT_CORTEX, T.KIDNEY_RIGHT_MEDULLA),
    labels.KIDNEY_TUMOR: (
        *(T.TUMOR_CLEAR_CELL, T.TUMOR_PAPILLARY, T.TUMOR_CHROMOPHOBE),
        *(T.TUMOR_NECROSIS, T.TUMOR_CALCIFICATION, T.ANGIOMYOLIPOMA_FAT),
    ),
    labels.KIDNEY_CYST: (T.CYST, T.CYST_COMPLEX, T.CYST_SEPTUM),
    labels.LIVER: (T.LIVER, T.LIVER_VESSEL, *LIVER_BENIGN_TISSUES),
    labels.LIVER_TUMOR: LIVER_TUMOR_TISSUES,
    labels.SPLEEN: (T.SPLEEN,),
    labels.PANCREAS: (T.PANCREAS,),
    labels.BOWEL: (T.BOWEL_WALL, T.BOWEL_FLUID, T.BOWEL_CONTRAST, T.BOWEL_GAS, T.BOWEL_FAECES),
    labels.STOMACH: (T.STOMACH_WALL, T.STOMACH_FLUID, T.STOMACH_GAS),
    labels.AORTA: (T.AORTA,),
    labels.VENA_CAVA: (T.VENA_CAVA,),
    labels.BONE: (T.BONE_CORTEX, T.BONE_MARROW, T.LIMB_BONE, T.METAL),
    labels.MUSCLE: (T.MUSCLE, T.MUSCLE_STREAK, T.LIMB_MUSCLE),
    labels.LUNG: (T.LUNG, T.LUNG_VESSEL),
    labels.BLADDER: (T.BLADDER, T.BLADDER_WALL),
    labels.HEART: (T.HEART_WALL, T.HEART_BLOOD),
    labels.FAT: (T.FAT_SUBCUTANEOUS, T.FAT_VISCERAL, T.FAT_PERIRENAL),
}


def _label_table() -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for label, members in _LABEL_TISSUES.items():
        table[list(members)] = label.value
    return table


LABEL_OF_TISSUE: NDArray[np.uint8] = _label_table()
"""Label value of each of the 256 tissue values. As in KiTS, renal pelvis, stones and sinus fat are background,
cortex and medulla are kidney, and necrosis and calcification belong to the tumour. As in LiTS (Bilic et al., arXiv
1901.04056), cysts and haemangiomas belong to the liver."""

KIDNEY_TISSUES = _LABEL_TISSUES[labels.KIDNEY_LEFT] + _LABEL_TISSUES[labels.KIDNEY_RIGHT]
TUMOR_TISSUES = _LABEL_TISSUES[labels.KIDNEY_TUMOR]
CYST_TISSUES = _LABEL_TISSUES[labels.KIDNEY_CYST]


def tissue_names() -> dict[str, int]:
    """Return the value of every tissue by its lower-case name."""
    return {tissue.name.lower(): int(tissue) for tissue in Tissue}


def to_labels(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the label values (``hlfd.labels.PHANTOM_LABELS``) of an array of tissue values, same shape."""
    return LABEL_OF_TISSUE[tissue]
