"""Rules of the house that a person should not have to remember: imports, sizes, packaging lists."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ENGINE = PROJECT / "HLFDSegment" / "hlfd"
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
MEDIAN_FILE_LINES, MEDIAN_FUNCTION_LINES = 120, 12

# what may not be imported, by the folder that imports
FORBIDDEN = {
    "HLFDSegment/hlfd": "slicer vtk vtkmodules qt ctk trame trame_slicer HLFDSegmentLib HLFDSegmentUI hlfd_web",
    "HLFDSegment/HLFDSegmentLib": "qt ctk trame trame_slicer HLFDSegmentUI HLFDTrainLib HLFDTrainUI hlfd_web torch",
    "HLFDSegment/HLFDSegmentUI": "trame trame_slicer HLFDTrainLib HLFDTrainUI hlfd_web torch",
    "HLFDTrain/HLFDTrainUI": "trame trame_slicer hlfd_web torch",
    "HLFDTrain/HLFDTrainLib": "qt ctk trame trame_slicer HLFDTrainUI HLFDSegmentUI hlfd_web torch",
    "WebApp/hlfd_web/front": "slicer vtk vtkmodules trame trame_slicer wslink HLFDSegmentLib HLFDTrainLib numpy",
    "WebApp/hlfd_web": "qt ctk HLFDSegmentUI HLFDTrainUI torch",
}
TORCH_FREE = (
    *("hlfd", "hlfd.config", "hlfd.volume", "hlfd.errors", "hlfd.events", "hlfd.labels", "hlfd.io", "hlfd.preprocess"),
    *("hlfd.inference", "hlfd.inference.segmenter", "hlfd.models.registry", "hlfd.models.install", "hlfd.metrics"),
    *("hlfd.report", "hlfd.cli.main", "hlfd.data.check", "hlfd.project", "hlfd.project.suggest"),
)


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _product() -> list[Path]:
    folders = [PROJECT / name for name in ("HLFDSegment", "HLFDTrain", "WebApp") if (PROJECT / name).is_dir()]
    return [path for folder in folders for path in _sources(folder)]


def _imported(path: Path) -> set[str]:
    """Return the top-level names of all imports of a file, those inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def _functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("folder", [name for name in FORBIDDEN if (PROJECT / name).is_dir()])
def test_imports_run_one_way(folder):
    forbidden = set(FORBIDDEN[folder].split())
    wrong = {str(path.relative_to(PROJECT)): _imported(path) & forbidden for path in _sources(PROJECT / folder)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_nothing_changes_the_search_path_or_swallows_every_error():
    for path in _product():
        text = path.read_text(encoding="utf-8")
        assert "sys.path.insert" not in text, path
        assert not re.search(r"except Exception:\s*\n\s*pass", text), path


def test_one_module_file_per_slicer_module():
    for module in ("HLFDSegment", "HLFDTrain"):
        folder = PROJECT / module
        if (folder / "CMakeLists.txt").exists():
            assert [path.name for path in folder.glob("*.py")] == [f"{module}.py"]


def test_files_are_short():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _product()}
    long = {str(path.relative_to(PROJECT)): count for path, count in lines.items() if count > MAX_FILE_LINES}
    assert long == {}
    assert statistics.median(lines.values()) <= MEDIAN_FILE_LINES


def test_functions_are_short():
    found = [(path, name, length) for path in _product() for name, length in _functions(path)]
    assert [(str(p.relative_to(PROJECT)), n, length) for p, n, length in found if length > MAX_FUNCTION_LINES] == []
    assert statistics.median(length for _, _, length in found) <= MEDIAN_FUNCTION_LINES


def _prints(path: Path) -> bool:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print" for n in nodes)


def test_the_engine_prints_nothing():
    library = [path for path in _sources(ENGINE) if path.relative_to(ENGINE).parts[0] not in ("cli", "bench")]
    assert [str(path.relative_to(ENGINE)) for path in library if _prints(path)] == []


def test_modules_that_must_start_without_torch_do_so():
    imports = "; ".join(f"import {name}" for name in TORCH_FREE)
    code = f"import sys; {imports}; print(sorted({{'torch', 'monai', 'openvino', 'slicer', 'vtk'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def _listed(cmake: Path) -> set[str]:
    """Return the file names in the SCRIPTS and RESOURCES lists of a module's CMakeLists.txt."""
    text = re.sub(r"#.*", "", cmake.read_text(encoding="utf-8"))
    listed: set[str] = set()
    for body in re.findall(r"set\(\s*MODULE_PYTHON_(?:SCRIPTS|RESOURCES)\s(.*?)\)", text, re.DOTALL):
        listed |= {word.replace("${MODULE_NAME}", cmake.parent.name) for word in body.split()}
    return listed


@pytest.mark.parametrize("module", ["HLFDSegment", "HLFDTrain"])
def test_cmake_lists_every_file_that_is_installed(module):
    cmake = PROJECT / module / "CMakeLists.txt"
    if not cmake.exists():
        pytest.skip(f"{module} has no CMakeLists.txt yet")
    listed = {name if Path(name).suffix else f"{name}.py" for name in _listed(cmake)}
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=cmake.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    on_disk = {name for name in tracked if name and (cmake.parent / name).is_file()}
    expected = {name for name in on_disk if not name.startswith("Testing/") and Path(name).name != "CMakeLists.txt"}
    assert listed == expected
