"""Where the files that ship with HLFD lie: model packages, recipes and the sample CT."""

from __future__ import annotations

from pathlib import Path

from hlfd.errors import ConfigError


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


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes for public data sets by name."""
    return {path.stem: path for path in sorted((resource_folder() / "HLFDSegment" / "Recipes").glob("*.yaml"))}


def find_recipe(name_or_path: str | Path) -> Path:
    """Return the file of a recipe: a path, or the name of one that ships; raise ``ConfigError`` where there is none."""
    path, shipped = Path(name_or_path).expanduser(), shipped_recipes()
    if path.exists():
        return path
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise ConfigError(f'There is no recipe "{name_or_path}".', f"Give a file, or one that ships: {', '.join(shipped)}.")
