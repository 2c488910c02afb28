"""Setup: what is installed, what to do when something is missing, and a module that loads without any of it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

DESKTOP = Path(__file__).parent
MODULE = DESKTOP.parents[1] / "HLFDSegment"
IMPORT_S = 0.3


@pytest.fixture
def lacking(person, tmp_path, monkeypatch):
    """The panel of an installation in which one package is missing."""
    path = tmp_path / "requirements.txt"
    path.write_text("numpy>=1  # numpy: counts\nnot-there>=1.0  # not_there: is not there\n", encoding="utf-8")
    monkeypatch.setattr(person.panel.setup, "_file", path)
    person.panel.setup.refresh()
    return person


def test_everything_that_is_installed_is_listed_with_its_version(person):
    text = person.ui.setupLabel.text
    assert f"openvino: {importlib.metadata.version('openvino')}" in text
    assert not person.ui.installButton.enabled
    assert person.panel.setup.missing == []
    person.ui.setupSection.collapsed = False
    person.picture("panel-setup")


def test_what_is_missing_is_named_and_the_section_opens(lacking):
    assert "not-there: <b>not installed</b>" in lacking.ui.setupLabel.text
    assert not lacking.ui.setupSection.collapsed
    assert lacking.ui.installButton.enabled
    lacking.panel.probe()
    assert "section Setup" in lacking.ui.deviceLabel.text


def test_nothing_is_installed_or_started_without_consent(lacking):
    import qt

    lacking.load_ct()
    lacking.dialogs.answers = [qt.QMessageBox.Cancel]
    lacking.click(lacking.ui.runButton)
    assert "not-there>=1.0" in lacking.dialogs.shown[0]
    assert lacking.ui.runButton.enabled
    assert lacking.panel.logic.state.value == "idle"


def test_an_installation_goes_through_slicers_own_installer(lacking, monkeypatch):
    import qt
    import slicer

    asked = []
    monkeypatch.setattr(slicer.util, "pip_install", asked.append)
    lacking.dialogs.answers = [qt.QMessageBox.Ok]
    lacking.click(lacking.ui.installButton)
    assert asked == [["not-there>=1.0"]]
    assert "restart Slicer" in lacking.ui.setupHint.text


def test_after_an_installation_the_worker_begins_anew_once_it_is_free(lacking, monkeypatch):
    """Only a new process sees what was installed; one that works is not disturbed."""
    import qt
    import slicer

    jobs = lacking.panel.engine.jobs
    lacking.wait_until(lambda: jobs.worker_pid is not None and not lacking.panel._probes)
    before, asked = jobs.worker_pid, []
    lacking.panel._probes.append(jobs.submit("probe", {"settings": {}}))
    lacking.panel.say("a job runs")

    def install(specifiers: list[str]) -> None:
        asked.append(specifiers)
        lacking.panel.setup._file.write_text("numpy>=1  # numpy: counts\n", encoding="utf-8")

    monkeypatch.setattr(slicer.util, "pip_install", install)
    lacking.dialogs.answers = [qt.QMessageBox.Ok]
    lacking.click(lacking.ui.installButton)
    assert asked == [["not-there>=1.0"]]
    lacking.panel.begin("looks for news")
    lacking.wait_until(lambda: jobs.worker_pid not in (None, before))
    assert lacking.panel.setup.missing == []


def test_pytorch_comes_from_its_extension_alone(person):
    person.ui.torchButton.visible = True
    person.click(person.ui.torchButton)
    assert "extension PyTorch" in person.dialogs.shown[-1]


def run_bare(code: str) -> dict:
    """Run code in the stand-in, in a Python in which the libraries of the networks cannot be imported."""
    program = f"""
    import json, sys, time
    sys.path.insert(0, {str(DESKTOP)!r})
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("torch", "openvino", "monai", "safetensors", "scipy"):
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    sys.meta_path.insert(0, Absent())
    import standin
    standin.install()
    desktop = standin.Desktop()
    """
    lines = textwrap.dedent(program) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_module_loads_quickly_without_any_library_of_the_networks(standin):
    answer = run_bare(f"""
    from pathlib import Path
    begin, worked = time.perf_counter(), time.thread_time()
    module = desktop.load("HLFDSegment", Path({str(MODULE)!r}))
    wall, work = time.perf_counter() - begin, time.thread_time() - worked
    widget = module.widgetRepresentation().self()
    widget.enter()
    said = [widget.ui.deviceLabel.text, widget.ui.setupLabel.text]
    heavy = sorted({{"torch", "openvino", "monai"}} & set(sys.modules))
    print(json.dumps({{"wall": wall, "work": work, "said": said, "heavy": heavy}}))
    desktop.close()
    """)
    assert answer["heavy"] == []
    assert answer["work"] < IMPORT_S
    assert "section Setup" in answer["said"][0]
    assert "openvino: <b>not installed</b>" in answer["said"][1]


def test_the_module_works_without_a_main_window(standin):
    import slicer

    started = standin.Desktop(main_window=False)
    module = started.load("HLFDSegment", MODULE)
    widget = module.widgetRepresentation().self()
    widget.enter()
    assert slicer.app.layoutManager() is None
    assert widget.ui.runButton.text == "Segment kidney tumor"
    widget = module = None
    started.close()


def test_the_sample_ct_is_offered_and_its_checksum_fits(desktop, monkeypatch):
    import hashlib
    import types
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    import slicer

    offered = {}
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **facts: offered.update(facts))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    desktop.load("HLFDSegment", MODULE)
    slicer.app.startupCompleted.emit()
    path = Path(url2pathname(urlparse(offered["uris"]).path))
    assert offered["checksums"] == f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert Path(offered["thumbnailFileName"]).is_file()


def test_the_module_has_an_icon(desktop):
    module = desktop.load("HLFDSegment", MODULE)
    assert not module.icon.isNull()
