"""Where the files that ship with HLFD lie: model packages and the sample CT."""

from __future__ import annotations

from pathlib import Path


def resource_folder() -> Path:
    """Return the folder of shipped files, of a wheel, a source checkout or a Slicer installation.

    A wheel carries them inside the package (``hlfd/resources``); in a checkout and in Slicer they are in
    ``Resources`` beside the package, as the extension's build copies them.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "resources"
    return inside if inside.is_dir() else package.parent / "Resources"


def bundled_models() -> Path:
    """Return the folder ``<name>/<version>/`` of the model packages that ship with HLFD; it may not exist."""
    return resource_folder() / "Models"


def sample_folder() -> Path:
    """Return the folder of the simulated sample CT and its exact truth; it may not exist."""
    return resource_folder() / "HLFDSegment" / "Samples"
