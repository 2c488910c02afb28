"""Segmenting a volume node without blocking its application: start, poll, cancel.

The engine runs in a worker thread on a copy of the image and never touches the scene; its result enters the scene
in ``poll()``, which the owner of the scene calls from its own thread (a QTimer in Slicer, asyncio in the browser
application, a loop in a script)::

    engine = WorkerEngine(SegmentSettings(model="kidney", device="auto"))  # HLFDSegmentLib.worker_engine
    logic = SegmentLogic(scene, engine)
    logic.event.connect(on_event)          # Stage(name), Progress(done, total, seconds_left), Warn(message)
    logic.finished.connect(on_finished)    # Segmented: segmentation_node, structures_table, lesions_table, result
    logic.failed.connect(on_failed)        # HlfdError: code, message, remedy
    logic.cancelled.connect(on_cancelled)  # a sentence that says why
    engine.settings = SegmentSettings(...)  # read at the next start
    logic.start(volume_node, Outputs(segmentation_node=None, surfaces=True, tables=True))
    timer -> logic.poll()                  # at most some milliseconds; returns State.IDLE when nothing runs
    logic.cancel()                         # ``cancelled`` follows within a second
    logic.close()                          # on exit and module reload: cancels, and ends the engine's process

What else runs in the engine's process: ``job = engine.jobs.submit("probe", {"model": "kidney"})``, then
``engine.jobs.poll()`` from the same timer until ``job.finished``; ``job.result`` tells devices and versions.
``engine.jobs.log()`` is the text of what the process printed.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import slicer
from numpy.typing import NDArray

from hlfd.errors import CancelledError, HlfdError, InputError, UsageError
from hlfd.events import CancelToken, OnEvent, Stage, Warn
from hlfd.inference.result import SegmentationResult
from hlfd.volume import Volume
from HLFDSegmentLib.label_arrays import Part, labelled_part
from HLFDSegmentLib.nodes import place_beside, remove_nodes
from HLFDSegmentLib.segmentations import segmentation_from_label_map
from HLFDSegmentLib.signals import Signal
from HLFDSegmentLib.surfaces import Surface, Surfaces, closed_surfaces
from HLFDSegmentLib.tables import find_table, lesions_table, structures_table
from HLFDSegmentLib.volumes import node_affine, volume_from_node

_REMOVED = "The input volume was removed from the scene; nothing was added."
_POLL_SECONDS = 0.02
_TURN_SECONDS = 0.001  # gives other threads their turn: Slicer's event loop may keep the interpreter lock


class Engine(Protocol):
    """Anything that segments a volume: ``WorkerEngine``, or ``hlfd.inference.Segmenter`` in the process itself.

    It may have ``surfaces(labels, affine, values, cancel)`` like ``WorkerEngine``, and ``close()``.
    """

    def run(self, volume: Volume, on_event: OnEvent, cancel: CancelToken) -> SegmentationResult:
        """Segment; report by ``on_event`` and stop with ``CancelledError`` soon after ``cancel`` is set."""
        ...


class State(Enum):
    """What the logic is doing."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"


@dataclass(frozen=True)
class Outputs:
    """What to make: ``segmentation_node`` is updated if given, else a new one is added."""

    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None
    surfaces: bool = True
    tables: bool = True


@dataclass(frozen=True)
class Segmented:
    """The nodes of a finished run and the engine's result; tables are None when they were not asked for."""

    segmentation_node: slicer.vtkMRMLSegmentationNode
    structures_table: slicer.vtkMRMLTableNode | None
    lesions_table: slicer.vtkMRMLTableNode | None
    result: SegmentationResult


@dataclass(frozen=True)
class _Made:
    """All that costs time, made outside of the scene."""

    result: SegmentationResult
    part: Part
    surfaces: Surfaces | None


@dataclass
class _Run:
    engine: Engine
    volume_node: slicer.vtkMRMLScalarVolumeNode
    volume: Volume
    affine: NDArray[np.float64]
    outputs: Outputs
    cancel: CancelToken
    reason: str = ""
    thread: threading.Thread | None = None

    def make(self, report: OnEvent) -> _Made:
        """Run the engine; called in any thread, touches no node."""
        result = self.engine.run(self.volume, report, self.cancel)
        self.cancel.check()
        part = labelled_part(result.label_map)
        surfaces = self._make_surfaces(part, report) if self.outputs.surfaces else None
        self.cancel.check()
        return _Made(result, part, surfaces)

    def _make_surfaces(self, part: Part, report: OnEvent) -> Surfaces | None:
        report(Stage("surfaces"))
        shift = np.eye(4)
        shift[:3, 3] = part.start[::-1]
        make = getattr(self.engine, "surfaces", _surfaces_here)
        try:
            made = make(part.array, self.affine @ shift, sorted(part.values), self.cancel)
        except CancelledError:
            raise
        except HlfdError as error:  # the labels are worth having without
            report(Warn(f"The surfaces for the 3-D view could not be made: {error}"))
            return None
        return Surfaces(self.affine, made)


class SegmentLogic:
    """Runs one segmentation at a time for the nodes of ``scene``.

    Signals, all emitted in the owner's thread: ``started()``, ``event(event)`` with the engine's events,
    ``finished(segmented)``, ``failed(error)`` with an ``HlfdError``, ``cancelled(reason)``. Each start ends with
    exactly one of the last three, and then the state is already ``IDLE``. A run that fails or is cancelled, also by
    closing the scene or removing the input, leaves no new node.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, engine: Engine) -> None:
        self.started = Signal()
        self.event = Signal("event")
        self.finished = Signal("segmented")
        self.failed = Signal("error")
        self.cancelled = Signal("reason")
        self.engine = engine
        self._scene = scene
        self._run: _Run | None = None
        self._messages: queue.SimpleQueue = queue.SimpleQueue()

    @property
    def state(self) -> State:
        """Whether a run is in progress, and whether it was asked to stop."""
        if self._run is None:
            return State.IDLE
        return State.CANCELLING if self._run.cancel.cancelled else State.RUNNING

    def start(self, volume_node: slicer.vtkMRMLScalarVolumeNode, outputs: Outputs | None = None) -> None:
        """Begin to segment the volume in a worker thread; ``poll()`` brings the result.

        Raises ``UsageError`` while another run is in progress, and at once what is wrong with the volume.
        """
        run = self._begin(volume_node, outputs)
        self._messages = queue.SimpleQueue()  # a thread that was left behind keeps its own
        run.thread = threading.Thread(target=_work, args=(run, self._messages.put), name="hlfd-segment", daemon=True)
        run.thread.start()
        self.started.emit()

    def run_blocking(self, volume_node: slicer.vtkMRMLScalarVolumeNode, outputs: Outputs | None = None) -> Segmented:
        """Segment in the caller's thread and return the nodes, or raise the ``HlfdError``; for scripts."""
        run = self._begin(volume_node, outputs)
        self.started.emit()
        try:
            segmented = self._apply(run, run.make(self.event.emit))
        except CancelledError as error:
            self._end()
            self.cancelled.emit(error.message)
            raise
        except Exception as error:  # engines and VTK raise anything, and every start ends with a signal
            self._end()
            known = _known(error)
            self.failed.emit(known)
            raise known from error
        except BaseException:
            self._end()  # Ctrl-C in a script
            raise
        self._end()
        self.finished.emit(segmented)
        return segmented

    def cancel(self, reason: str = "Cancelled by the user.") -> None:
        """Ask the run to stop; ``cancelled`` follows from ``poll()``. Nothing happens when idle."""
        if self._run is not None and not self._run.cancel.cancelled:
            self._run.reason = reason
            self._run.cancel.cancel()

    def poll(self) -> State:
        """Emit what the worker reported, put a finished result into the scene, and return the state."""
        if self._run is None or self._run.thread is None:
            return self.state
        if self._run.volume_node.GetScene() is not self._scene:
            self.cancel(_REMOVED)
        time.sleep(_TURN_SECONDS)
        while self._run is not None:
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                break
            if isinstance(message, (_Made, BaseException)):
                self._conclude(message)
                break
            self.event.emit(message)
        return self.state

    def wait(self, timeout: float | None = None) -> bool:
        """Poll until the run ends; return False if it did not within ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is not State.IDLE:
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def close(self, timeout: float = 5.0) -> bool:
        """Cancel, wait for the run, and end the engine's process, for application exit and module reload.

        Returns False if the run does not stop within ``timeout`` seconds.
        """
        self.cancel("The application is closing.")
        stopped = self.wait(timeout)
        end_process = getattr(self.engine, "close", None)
        if end_process is not None:
            end_process()
        return stopped

    def _begin(self, volume_node: slicer.vtkMRMLScalarVolumeNode | None, outputs: Outputs | None) -> _Run:
        if self._run is not None:
            raise UsageError("A segmentation is still running.", "Wait for it, or cancel it first.")
        if volume_node is None or volume_node.GetScene() is not self._scene:
            raise InputError("No volume of this scene was chosen.", "Load a CT and choose it as input.")
        volume = volume_from_node(volume_node, world=True)  # where the user sees it: sides and positions agree
        own = node_affine(volume_node)
        self._run = _Run(self.engine, volume_node, volume, own, outputs or Outputs(), CancelToken())
        return self._run

    def _end(self) -> None:
        self._run = None

    def _conclude(self, outcome: _Made | BaseException) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        if run.thread is not None:
            run.thread.join()
        if isinstance(outcome, CancelledError) or run.cancel.cancelled:
            self.cancelled.emit(run.reason or str(outcome))
            return
        if isinstance(outcome, _Made):
            try:
                segmented = self._apply(run, outcome)
            except Exception as error:  # VTK and slots raise anything, and every start ends with a signal
                self.failed.emit(_known(error))
                return
            self.finished.emit(segmented)
        else:
            self.failed.emit(_known(outcome))

    def _apply(self, run: _Run, found: _Made) -> Segmented:
        target = run.outputs.segmentation_node
        if target is not None and target.GetScene() is not self._scene:
            target = None  # removed during the run: the result goes into a new one
        self.event.emit(Stage("scene"))
        made: list[slicer.vtkMRMLNode] = []
        try:
            node = segmentation_from_label_map(
                *(self._scene, found.result.label_map, run.volume_node, target),
                part=found.part,
                surfaces=found.surfaces,
            )
            if target is None:
                made.append(node)
            tables = self._add_tables(run, node, found.result, made) if run.outputs.tables else (None, None)
        except Exception:  # whatever it was: a run that fails leaves no new node
            remove_nodes(self._scene, *made)
            raise
        structures, lesions = tables
        return Segmented(node, structures, lesions, found.result)

    def _add_tables(
        self,
        run: _Run,
        node: slicer.vtkMRMLSegmentationNode,
        result: SegmentationResult,
        made: list[slicer.vtkMRMLNode],
    ) -> tuple[slicer.vtkMRMLTableNode, slicer.vtkMRMLTableNode]:
        tables = []
        for kind, write in (("structures", structures_table), ("lesions", lesions_table)):
            is_new = find_table(self._scene, kind, node) is None
            table = write(self._scene, result, node, f"{run.volume_node.GetName()} {kind}")
            if is_new:
                made.append(table)
                place_beside(self._scene, table, run.volume_node)
            tables.append(table)
        return tables[0], tables[1]


def _work(run: _Run, report: Callable[[object], None]) -> None:
    try:
        report(run.make(report))
    except BaseException as error:  # the thread ends here; poll() tells it in the owner's thread
        report(error)


def _surfaces_here(
    labels: NDArray[np.uint8], affine: NDArray[np.float64], values: list[int], cancel: CancelToken
) -> dict[int, Surface]:
    return closed_surfaces(labels, affine, values, cancel=cancel)


def _known(error: BaseException) -> HlfdError:
    if isinstance(error, HlfdError):
        return error
    logging.getLogger(__name__).error("Unexpected error while segmenting", exc_info=error)
    known = HlfdError(
        f"The segmentation stopped with an unexpected {type(error).__name__}: {error}.",
        "See the application log, and report it with that log.",
    )
    known.__cause__ = error
    return known
