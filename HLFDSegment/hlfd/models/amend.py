"""Changes of what a written package holds beside the networks that segment; those stay bit for bit."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hlfd.errors import ModelError
from hlfd.models.card import model_card
from hlfd.models.install import put_in_place, write_error
from hlfd.models.package import ModelPackage, file_sha256, load_package


def add_quality(package: ModelPackage, quality: Mapping[str, Any]) -> ModelPackage:
    """Write ``quality`` into ``model.json`` and model card of a package, in one step, and return it verified.

    Raises ``OutputError`` when the folder cannot be written.
    """

    def change(description: dict[str, Any], _: Path) -> None:
        description["quality"] = dict(quality)

    return _amend(package, package.folder, change)


def limit_confidence(
    package: ModelPackage, share: float, version: str, scores: Mapping[str, Any] | None = None
) -> ModelPackage:
    """Write ``version`` of a package that leaves out lesions of less than ``share`` confidence; return it verified.

    ``scores`` on the test scans replace those of the limit before, which are dropped in any case. The package that was
    given stays. Raises ``ModelError`` where its confidence was not calibrated, the share is not one, or that version is
    there, and ``OutputError`` when it cannot be written.
    """
    if not (package.metadata.get("quality") or {}).get("confidence"):
        raise ModelError(f"The package {package.name} {package.version} gives no confidence.", "Name one that does.")
    if not 0 <= share <= 1:
        raise ModelError(f"The limit of confidence is {share}; a number from 0 to 1 was expected.")

    def change(description: dict[str, Any], _: Path) -> None:
        description["version"] = version
        description["quality"]["min_confidence"] = share
        description["metrics"].pop("simulated_test_cases", None)
        if scores is not None:
            description["metrics"]["simulated_test_cases"] = dict(scores)

    return _amend(package, _new_version(package, version), change)


def add_teacher(package: ModelPackage, donor: ModelPackage, version: str) -> ModelPackage:
    """Write ``version`` of a package, with the teacher of ``donor`` for the feature viewer, and return it verified.

    The package that was given stays. Raises ``ModelError`` where the donor has no teacher or one that sees or answers
    something else than the student, or where that version is there, and ``OutputError`` when it cannot be written.
    """
    teacher, student, target = donor.teacher, package.refiner, _new_version(package, version)
    if teacher is None:
        raise ModelError(f"The package {donor.name} {donor.version} has no teacher.", "Name one that has.")
    for name in ("spacing_mm", "windows", "classes"):
        if getattr(teacher, name) != getattr(student, name):
            raise ModelError(
                f"Teacher and student differ in {name}: {getattr(teacher, name)} and {getattr(student, name)}."
            )

    def change(description: dict[str, Any], folder: Path) -> None:
        told = json.loads((donor.folder / "model.json").read_text(encoding="utf-8"))
        shutil.copy(teacher.weights, folder / teacher.weights.name)
        description |= {"version": version, "teacher": told["teacher"]}
        origin = told["provenance"].get("networks", {}).get("teacher", {})
        networks = description["provenance"].setdefault("networks", {})
        networks["teacher"] = {**origin, "taken_from": f"{donor.name} {donor.version}"}
        measured = told["metrics"].get("teacher_validation_patches")
        if measured is not None:
            description["metrics"]["teacher_validation_patches"] = measured

    return _amend(package, target, change)


def export_again(package: ModelPackage, version: str) -> ModelPackage:
    """Write ``version`` of a package with its OpenVINO networks exported anew, for a graph that became quicker.

    Weights and all else stay. Needs torch and OpenVINO. Raises ``ModelError`` where a new graph does not give the
    network's logits or that version is there, and ``OutputError`` when it cannot be written.
    """
    from hlfd.models.export_networks import write_graph

    entries = {role: entry for role, entry in package.networks().items() if entry.openvino is not None}

    def change(description: dict[str, Any], folder: Path) -> None:
        description["version"] = version
        for role, entry in entries.items():
            write_graph(role, entry, folder)

    return _amend(package, _new_version(package, version), change)


def _new_version(package: ModelPackage, version: str) -> Path:
    target = package.folder.parent / version
    if target.exists():
        raise ModelError(f'"{target}" is there already.', "Choose another version.")
    return target


def _amend(package: ModelPackage, target: Path, change: Callable[[dict[str, Any], Path], None]) -> ModelPackage:
    """Put a copy of a package in place of ``target``, with its description and files as ``change`` leaves them."""
    try:
        with tempfile.TemporaryDirectory(prefix=".amend-", dir=package.folder.parent.parent) as scratch:
            staged = Path(scratch) / "package"
            shutil.copytree(package.folder, staged)
            description = json.loads((staged / "model.json").read_text(encoding="utf-8"))
            change(description, staged)
            (staged / "README.md").write_text(model_card(description), encoding="utf-8")
            files = sorted(path for path in staged.iterdir() if path.name != "model.json")
            description["sha256"] = {path.name: file_sha256(path) for path in files}
            (staged / "model.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
            load_package(staged)
            put_in_place(staged, target)
    except OSError as error:
        raise write_error(target, error) from error
    return load_package(target)
