"""Changes of what a written package says about itself; its networks stay."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd.models.card import model_card
from hlfd.models.install import put_in_place, write_error
from hlfd.models.package import ModelPackage, file_sha256, load_package


def add_quality(package: ModelPackage, quality: Mapping[str, Any]) -> ModelPackage:
    """Write ``quality`` into ``model.json`` and model card of a package, in one step, and return it verified.

    Raises ``OutputError`` when the folder cannot be written.
    """
    folder = package.folder
    try:
        with tempfile.TemporaryDirectory(prefix=".amend-", dir=folder.parent.parent) as scratch:
            staged = Path(scratch) / "package"
            shutil.copytree(folder, staged)
            description = json.loads((staged / "model.json").read_text(encoding="utf-8"))
            description["quality"] = dict(quality)
            (staged / "README.md").write_text(model_card(description), encoding="utf-8")
            description["sha256"]["README.md"] = file_sha256(staged / "README.md")
            (staged / "model.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
            load_package(staged)
            put_in_place(staged, folder)
    except OSError as error:
        raise write_error(folder, error) from error
    return load_package(folder)
