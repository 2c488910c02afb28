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
PANEL = PROJECT / "HLFDSegment" / "Resources" / "UI" / "HLFDSegment.ui"
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


def test_the_panel_has_slicers_widget_on_top_and_names_that_are_unique():
    top = ElementTree.parse(PANEL).getroot().find("widget")
    assert top.get("class") == "qMRMLWidget"
    names = [widget.get("name") for widget in top.iter("widget")]
    assert len(names) == len(set(names))


def test_every_parameter_in_the_panel_is_one_of_the_parameter_node():
    source = (PROJECT / "HLFDSegment" / "HLFDSegmentUI" / "parameters.py").read_text(encoding="utf-8")
    named = [
        node.findtext("string")
        for node in ElementTree.parse(PANEL).getroot().iter("property")
        if node.get("name") == "SlicerParameterName"
    ]
    assert len(named) == 4
    assert [name for name in named if not re.search(rf"^    {name}: ", source, re.MULTILINE)] == []


def test_the_module_file_is_metadata_and_wiring():
    lines = (PROJECT / "HLFDSegment" / "HLFDSegment.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert not [line for line in lines if re.match(r"(from|import) (hlfd|HLFD|numpy|torch)", line)]
