"""Which values of a prediction are compared with which values of a reference.

Kidney groups are the hierarchical classes of KiTS: kidney with its masses, masses (tumour and cyst), tumour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from hlfd.errors import UsageError
from hlfd.labels import Label
from hlfd.volume import LabelMap

Groups = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""Name of the group -> (values of the prediction, values of the reference)."""

_TUMOR = ("tumor", "tumour", "lesion", "metast", "carcinoma", "cancer", "neoplasm")
_LESION_NAMES = (*_TUMOR, "mass", "cyst")
_KITS = {1: "kidney", 2: "kidney tumor", 3: "kidney cyst", 4: "kidney"}
_LITS = {1: "liver", 2: "liver tumor"}


def is_lesion_group(name: str) -> bool:
    """Return whether a group is one of lesions rather than of organs, by its name."""
    low = name.lower()
    return any(word in low for word in _LESION_NAMES) and "_and_" not in low


def _structure(label: Label, convention: dict[int, str]) -> str:
    """Return the side-free name of what a label marks; labels without a name follow the data set's convention."""
    name = label.name.lower()
    if name == f"label {label.value}":
        return convention.get(label.value, name)
    for organ, words in (("kidney", ("kidney", "renal")), ("liver", ("liver", "hepat"))):
        if any(word in name for word in words):
            kind = " tumor" if any(word in name for word in _TUMOR) else " cyst" if "cyst" in name else ""
            return organ + kind
    return name


def _structures(labels: tuple[Label, ...], convention: dict[int, str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = defaultdict(list)
    for label in labels:
        found[_structure(label, convention)].append(label.value)
    return {name: tuple(values) for name, values in found.items()}


def _convention(pred: LabelMap, ref: LabelMap) -> dict[int, str]:
    """Return what nameless values mean: those of LiTS beside a liver table without kidneys, else those of KiTS."""
    names = " ".join(label.name.lower() for label in (*pred.labels, *ref.labels))
    if "liver" in names and "kidney" not in names:
        return _LITS
    largest = max((int(m.array.max(initial=0)) for m in (pred, ref) if "kidney" not in names), default=0)
    return _KITS if largest <= 4 else {}


_HIERARCHY = {
    "kidney_and_masses": ("kidney", "kidney tumor", "kidney cyst"),
    "masses": ("kidney tumor", "kidney cyst"),
    "tumor": ("kidney tumor",),
    "liver_and_tumor": ("liver", "liver tumor"),
    "liver_tumor": ("liver tumor",),
}


def groups_for(pred: LabelMap, ref: LabelMap) -> Groups:
    """Return the groups to compare: by the names in the tables, sides merged, or by value where there are none.

    A group of ``_HIERARCHY`` is there when both tables know its organ and one of them its parts (a table without any
    label is an empty segmentation of it); other structures when both tables name them. Raises ``UsageError`` where the
    tables share nothing.
    """
    convention = _convention(pred, ref)
    in_pred, in_ref = _structures(pred.labels, convention), _structures(ref.labels, convention)
    groups: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name, parts in _HIERARCHY.items():
        organ = parts[0].split()[0]
        sides = tuple(tuple(v for part in parts for v in found.get(part, ())) for found in (in_pred, in_ref))
        known = all(not found or any(s.startswith(organ) for s in found) for found in (in_pred, in_ref))
        if known and any(sides):
            groups[name] = (sides[0], sides[1])
    covered = {part for parts in _HIERARCHY.values() for part in parts}
    for name in in_pred:
        if name in in_ref and name not in covered:
            groups[name.replace(" ", "_")] = (in_pred[name], in_ref[name])
    if not groups and (pred.labels or ref.labels):
        raise UsageError(
            f"The label maps share no structure: {sorted(in_pred)} and {sorted(in_ref)}.",
            "Name what to compare, for example --group kidney=1,2,3,4:2,3 (values of prediction, then of reference).",
        )
    return groups


def parse_group(text: str) -> tuple[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Read ``name=1,2,3:2,3``: values of the prediction, then of the reference (the same when left out).

    Raises ``UsageError`` for anything else.
    """
    name, _, sides = text.partition("=")
    pred, _, ref = sides.partition(":")
    try:
        values = tuple(tuple(int(v) for v in side.split(",")) for side in (pred, ref or pred))
    except ValueError:
        values = ()
    if not name or not values or not all(0 < v < 256 for side in values for v in side):
        raise UsageError(
            f'"{text}" is not a group; NAME=VALUES or NAME=VALUES:VALUES with values 1..255 was expected.',
            "Write for example kidney=1,2,3,4:2,3.",
        )
    return name, (values[0], values[1])
