"""What Slicer's Extensions Index and its build look at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MODULES = {"HLFDSegment": 5, "HLFDTrain": 2}  # and how many parameters its panel ties to widgets
ALLOWED = {"$schema", "build_dependencies", "build_subdirectory", "category", "enabled", "scm_revision"} | {
    *("scm_url", "scm_type", "tier", "dicom_support_rule")
}


def make_entry(*arguments: str) -> subprocess.CompletedProcess:
    script = str(PROJECT / "scripts" / "make_catalogue_entry.py")
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


def test_the_catalogue_entry_has_what_the_schema_asks_for(tmp_path):
    assert make_entry("https://github.com/somebody/HLFD", str(tmp_path / "HLFD.json")).returncode == 0
    entry = json.loads((tmp_path / "HLFD.json").read_text(encoding="utf-8"))
    assert set(entry) <= ALLOWED
    assert {"$schema", "category", "scm_url"} <= set(entry)
    assert entry["build_dependencies"] == ["PyTorch"]


@pytest.mark.parametrize("arguments", [(), ("HLFD", "HLFD.json")])
def test_a_catalogue_entry_needs_the_address_of_the_repository(arguments):
    done = make_entry(*arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr


def panel(module: str) -> ElementTree.Element:
    return ElementTree.parse(PROJECT / module / "Resources" / "UI" / f"{module}.ui").getroot()


@pytest.mark.parametrize("module", MODULES)
def test_the_panel_has_slicers_widget_on_top_and_names_that_are_unique(module):
    top = panel(module).find("widget")
    assert (top.get("class"), top.get("name")) == ("qMRMLWidget", module)
    names = [widget.get("name") for widget in top.iter("widget")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("module", MODULES)
def test_every_widget_that_a_person_can_use_says_what_it_does(module):
    silent = ("QLabel", "QProgressBar", "QPlainTextEdit", "QWidget", "qMRMLWidget", "ctkCollapsibleButton")
    usable = [widget for widget in panel(module).iter("widget") if widget.get("class") not in silent]
    told = [w.get("name") for w in usable if w.find("property[@name='toolTip']") is not None]
    assert [w.get("name") for w in usable if w.get("name") not in told] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_parameter_in_the_panel_is_one_of_the_parameter_node(module):
    source = (PROJECT / module / f"{module}UI" / "parameters.py").read_text(encoding="utf-8")
    named = [
        node.findtext("string") for node in panel(module).iter("property") if node.get("name") == "SlicerParameterName"
    ]
    assert len(named) == MODULES[module]
    assert [name for name in named if not re.search(rf"^    {name}: ", source, re.MULTILINE)] == []


@pytest.mark.parametrize("module", MODULES)
def test_the_module_file_is_metadata_and_wiring(module):
    lines = (PROJECT / module / f"{module}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert not [line for line in lines if re.match(r"(from|import) (hlfd|HLFD|numpy|torch)", line)]


def test_resources_of_the_modules_do_not_overwrite_each_other():
    """All modules of an extension are installed into one folder."""
    seen = [
        str(path.relative_to(PROJECT / module))
        for module in MODULES
        for path in (PROJECT / module).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    ]
    assert sorted(seen) == sorted(set(seen))
