"""Writes the lists of packaged files in the CMakeLists.txt of the modules from what is on disk.

A file that is not listed is silently left out of the extension. Usage: python scripts/update_cmake_lists.py [--check]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("HLFDSegment", "HLFDTrain")
SKIPPED_NAMES = {"CMakeLists.txt"}


def packaged_files(module: Path) -> tuple[list[str], list[str]]:
    """Return the Python files and all other files of a module folder, as sorted paths relative to it."""
    found = [
        path.relative_to(module)
        for path in module.rglob("*")
        if path.is_file() and path.name not in SKIPPED_NAMES and not _hidden(path.relative_to(module))
    ]
    scripts = sorted(path.as_posix() for path in found if path.suffix == ".py")
    return scripts, sorted(path.as_posix() for path in found if path.suffix != ".py")


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__pycache__")) for part in path.parts)


def with_lists(text: str, scripts: list[str], resources: list[str]) -> str:
    """Return the text of a CMakeLists.txt with both lists replaced."""
    for name, files in (("MODULE_PYTHON_SCRIPTS", scripts), ("MODULE_PYTHON_RESOURCES", resources)):
        lines = "".join(f"  {file}\n" for file in files)
        text, count = re.subn(rf"set\({name}\n.*?  \)\n", f"set({name}\n{lines}  )\n", text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"CMakeLists.txt has {count} lists {name}; one was expected.")
    return text


def main(arguments: list[str]) -> int:
    """Write the lists; with ``--check`` only return 1 where they differ from the disk."""
    stale = []
    for name in MODULES:
        path = ROOT / name / "CMakeLists.txt"
        before = path.read_text(encoding="utf-8")
        after = with_lists(before, *packaged_files(path.parent))
        if after != before:
            stale.append(path)
            if "--check" not in arguments:
                path.write_text(after, encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
