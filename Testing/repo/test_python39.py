"""Slicer 5.8 runs Python 3.9: nothing newer is used where Slicer runs our code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for module in ("HLFDSegment", "HLFDTrain") for path in (ROOT / module).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    newer = [node.lineno for node in ast.walk(tree) if _newer(node)]
    assert not newer, f"zip(strict=...) or pairwise (Python 3.10) in lines {newer}"


def _newer(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name == "pairwise" or (name == "zip" and any(keyword.arg == "strict" for keyword in node.keywords))
