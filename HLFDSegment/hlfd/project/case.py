"""One case of a project, as its ``case.json`` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hlfd.errors import DamagedInputError

SCHEMA = 1
CASE_FILE = "case.json"
ROLES = ("train", "validation", "test", "unused")
"""What a case is for: learnt from, used to choose when to stop, only scored, or left out."""


@dataclass(frozen=True)
class CaseInfo:
    """One case: shape (k, j, i), spacing (i, j, k) in mm, ml per label name, its files, and where it came from.

    ``affine`` is the IJK->RAS matrix of the image as rows; ``added`` and ``updated`` are UTC times in ISO 8601;
    ``checksums`` holds the SHA-256 of the files (``image``, ``label``) and of the image's voxels (``voxels``).
    """

    id: str
    title: str
    role: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: tuple[tuple[float, ...], ...]
    volumes_ml: dict[str, float]
    source: dict[str, str]
    added: str
    updated: str
    image: Path
    label: Path
    thumbnail: Path
    checksums: dict[str, str] = field(default_factory=dict)

    @property
    def caption(self) -> str:
        """What a list shows: the title, else the identifier."""
        return self.title or self.id

    def to_dict(self) -> dict[str, Any]:
        """Return the case as ``case.json`` and worker answers hold it; files as names without their folder."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        files = {name: getattr(self, name).name for name in ("image", "label", "thumbnail")}
        return {"schema": SCHEMA, **plain, **files}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], folder: Path) -> CaseInfo:
        """Read what ``to_dict`` wrote for the case in ``folder``; raise ``DamagedInputError`` where it lacks a part."""
        try:
            k, j, i = (int(n) for n in data["shape"])
            x, y, z = (float(mm) for mm in data["spacing_mm"])
            return cls(
                id=str(data["id"]),
                title=str(data["title"]),
                role=str(data["role"]),
                shape=(k, j, i),
                spacing_mm=(x, y, z),
                affine=tuple(tuple(float(v) for v in row) for row in data["affine"]),
                volumes_ml={str(name): float(ml) for name, ml in data["volumes_ml"].items()},
                source={str(key): str(value) for key, value in data["source"].items()},
                added=str(data["added"]),
                updated=str(data["updated"]),
                image=folder / str(data["image"]),
                label=folder / str(data["label"]),
                thumbnail=folder / str(data["thumbnail"]),
                checksums={str(key): str(value) for key, value in data["checksums"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedInputError(
                f'"{folder / CASE_FILE}" lacks or misstates {error}.', "Remove the case and add it again."
            ) from error
