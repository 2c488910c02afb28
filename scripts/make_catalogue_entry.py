"""Writes the entry of this extension for Slicer's Extensions Index (schema 1.0.2).

Usage: python scripts/make_catalogue_entry.py https://github.com/OWNER/HLFD HLFD.json
The address of the public repository is asked for because the entry is of no use without it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
_EXPERIMENTAL = 1


def entry(repository: str) -> dict[str, object]:
    """Return the entry; the same dependencies as ``EXTENSION_DEPENDS`` in CMakeLists.txt."""
    cmake = (Path(__file__).resolve().parents[1] / "CMakeLists.txt").read_text(encoding="utf-8")
    depends = re.search(r'set\(EXTENSION_DEPENDS "([^"]*)"\)', cmake)
    return {
        "$schema": SCHEMA,
        "build_dependencies": depends.group(1).split() if depends else [],
        "build_subdirectory": ".",
        "category": "Segmentation",
        "enabled": True,
        "scm_revision": "main",
        "scm_url": repository,
        "tier": _EXPERIMENTAL,
    }


def main(arguments: list[str]) -> int:
    """Write the entry to the file that is named."""
    if len(arguments) != 2 or not re.fullmatch(r"https://\S+/\S+", arguments[0]):
        sys.stderr.write(__doc__ or "")
        return 2
    Path(arguments[1]).write_text(json.dumps(entry(arguments[0]), indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
