"""The simulated scan that the pipeline is measured on: 512x512x200 voxels, int16, .nii.gz."""

from __future__ import annotations

import os
from pathlib import Path

from hlfd.errors import MissingDependencyError
from hlfd.events import OnEvent, Stage, ignore

SHAPE = (200, 512, 512)
SPACING_MM = (0.7, 0.7, 1.5)
SEED = 7


def bench_scan(on_event: OnEvent = ignore) -> Path:
    """Return the scan's path, simulated once and kept in the user's cache folder.

    Raises ``MissingDependencyError`` when it has to be simulated and torch or scipy is missing.
    """
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("hlfd")) / "bench"
    path = folder / f"phantom-{SHAPE[2]}x{SHAPE[1]}x{SHAPE[0]}-{SEED}.nii.gz"
    if path.exists():
        return path
    on_event(Stage("simulate a scan of 512x512x200"))
    try:
        from hlfd.phantom import AnatomySettings, PhantomSettings, simulate
    except ImportError as error:
        raise MissingDependencyError(
            f"The scan to measure on cannot be simulated: {error}.",
            'Install "hlfd[train]", or name a scan with --scan.',
        ) from error
    from hlfd.io import write_volume

    settings = PhantomSettings(anatomy=AnatomySettings(spacing_mm=SPACING_MM, shape=SHAPE, missing_kidney="none"))
    volume, _labels = simulate(settings, SEED)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{os.getpid()}-{path.name}"
    write_volume(volume, temporary)
    temporary.replace(path)
    return path
