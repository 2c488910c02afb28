"""Labels with colour and DICOM terminology, and the tables of values that the project writes.

Kidney values follow KiTS (1 kidney, 2 tumour, 3 cyst) with the right kidney as value 4, so that
"greater than 0", "equal to 2" and "equal to 3" mean the same as in a KiTS label map.
Terminology codes are SNOMED CT as in Slicer's "Segmentation category and type - DICOM master list".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Code = tuple[str, str, str]

_ANATOMY: Code = ("SCT", "123037004", "Anatomical Structure")
_MORPHOLOGY: Code = ("SCT", "49755003", "Morphologically Altered Structure")
_NEOPLASM: Code = ("SCT", "108369006", "Neoplasm")
_CYST: Code = ("SCT", "367643001", "Cyst")
_KIDNEY: Code = ("SCT", "64033007", "Kidney")
_LIVER: Code = ("SCT", "10200004", "Liver")
_LEFT: Code = ("SCT", "7771000", "Left")
_RIGHT: Code = ("SCT", "24028007", "Right")
_CONTEXT = "Segmentation category and type - DICOM master list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Terminology:
    """DICOM terminology of one segment; each code is (scheme, value, meaning)."""

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None

    def to_slicer(self) -> str:
        """Return the seven-field entry of Slicer's ``vtkSegment`` terminology tag."""

        def text(code: Code | None) -> str:
            return "^".join(code) if code else "^^"

        fields = [_CONTEXT, text(self.category), text(self.type), text(self.modifier)]
        return "~".join([*fields, _REGION_CONTEXT, text(self.region), "^^"])

    @classmethod
    def from_slicer(cls, entry: str) -> Terminology | None:
        """Read an entry as ``to_slicer`` writes it; None where it is malformed or lacks category or type."""

        def code(text: str) -> Code | None:
            parts = text.split("^")
            return (parts[0], parts[1], parts[2]) if len(parts) == 3 and parts[1] else None

        codes = [code(text) for text in entry.split("~")]
        if len(codes) != 7 or codes[1] is None or codes[2] is None:
            return None
        return cls(codes[1], codes[2], codes[3], codes[5])


@dataclass(frozen=True)
class Label:
    """One value of a label map: 1..255, a name, an RGB colour 0..255 and, where known, its terminology."""

    value: int
    name: str
    color: tuple[int, int, int]
    terminology: Terminology | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the label as it is written to ``model.json``."""
        terms = self.terminology
        codes = None if terms is None else {k: list(v) if v else None for k, v in vars(terms).items()}
        return {"value": self.value, "name": self.name, "color": list(self.color), "terminology": codes}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Label:
        """Read a label as ``to_dict`` writes it."""
        codes = data.get("terminology")
        pairs: dict[str, Any] = {name: tuple(code) if code else None for name, code in (codes or {}).items()}
        terms = Terminology(**pairs) if pairs else None
        return cls(int(data["value"]), str(data["name"]), tuple(data["color"]), terms)


KIDNEY_LEFT = Label(1, "left kidney", (185, 102, 83), Terminology(_ANATOMY, _KIDNEY, _LEFT))
KIDNEY_TUMOR = Label(2, "kidney tumor", (230, 60, 60), Terminology(_MORPHOLOGY, _NEOPLASM, None, _KIDNEY))
KIDNEY_CYST = Label(3, "kidney cyst", (205, 205, 100), Terminology(_MORPHOLOGY, _CYST, None, _KIDNEY))
KIDNEY_RIGHT = Label(4, "right kidney", (160, 120, 100), Terminology(_ANATOMY, _KIDNEY, _RIGHT))
LIVER = Label(5, "liver", (221, 130, 101), Terminology(_ANATOMY, _LIVER))
LIVER_TUMOR = Label(6, "liver tumor", (144, 60, 160), Terminology(_MORPHOLOGY, _NEOPLASM, None, _LIVER))


def _organ(value: int, name: str, color: tuple[int, int, int], code: str, meaning: str) -> Label:
    return Label(value, name, color, Terminology(_ANATOMY, ("SCT", code, meaning)))


SPLEEN = _organ(7, "spleen", (157, 108, 162), "78961009", "Spleen")
PANCREAS = _organ(8, "pancreas", (249, 180, 111), "15776009", "Pancreas")
BOWEL = _organ(9, "bowel", (205, 167, 142), "113276009", "Intestine")
STOMACH = _organ(10, "stomach", (216, 132, 105), "69695003", "Stomach")
AORTA = _organ(11, "aorta", (224, 97, 76), "15825003", "Aorta")
VENA_CAVA = _organ(12, "inferior vena cava", (0, 151, 206), "64131007", "Inferior vena cava")
BONE = _organ(13, "bone", (241, 214, 145), "272673000", "Bone")
MUSCLE = _organ(14, "muscle", (192, 104, 88), "71616004", "Skeletal muscle")
LUNG = _organ(15, "lung", (197, 165, 145), "39607008", "Lung")
BLADDER = _organ(16, "bladder", (222, 154, 132), "89837001", "Urinary bladder")
HEART = _organ(17, "heart", (206, 110, 84), "80891009", "Heart")
FAT = _organ(18, "fat", (230, 220, 70), "55603005", "Adipose tissue")

KIDNEY_LABELS = (KIDNEY_LEFT, KIDNEY_TUMOR, KIDNEY_CYST, KIDNEY_RIGHT)
LIVER_LABELS = (LIVER, LIVER_TUMOR)
PHANTOM_LABELS = (
    *KIDNEY_LABELS,
    *LIVER_LABELS,
    *(SPLEEN, PANCREAS, BOWEL, STOMACH, AORTA, VENA_CAVA, BONE, MUSCLE, LUNG, BLADDER, HEART, FAT),
)
