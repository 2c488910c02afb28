"""The panel of the module: its sections, the logic behind them, and the timer that carries news between both."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from hlfd.config import SegmentSettings
from hlfd.errors import HlfdError, ModelError
from hlfd.events import Event
from HLFDSegmentLib.edits import edited_segments, remember_segments
from HLFDSegmentLib.report_export import store_result
from HLFDSegmentLib.segment_logic import Outputs, Segmented, SegmentLogic, State
from HLFDSegmentLib.worker_engine import WorkerEngine
from HLFDSegmentUI.batch_section import BatchSection
from HLFDSegmentUI.device_section import DeviceSection
from HLFDSegmentUI.dialogs import confirmed, errors_shown, show_error
from HLFDSegmentUI.feature_panel import FeatureSection
from HLFDSegmentUI.log_section import LogSection
from HLFDSegmentUI.model_section import ModelSection
from HLFDSegmentUI.parameters import Connection, SegmentParameters
from HLFDSegmentUI.results_section import ResultsSection
from HLFDSegmentUI.run_section import RunSection
from HLFDSegmentUI.setup_section import SetupSection

_POLL_MS = 20  # also gives Python's threads their turns: Slicer's event loop keeps the interpreter lock between ticks
_NOTICE_STYLE = "background: #fff3cd; color: #533f03; border: 1px solid #e0c97f; border-radius: 3px; padding: 6px;"


class SegmentPanel:
    """Works with the widgets ``ui`` of HLFDSegment.ui; ``requirements_file`` names the packages that are needed."""

    def __init__(self, ui: Any, requirements_file: Path) -> None:
        self._ui = ui
        self._connection: Connection | None = None
        self._probes: list[Any] = []
        self.engine = WorkerEngine(SegmentSettings())
        self.logic = SegmentLogic(slicer.mrmlScene, self.engine)
        self.logic.event.connect(self._on_event)
        self.logic.finished.connect(self._on_finished)
        self.logic.failed.connect(self._on_failed)
        self.logic.cancelled.connect(self._on_cancelled)
        self._timer = qt.QTimer(ui.HLFDSegment)  # with a parent: never deleted by Python, which may do so in any thread
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._on_tick)
        ui.noticeLabel.setStyleSheet(_NOTICE_STYLE)
        self._log = LogSection(ui, self.engine.jobs.log)
        self._run = RunSection(ui)
        self.results = ResultsSection(ui, self)
        self.model = ModelSection(ui, self._on_model)
        self.device = DeviceSection(ui, self._on_device)
        self.setup = SetupSection(ui, requirements_file, self.probe, self.engine.jobs.restart)
        self.batch = BatchSection(ui, lambda: self.engine.jobs, self._settings, self)
        self.features = FeatureSection(ui, self.engine, self._settings, self)
        ui.runButton.connect("clicked(bool)", self._on_run)
        ui.cancelButton.connect("clicked(bool)", self._on_cancel)
        ui.outputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.results.show)

    def close(self) -> None:
        """Stop all work and end the worker; called on module reload and exit."""
        self._timer.stop()
        self.disconnect_parameters()
        self.features.close()
        self.logic.close()

    def connect_parameters(self, node: Any) -> None:
        """Show the settings in a parameter node, and keep them there from now on."""
        if self._connection is None or self._connection.parameters.parameterNode is not node:
            self.disconnect_parameters()
            self._connection = Connection(SegmentParameters(node), self._ui, self._on_parameters)
        self._on_parameters()
        self.results.show(self._ui.outputSelector.currentNode())

    def disconnect_parameters(self) -> None:
        """Let go of the parameter node, before it is removed with its scene."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _parameters(self) -> Any:
        return self._connection.parameters if self._connection is not None else None

    def begin(self, text: str) -> None:
        """Note that work begins, and look for its news."""
        self.say(text)
        self._timer.start()

    def say(self, text: str) -> None:
        """Write a line into the log."""
        self._log.add(text)

    def end(self, text: str) -> None:
        """Note that work ended."""
        self.say(text)

    def use_model(self, key: str) -> None:
        """Segment with the model ``name/version`` from now on; it may have been installed a moment ago."""
        self.model.refresh()
        self.model.select(key)

    def probe(self) -> None:
        """Ask the worker what this machine has to compute with; it is then warm for the first click."""
        if self.setup.missing:
            self.device.say(_("Nothing can compute yet. Install what is missing in the section Setup."))
            return
        settings = self._settings_of_choice()
        if settings is not None:
            self._probes.append(self.engine.jobs.submit("probe", {"settings": asdict(settings)}))
            self._timer.start()

    def _settings_of_choice(self) -> SegmentSettings | None:
        choice = self.model.choice
        if choice is None or choice.problem:
            return None
        settings = SegmentSettings(model=choice.key, device=self.device.device)
        return replace(settings, min_confidence=0.0) if self._ui.doubtfulBox.checked else settings

    def _settings(self) -> SegmentSettings | None:
        """Return what to segment with, after installing what is missing; None when the person declines."""
        settings = self._settings_of_choice()
        if settings is None:
            problem = self.model.choice.problem if self.model.choice else _("No model is installed.")
            show_error(ModelError(problem, _("Choose another model, or import one from a file.")))
            return None
        return settings if self.setup.ensure() else None

    def _on_run(self, checked: bool = False) -> None:
        if self.logic.state is not State.IDLE:
            return
        with errors_shown(_("The segmentation could not be started.")):
            settings, target = self._settings(), self._ui.outputSelector.currentNode()
            if settings is None or (target is not None and not self._may_replace(target)):
                return
            self.engine.settings = settings
            volume = self._ui.inputSelector.currentNode()
            self.logic.start(volume, Outputs(target))
            self._run.show_running()
            self.begin(_("{name}: model {model}").format(name=volume.GetName(), model=settings.model))

    def _may_replace(self, segmentation_node: Any) -> bool:
        edited = edited_segments(segmentation_node)
        return not edited or confirmed(
            _('These segments of "{node}" were edited and will be replaced: {names}. Go on?').format(
                node=segmentation_node.GetName(), names=", ".join(edited)
            )
        )

    def _on_cancel(self, checked: bool = False) -> None:
        self._run.show_cancelling()
        self.logic.cancel()

    def _on_tick(self) -> None:
        self.logic.poll()
        self.engine.jobs.poll()
        self.batch.poll()
        self.features.poll()
        self.results.export.poll()
        self._look_at_probes()
        idle = self.logic.state is State.IDLE and not self.batch.running and not self.results.export.running
        idle = idle and not self.features.running
        if idle and not self._probes:
            self._timer.stop()

    def _look_at_probes(self) -> None:
        for job in [job for job in self._probes if job.finished]:
            latest = job is self._probes[-1]
            self._probes.remove(job)
            if latest and job.error is not None:
                self.device.say(job.error.message)
                self.say(str(job.error))
            elif latest and job.result:
                self.device.show(job.result)
            job.release()

    def _on_event(self, event: Event) -> None:
        text = self._run.show_event(event)
        if text:
            self.say(text)

    def _on_finished(self, segmented: Segmented) -> None:
        node, result = segmented.segmentation_node, segmented.result
        store_result(node, result)
        remember_segments(node)
        seconds = result.timing.get("total", 0.0)
        text = _("Done in {seconds:.1f} s on {device}.").format(seconds=seconds, device=result.device)
        self._run.show_idle(text)
        if self._ui.outputSelector.currentNode() is node:
            self.results.show(node)
        else:
            self._ui.outputSelector.setCurrentNode(node)
        _centre_3d_views()
        self.end(text)

    def _on_failed(self, error: HlfdError) -> None:
        self._run.show_idle(error.message)
        self.end(str(error))
        show_error(error)

    def _on_cancelled(self, reason: str) -> None:
        self._run.show_idle(reason)
        self.end(reason)

    def _on_model(self, key: str) -> None:
        if self._parameters is not None:
            self._parameters.model = key
        self.probe()

    def _on_device(self, device: str) -> None:
        if self._parameters is not None:
            self._parameters.device = device
        self.probe()

    def _on_parameters(self, caller: Any = None, event: Any = None) -> None:
        """Show the settings that have no widget tied to them."""
        if self._parameters is None:
            return
        if self.model.choice is None or self.model.choice.key != self._parameters.model:
            self.model.select(self._parameters.model)
        if self.device.device != self._parameters.device:
            self.device.select(self._parameters.device)


def _centre_3d_views() -> None:
    layout = slicer.app.layoutManager()  # None without a main window
    for index in range(layout.threeDViewCount if layout is not None else 0):
        layout.threeDWidget(index).threeDView().resetFocalPoint()
