"""Pictures for the report: drawn by Slicer's own views in a process of their own, else plain overlays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path

import hlfd
from hlfd.errors import OutputError
from hlfd.events import CancelToken, OnEvent, Warn, ignore
from hlfd.report.content import Picture, Pictures, ReportInput

GROUP = "hlfd.pictures"
TIMEOUT_S = 240.0
_CAPTIONS = {"axial.png": "Axial", "coronal.png": "Coronal", "sagittal.png": "Sagittal", "surfaces.png": "Surfaces"}


def take_pictures(
    source: ReportInput, folder: Path, on_event: OnEvent = ignore, cancel: CancelToken | None = None
) -> Pictures:
    """Write pictures into ``folder`` (which exists) and return them.

    The module of the entry point group ``hlfd.pictures`` draws them with Slicer's rendering; where none is installed or
    it fails, plain overlays are drawn and the reason is kept in ``note``. Raises ``CancelledError``.
    """
    modules = _drawing_modules()
    note = "Slicer's rendering is not installed; add it with: pip install hlfd[slicer]."
    if modules:
        problem = _run(modules[0], source, folder, cancel)
        pictures = _read(folder)
        if not problem and pictures:
            return Pictures(pictures, "3D Slicer, off screen")
        note = f"Slicer's rendering failed: {problem or 'no picture was written'}"
        on_event(Warn(f"{note}; plain overlays were drawn instead."))
    from hlfd.report.overlay import draw_overlays

    try:
        return Pictures(draw_overlays(source.volume, source.result.label_map, folder), "HLFD, plain overlays", note)
    except RuntimeError as error:
        raise OutputError(f'The pictures cannot be written to "{folder}".', "Choose another folder.") from error


def _drawing_modules() -> list[str]:
    """Return the modules of the entry point group; Python 3.9 groups entry points in a mapping."""
    if sys.version_info >= (3, 10):
        return [entry.module for entry in entry_points(group=GROUP)]
    return [entry.value.partition(":")[0] for entry in entry_points().get(GROUP, ())]


def _run(module: str, source: ReportInput, folder: Path, cancel: CancelToken | None) -> str:
    """Run the module on the CT and its segmentation; return what went wrong, in a line, or nothing."""
    with tempfile.TemporaryDirectory(prefix="hlfd-pictures-") as scratch:
        volume, segmentation = _files(source, Path(scratch))
        files = ["--volume", str(volume), "--segmentation", str(segmentation), "--out", str(folder.resolve())]
        search = [str(Path(hlfd.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search)), "PYTHONUTF8": "1"}
        log = Path(scratch) / "log.txt"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *files],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                start_new_session=os.name == "posix",  # Ctrl-C reaches this process alone, which stops the other
            )
            problem = _wait(process, cancel)
        if problem or process.returncode == 0:
            return problem
        lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"it ended with code {process.returncode}"


def _files(source: ReportInput, scratch: Path) -> tuple[Path, Path]:
    """Return files of the CT and the segmentation that Slicer's side reads as they were read here."""
    from hlfd.io import write_label_map, write_volume

    volume, segmentation = source.source, source.segmentation
    if volume.is_dir() or volume.suffix.lower() in (".dcm", ".ima", ""):  # the choice of series was made already
        volume = scratch / "ct.nrrd"
        write_volume(source.volume, volume)
    if not segmentation.name.lower().endswith(".seg.nrrd"):
        segmentation = scratch / "segmentation.seg.nrrd"
        write_label_map(source.result.label_map, segmentation)
    return volume.resolve(), segmentation.resolve()


def _wait(process: subprocess.Popen[bytes], cancel: CancelToken | None) -> str:
    """Wait for the process; stop it when it takes too long, is cancelled or this process is interrupted."""
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while process.poll() is None:
            if cancel is not None:
                cancel.check()
            if time.monotonic() > deadline:
                return f"it took more than {TIMEOUT_S:.0f} s"
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return ""


def _read(folder: Path) -> tuple[Picture, ...]:
    try:
        listed = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))["pictures"]
        found = [Picture(folder / str(entry["file"]), str(entry["caption"])) for entry in listed]
    except (OSError, ValueError, KeyError, TypeError):
        found = [Picture(folder / name, caption) for name, caption in _CAPTIONS.items()]
    return tuple(picture for picture in found if picture.path.is_file())
