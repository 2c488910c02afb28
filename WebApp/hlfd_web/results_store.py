"""Finished results on disk: each in a folder below ``results`` of the data root, found again after a restart."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlfd.errors import InputError
from hlfd.files import output_error
from hlfd.inference.result import SegmentationResult
from hlfd.io import read_label_map, write_label_map
from hlfd_web.files import DataRoot, free_name
from HLFDSegmentLib.worker_engine import result_from_dict

LABELS, FACTS = "segmentation.seg.nrrd", "result.json"
_MAX_LISTED = 50


@dataclass(frozen=True)
class StoredResult:
    """One result: ``folder`` and ``source`` (its CT) are names in the data root; ``source`` may be "sample"."""

    folder: str
    title: str
    source: str
    series: str
    model: str
    made: float

    @property
    def when(self) -> str:
        """When it was made, in the server's time."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.made))


class ResultsStore:
    """Writes and lists results; what takes long may be called from any thread."""

    def __init__(self, root: DataRoot) -> None:
        self._root = root

    def new_folder(self, title: str) -> Path:
        """Make and return the folder of a new result, named after its CT and the time."""
        plain = re.sub(r"[^\w.+-]+", "_", title).strip("._")[:60] or "CT"
        folder = free_name(self._root.results, f"{plain}_{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            folder.mkdir()
        except OSError as error:
            raise output_error(folder, error) from error
        return folder

    def save(self, folder: Path, result: SegmentationResult, title: str, source: str, series: str = "") -> None:
        """Write labels and measurements; raises an ``OutputError`` where the disk refuses them."""
        write_label_map(result.label_map, folder / LABELS)
        facts = {"title": title, "source": source, "series": series, "made": time.time(), "result": result.to_dict()}
        try:
            (folder / f".{FACTS}").write_text(json.dumps(facts), encoding="utf-8")
            (folder / f".{FACTS}").replace(folder / FACTS)  # last: a folder with it is whole
        except OSError as error:
            raise output_error(folder, error) from error

    def list(self) -> list[StoredResult]:
        """Return the results, the latest first."""
        paths = sorted(self._root.results.glob(f"*/{FACTS}"), key=lambda path: path.stat().st_mtime, reverse=True)
        found = (self._read(path) for path in paths[:_MAX_LISTED])
        return [one for one in found if one is not None]

    def _read(self, path: Path) -> StoredResult | None:
        """Return what a file tells, None for one that another version or another hand wrote."""
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            texts = {key: str(facts[key]) for key in ("title", "source", "series")}
            model, made = f"{facts['result']['model']} {facts['result']['model_version']}", float(facts["made"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return StoredResult(folder=self._root.name_of(path.parent), model=model, made=made, **texts)

    def load(self, folder: str) -> SegmentationResult:
        """Return a result with its label map; raises an ``InputError`` for a folder that holds none."""
        path = self._root.resolve(folder)
        try:
            values: dict[str, Any] = json.loads((path / FACTS).read_text(encoding="utf-8"))["result"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f'"{folder}" holds no result.', "Choose another one.") from error
        return result_from_dict(values, read_label_map(path / LABELS))
