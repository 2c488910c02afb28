"""What a finished run leaves: the new package, how it compares on held-out cases, and where it is worse.

``result.json``::

    {"kind": "finetune" or "distil",         # of the latter few keys say much
     "package": path, "name": ..., "version": ..., "base": "kidney/0.2.0", "improved": bool or null, "steps": n,
     "flattered": bool,                       # so few cases that the scored ones also chose when to stop
     "worse": [sentence, ...],
     "rows": [{"case", "label", "dice_before", "dice_after", "surface_before", "surface_after",
               "volume_error_before_ml", "volume_error_after_ml"}, ...],
     "summary": {label: {"before": {"dice", "nsd_1mm", "nsd_2mm", "volume_error_ml"}, "after": {...}}},
     "predictions": {case: {"image", "reference", "before", "after"}},   # paths
     "seconds": of the whole run, "steps_planned": n}

A surface Dice is that at 1 mm; a number is null where a structure is in neither label map.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd.models.install import install
from hlfd.models.package import ModelPackage
from hlfd.models.registry import find
from hlfd.runs.run import Run

WORSE_BY = 0.01
"""A Dice that fell by more than this is warned of."""


def register(run: Run) -> ModelPackage:
    """Add the new package of a finished run to the user's models and return it; a second time changes nothing."""
    folder = Path(str(run.result()["package"]))
    return install(folder, overwrite=True)


def export(run: Run, target: str, out: Path) -> Path:
    """Write the new package for others: ``zip`` (for Import in HLFD Segment), or ``bundle``, ``onnx``, ``openvino``.

    All but ``zip`` need torch: call it in the worker, or use ``hlfd export``.
    """
    package = find(str(run.result()["package"]))
    if target == "zip":
        return write_zip(package, Path(out))
    from hlfd.models.export import export_package

    return export_package(package, target, Path(out))


def write_zip(package: ModelPackage, out: Path) -> Path:
    """Write a package as one zip file that ``hlfd models import`` takes; raises ``OutputError``."""
    from hlfd.files import write_atomically

    out = out.expanduser().with_suffix(".zip")
    root = package.folder.parents[1]
    base = str(package.folder.relative_to(root))

    def write(temporary: Path) -> None:
        made = shutil.make_archive(str(temporary.with_suffix("")) + "-zip", "zip", root, base)
        shutil.move(made, temporary)

    write_atomically(out, write)
    return out


def rows_of(cases: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per case and structure from the scores before and after."""
    rows = []
    for case, sides in cases.items():
        groups = {name: sides[name]["groups"] for name in ("before", "after")}
        for label in groups["before"]:
            row: dict[str, Any] = {"case": case, "label": label}
            for side, found in groups.items():
                values = found.get(label, {})
                known = not values.get("both_empty")
                row[f"dice_{side}"] = values.get("dice") if known else None
                row[f"surface_{side}"] = values.get("nsd_1mm") if known else None
                row[f"volume_error_{side}_ml"] = values.get("volume_error_ml") if known else None
            rows.append(row)
    return rows


def worse_in(rows: list[dict[str, Any]], summary: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Return a sentence for every structure, on the mean and in a single case, in which the new model is worse."""
    found = []
    for label, sides in summary.items():
        before, after = sides["before"].get("dice"), sides["after"].get("dice")
        if before is not None and after is not None and after < before - WORSE_BY:
            found.append(f"{_plain(label)}: mean Dice {before:.2f} before, {after:.2f} after.")
    for row in rows:
        before, after = row["dice_before"], row["dice_after"]
        if before is not None and after is not None and after < before - WORSE_BY:
            found.append(f"{_plain(row['label'])} in {row['case']}: Dice {before:.2f} before, {after:.2f} after.")
    return found


def _plain(label: str) -> str:
    return label.replace("_", " ").capitalize()
