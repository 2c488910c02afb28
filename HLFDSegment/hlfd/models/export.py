"""Export of an installed model package for other programs: a MONAI bundle, ONNX, or OpenVINO IR.

Importing this module needs no torch; exporting does.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hlfd import __version__
from hlfd.config import look_up
from hlfd.errors import DiskFullError, ModelError, OutputError
from hlfd.events import OnEvent, Stage, ignore
from hlfd.models.export_texts import export_readme, licence_text
from hlfd.models.install import put_in_place, write_error
from hlfd.models.package import ModelPackage, file_sha256

RECORD = "export.json"
"""What was exported and how: also the sign by which ``overwrite`` knows a folder as an export."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILED_WRITES = ("no space left", "file too large", "file write failed", "failed writing file", "iostream error")

Writer = Callable[[ModelPackage, Path, OnEvent], dict[str, Any]]


def _write_bundle(package: ModelPackage, folder: Path, on_event: OnEvent) -> dict[str, Any]:
    from hlfd.models.export_bundle import write_bundle

    return write_bundle(package, folder, on_event)


def _write_onnx(package: ModelPackage, folder: Path, on_event: OnEvent) -> dict[str, Any]:
    from hlfd.models.export_networks import write_onnx

    return write_onnx(package, folder, on_event)


def _write_openvino(package: ModelPackage, folder: Path, on_event: OnEvent) -> dict[str, Any]:
    from hlfd.models.export_networks import write_openvino

    return write_openvino(package, folder, on_event)


TARGETS: dict[str, Writer] = {"bundle": _write_bundle, "onnx": _write_onnx, "openvino": _write_openvino}


def export_package(
    package: ModelPackage, target: str, out: Path, overwrite: bool = False, on_event: OnEvent = ignore
) -> Path:
    """Write ``package`` for ``target`` (one of ``TARGETS``) as the new folder ``out``, complete or not at all.

    Beside the networks lie a model card (README.md), the licence, and ``export.json`` with what each network takes and
    gives and the largest difference of logits that was measured. Raises ``ConfigError`` for an unknown target,
    ``OutputError`` for a folder that is there already (``overwrite`` replaces an earlier export), ``DiskFullError``.
    """
    writer = TARGETS[look_up(target, list(TARGETS), "target of the export")]
    out = Path(out).expanduser().absolute()
    check_free(out, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as scratch:
            _write(writer, package, target, Path(scratch) / "export", out, on_event)
    except OSError as error:
        raise write_error(out.parent, error) from error
    return out


def _write(writer: Writer, package: ModelPackage, target: str, staged: Path, out: Path, on_event: OnEvent) -> None:
    """Write the export to ``staged`` and move it to ``out``; errors are told while the full disk is still full."""
    try:
        staged.mkdir()
        facts = writer(package, staged, on_event)
        on_event(Stage("describe"))
        write_record(package, target, staged, facts)
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        put_in_place(staged, out)
    except (OSError, RuntimeError) as error:
        raise _failure(out.parent, error) from error


def check_free(out: Path, overwrite: bool) -> None:
    """Raise ``OutputError`` unless ``out`` is new, an empty folder, or an export that may be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if overwrite and (out / RECORD).is_file():
        return
    if overwrite:
        raise OutputError(
            f'"{out}" is there already and is no export (it has no {RECORD}), so it is not replaced.',
            "Choose another folder.",
        )
    raise OutputError(f'"{out}" is there already.', "Choose a new folder, or add --overwrite to replace an export.")


def write_record(package: ModelPackage, target: str, folder: Path, facts: dict[str, Any]) -> None:
    """Write model card, licence and ``export.json`` into the export."""
    record = {
        "hlfd": __version__,
        "package": f"{package.name}/{package.version}",
        "target": target,
        "licence": package.licence,
        "notice": package.notice,
        "labels": [label.to_dict() for label in package.labels],
        **facts,
    }
    card = package.folder / "README.md"
    readme = export_readme(target, record, card.read_text(encoding="utf-8") if card.is_file() else "")
    place = folder / "docs" if target == "bundle" else folder
    place.mkdir(exist_ok=True)
    (place / "README.md").write_text(readme, encoding="utf-8")
    (folder / "LICENSE").write_text(licence_text(package, target), encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    record["sha256"] = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _failure(folder: Path, error: OSError | RuntimeError) -> OutputError | ModelError:
    """Return the error for the user; the exporters report a failed write in their own words."""
    words = str(error).lower()
    full = getattr(error, "errno", None) in _FULL or any(part in words for part in _FAILED_WRITES)
    if full or (folder.is_dir() and shutil.disk_usage(folder).free < 1 << 20):
        return DiskFullError(
            f'No space is left to write the export to "{folder}".', "Free some space or choose another folder."
        )
    if isinstance(error, OSError):
        return write_error(folder, error)
    return ModelError(f"The networks of the package cannot be exported: {str(error).splitlines()[0]}.", "Update torch.")
