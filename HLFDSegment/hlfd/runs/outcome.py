"""What a finished run leaves: the new package, how it compares on held-out cases, and where it is worse.

``result.json``::

    {"kind": "finetune" or "distil",         # of the latter few keys say much
     "project": path,                         # folder of the project, to which all paths are adapted when it was moved
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

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd.files import write_atomically, write_json, write_text
from hlfd.models.card import model_card
from hlfd.models.install import install
from hlfd.models.package import ModelPackage, file_sha256
from hlfd.models.registry import find, installed, next_version, user_models
from hlfd.runs.run import Run

CARD = "README.md"
WORSE_BY = 0.01
"""A Dice that fell by more than this is warned of."""


def register(run: Run) -> ModelPackage:
    """Add the new package of a finished run to the user's models and return it; a second time changes nothing.

    Where another model has its version already, it gets the next number: no earlier model is replaced.
    """
    package = find(str(run.result()["package"]))
    for entry in installed():
        if entry.name == package.name and not entry.problem:
            there = find(str(entry.folder), verify=False)
            if _weights(there) == _weights(package):
                return there
    if not (user_models() / package.name / package.version).exists():
        return install(package.folder)
    version = next_version(package.name, package.version.rpartition(".")[0])
    with tempfile.TemporaryDirectory(prefix="hlfd-register-") as scratch:
        return install(_renumbered(package, version, Path(scratch) / "package"))


def _weights(package: ModelPackage) -> dict[str, str]:
    """Return the checksums of what computes; the card names the version, and differs where all else is the same."""
    return {name: sum_ for name, sum_ in package.metadata["sha256"].items() if name != CARD}


def _renumbered(package: ModelPackage, version: str, folder: Path) -> Path:
    """Write a copy of a package with another version."""
    shutil.copytree(package.folder, folder)
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    description["version"] = version
    write_text(folder / CARD, model_card(description))
    description["sha256"][CARD] = file_sha256(folder / CARD)
    write_json(folder / "model.json", description)
    return folder


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
    out = out.expanduser().with_suffix(".zip")

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(package.folder.iterdir()):
                archive.write(path, f"{package.name}/{package.version}/{path.name}")

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
