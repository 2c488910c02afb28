"""One pipeline in a process of its own, so that its memory is its own: ``python -m hlfd.bench.child KIND ...``.

Arguments: ``ours`` or ``monai``, the package folder, the scan, the folder for the result. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from hlfd.bench.machine import peak_rss_mb
from hlfd.models.package import load_package


def run_ours(package: Path, scan: Path, folder: Path) -> None:
    """Read, segment and write with our pipeline in its default mode."""
    from hlfd.config import SegmentSettings
    from hlfd.inference import segment
    from hlfd.io import read_volume, write_label_map

    settings = SegmentSettings(device="cpu", backend="openvino")
    write_label_map(segment(read_volume(scan), load_package(package), settings).label_map, folder / "labels.nii.gz")


def run_monai(package: Path, scan: Path, folder: Path) -> None:
    """Read, segment and write with MONAI's defaults."""
    from hlfd.bench.reference import MonaiPipeline

    pipeline = MonaiPipeline(load_package(package).refiner)
    pipeline.save(pipeline.run(pipeline.load(scan)), folder)


def main(arguments: list[str]) -> None:
    """Run one pipeline and print its seconds and peak memory."""
    kind, *paths = arguments
    begin = time.perf_counter()
    {"ours": run_ours, "monai": run_monai}[kind](*(Path(path) for path in paths))
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - begin, "peak_rss_mb": peak_rss_mb()}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
