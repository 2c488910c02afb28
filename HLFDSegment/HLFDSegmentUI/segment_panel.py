"""The panel that segments: input, output, one button, progress."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from hlfd.errors import HlfdError
from hlfd.events import Event, Progress, Warn
from HLFDSegmentLib.process_engine import ProcessEngine
from HLFDSegmentLib.segment_logic import Outputs, Segmented, SegmentLogic

_POLL_MS = 50


class SegmentPanel:
    """Fills ``layout``; ``resource_path`` turns the name of a file in Resources into its path."""

    def __init__(self, layout: qt.QLayout, resource_path: Callable[[str], str]) -> None:
        self._resource_path = resource_path
        python = shutil.which("PythonSlicer") or sys.executable  # Slicer puts its interpreter on PATH
        self.logic = SegmentLogic(slicer.mrmlScene, ProcessEngine([python]))
        self.logic.finished.connect(self._on_finished)
        self.logic.failed.connect(self._on_failed)
        self.logic.cancelled.connect(lambda reason: self._show_running(False, reason))
        self.logic.event.connect(self._on_event)
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._on_timeout)
        self._build(layout)

    def close(self) -> None:
        """Stop the work."""
        self._timer.stop()
        self.logic.close()

    def _build(self, layout: qt.QLayout) -> None:
        section = ctk.ctkCollapsibleButton()
        section.text = _("Segment")
        layout.addWidget(section)
        form = qt.QFormLayout(section)
        self.input_selector = _selector("vtkMRMLScalarVolumeNode", _("Select a CT"))
        form.addRow(_("Input volume:"), self.input_selector)
        self.output_selector = _selector("vtkMRMLSegmentationNode", _("Create new segmentation"))
        form.addRow(_("Output segmentation:"), self.output_selector)
        self.run_button = qt.QPushButton(_("Segment kidney tumor"))
        self.run_button.connect("clicked(bool)", self._on_run)
        form.addRow(self.run_button)
        self.progress_bar = qt.QProgressBar()
        self.progress_bar.visible = False
        form.addRow(self.progress_bar)
        self.status_label = qt.QLabel("")
        self.status_label.wordWrap = True
        form.addRow(self.status_label)
        layout.addStretch(1)

    def _on_run(self, checked: bool = False) -> None:
        if self._timer.isActive():
            self.logic.cancel()
            self.status_label.text = _("Cancelling...")
            return
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be started.")):
            if self._ensure_requirements():
                self.logic.start(self.input_selector.currentNode(), Outputs(self.output_selector.currentNode()))
                self._show_running(True)

    def _on_timeout(self) -> None:
        self.logic.poll()

    def _on_finished(self, segmented: Segmented) -> None:
        lesions = len(segmented.result.lesions)
        self._show_running(False, _("Done. Lesions found: {count}.").format(count=lesions))
        self.output_selector.setCurrentNode(segmented.segmentation_node)

    def _on_failed(self, error: HlfdError) -> None:
        self._show_running(False, error.message)
        slicer.util.errorDisplay(f"{error.message}\n\n{error.remedy}", windowTitle=_("HLFD Segment"))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress) and event.total:
            self.progress_bar.setRange(0, 100)
            self.progress_bar.setValue(int(100 * event.done / event.total))
        elif isinstance(event, Warn):
            self.status_label.text = event.message

    def _show_running(self, running: bool, text: str = "") -> None:
        self.run_button.text = _("Cancel") if running else _("Segment kidney tumor")
        self.progress_bar.setRange(0, 0 if running else 100)  # 0..0 moves until the first percent is known
        self.progress_bar.visible = running
        self.status_label.text = text
        if running:
            self._timer.start()
        else:
            self._timer.stop()

    def _ensure_requirements(self) -> bool:
        """Install what the engine needs into Slicer after asking; return False if the user declines."""
        missing = missing_requirements(self._resource_path("HLFDSegment/requirements.txt"))
        if not missing:
            return True
        if not slicer.util.confirmOkCancelDisplay(_("Install {names} into Slicer?").format(names=", ".join(missing))):
            return False
        slicer.util.pip_install(missing)
        return True


def missing_requirements(path: str) -> list[str]:
    """Return the packages of a file of lines ``package>=version  # module it brings`` whose module is not there."""
    missing = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            package, _separator, module = line.partition("#")
            if package.strip() and importlib.util.find_spec(module.strip()) is None:
                missing.append(package.strip())
    return missing


def _selector(node_type: str, none_text: str) -> slicer.qMRMLNodeComboBox:
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = [node_type]
    selector.addEnabled = False
    selector.removeEnabled = False
    selector.noneEnabled = True
    selector.noneDisplay = none_text
    selector.setMRMLScene(slicer.mrmlScene)
    return selector
