"""Feature maps of teacher and student in the scene, without blocking its application: start, poll, show, leave.

logic = FeatureLogic(scene, WorkerEngine(SegmentSettings(model="kidney")))
logic.event.connect(on_event)         # Stage, Progress, Warn
logic.glanced.connect(on_glanced)     # FeatureMaps of one layer pair around the tumor; the others follow
logic.finished.connect(on_finished)   # FeatureMaps: pairs, roles, kinds, channels, numbers
logic.failed.connect(on_failed)       # HlfdError
logic.cancelled.connect(on_cancelled)
logic.start(volume_node, {"region": -1})     # the fields of hlfd.viewer.FeatureRequest
timer -> logic.poll()
logic.show(Selection("e2", "pca"))    # any time after that: some milliseconds
logic.leave()                         # the user's layout again
logic.close()                         # on exit and module reload
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from hlfd.errors import HlfdError, InputError, UsageError
from hlfd.jobs import Job
from hlfd.jobs.job import State as JobState
from hlfd.viewer import GLANCE, PART_MM, FeatureRequest
from hlfd.volume import Volume
from HLFDSegmentLib.feature_layout import FeatureLayout
from HLFDSegmentLib.feature_maps import FeatureMaps, Map, Selection
from HLFDSegmentLib.feature_nodes import FeatureNodes
from HLFDSegmentLib.feature_numbers import FeatureNumbers
from HLFDSegmentLib.signals import Signal
from HLFDSegmentLib.volumes import volume_from_node
from HLFDSegmentLib.worker_engine import WorkerEngine

_REMOVED = "The input volume was removed from the scene, so the work was stopped."
_POLL_SECONDS = 0.02
DEFAULT_OPACITY = 0.6


class FeatureLogic:
    """Shows what the networks of ``engine.settings.model`` look at in a volume of ``scene``.

    Each start ends with exactly one of the signals ``finished(maps)``, ``failed(error)``, ``cancelled(reason)``, all
    emitted in the owner's thread from ``poll()``. Where no pairs are named, one pair of the part around the tumor is
    shown first (``glanced(maps)``); what comes next takes its place, and it stays where that fails or is cancelled.
    ``moved(position)`` tells the RAS position of the cross-hair, ``left()`` that the maps are gone.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, engine: WorkerEngine) -> None:
        self.event = Signal("event")
        self.glanced = Signal("maps")
        self.finished = Signal("maps")
        self.failed = Signal("error")
        self.cancelled = Signal("reason")
        self.moved = Signal("position")
        self.left = Signal()
        self.engine = engine
        self.scene = scene
        self.maps: FeatureMaps | None = None
        self.selection: Selection | None = None
        self.volume_node: slicer.vtkMRMLScalarVolumeNode | None = None
        self.layout = FeatureLayout(scene)
        self._nodes = FeatureNodes(scene)
        self._numbers = FeatureNumbers(scene)
        self._opacity, self._table = DEFAULT_OPACITY, ""
        self._numbers_of = ""
        self._shown: dict[str, Map] = {}
        self._job: Job | None = None
        self._kept: Job | None = None
        self._rest: tuple[dict[str, Any], Volume] | None = None  # what follows a glance
        self._glanced = False  # whether that is on its way
        self._reason = ""
        me = weakref.ref(self)  # a scene may outlive a logic that nobody closed

        def closing(caller: Any, event: str) -> None:
            logic = me()
            if logic is not None:
                logic._on_close()

        self._observer = scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, closing)

    @property
    def running(self) -> bool:
        """Whether the networks are at work."""
        return self._job is not None or self._glanced

    def start(
        self, volume_node: slicer.vtkMRMLScalarVolumeNode | None, request: Mapping[str, Any] | None = None
    ) -> None:
        """Begin to look at a volume; ``request`` has the fields of ``hlfd.viewer.FeatureRequest``.

        Raises ``UsageError`` while another look is taken, and at once what is wrong with volume or request.
        """
        if self.running:
            raise UsageError("The feature maps are still being made.", "Wait for them, or cancel first.")
        if volume_node is None or volume_node.GetScene() is not self.scene:
            raise InputError("No volume of this scene was chosen.", "Load a CT and choose it as input.")
        values = dict(request or {})
        wanted = FeatureRequest.of(values)
        volume = volume_from_node(volume_node, world=True)
        self._reason, self._glanced = "", False
        self.volume_node = volume_node
        if wanted.pairs or wanted.first:
            self._rest = None
            self._submit(values, volume)
        else:
            self._rest = values, volume
            self._submit({**values, **GLANCE, "part_mm": wanted.part_mm or PART_MM}, volume)

    def _submit(self, request: Mapping[str, Any], volume: Volume) -> None:
        settings = {"settings": asdict(self.engine.settings), "affine": volume.affine.tolist(), "name": volume.name}
        self._job = self.engine.jobs.submit("features", {**settings, "request": request}, {"volume": volume.array})

    def cancel(self, reason: str = "Cancelled by the user.") -> None:
        """Ask the work to stop; ``cancelled`` follows from ``poll()``."""
        if self.running and not self._reason:
            self._reason = reason
            if self._job is not None:
                self._job.cancel()

    def poll(self) -> bool:
        """Take in what the worker said, and return whether it is still at work."""
        if not self.running:
            return False
        if self.volume_node is None or self.volume_node.GetScene() is not self.scene:
            self.cancel(_REMOVED)
        if self._job is None:
            self._go_on()
        self.engine.jobs.poll()
        job = self._job
        if job is None:
            return False
        for event in job.take_events():
            self.event.emit(event)
        if job.finished:
            self._job = None
            self._conclude(job)
        return self.running

    def _go_on(self) -> None:
        """Begin what follows a glance; in a turn of its own, since copying a large volume takes a moment too."""
        if self._reason or self._rest is None or self.maps is None:
            self._end(self.cancelled, self._reason)
            return
        (request, volume), self._rest = self._rest, None
        same = {"region": self.maps.answer["region"], "around": self.maps.answer["around"]}
        try:
            self._submit({**request, **same}, volume)
        except HlfdError as error:
            self._end(self.failed, error)

    def _end(self, signal: Signal, news: Any) -> None:
        self._rest, self._glanced = None, False
        signal.emit(news)

    def wait(self, timeout: float | None = None) -> bool:
        """Poll until the work ends; return False if it did not within ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll():
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _conclude(self, job: Job) -> None:
        again, self._glanced = self._glanced, False
        if self._reason or job.state is JobState.CANCELLED:
            job.release()
            self._end(self.cancelled, self._reason or "Cancelled.")
            return
        if job.error is not None:
            job.release()
            self._end(self.failed, job.error)
            return
        self._forget()
        self._kept, self.maps = job, FeatureMaps(job.result, job.arrays)
        try:
            self._enter(self.maps, again)
        except HlfdError as error:
            self._end(self.failed, error)
            return
        self._glanced = self._rest is not None
        (self.glanced if self._glanced else self.finished).emit(self.maps)

    def _enter(self, maps: FeatureMaps, again: bool = False) -> None:
        """Show maps; ``again`` where the views show a glance already, and stay where the user moved them."""
        if not again:
            self.layout.enter(maps.roles)
            self.layout.follow_crosshair(self.moved.emit)
        for node in self._numbers.fill(maps):
            self._nodes.keep_together(node)
        pair = next((name for name in GLANCE["first"] if name in maps.pairs), maps.pairs[-1])
        self._numbers_of = ""
        self.show(self.selection if self._still_there(maps) else Selection(pair))
        if again:
            return
        for role in maps.roles:
            self._nodes.add_legend(role, self.layout.slice_node(role).GetID(), len(maps.roles))
        self.layout.look_at(maps.focus, maps.reach * 1.1)

    def _still_there(self, maps: FeatureMaps) -> bool:
        """Whether what was shown last can be shown of the new maps too."""
        chosen = self.selection
        return chosen is not None and chosen.pair in maps.pairs and chosen.kind in maps.kinds(chosen.pair)

    def show(self, selection: Selection) -> None:
        """Show another layer pair, kind of map or channel; raises ``UsageError`` for one that is not there."""
        maps = self._maps()
        found = {role: maps.map(role, selection) for role in maps.roles}
        self.selection, self._shown = selection, {}
        for role, shown in found.items():
            composite = self.layout.composite_node(role)
            node = None
            if shown is not None:
                self._shown[role] = shown
                node = self._nodes.show(role, shown, self._table)
            was_modifying = composite.StartModify()
            composite.SetBackgroundVolumeID(self.volume_node.GetID() if self.volume_node is not None else None)
            composite.SetForegroundVolumeID(node.GetID() if node is not None else None)
            composite.SetForegroundOpacity(self._opacity)
            composite.EndModify(was_modifying)
        if self._numbers_of != selection.pair:
            self._numbers.show(maps, selection.pair)
            self._numbers_of = selection.pair

    def show_channel(self, role: str, channel: int) -> None:
        """Show a channel of one network, and leave those of the others."""
        if self.selection is not None:
            channels = tuple({**dict(self.selection.channels), role: channel}.items())
            self.show(replace(self.selection, kind="channel", channels=channels))

    def set_opacity(self, opacity: float) -> None:
        """Set how much of the CT the maps cover, 0 to 1."""
        self._opacity = opacity
        for role in self._shown:
            self.layout.composite_node(role).SetForegroundOpacity(opacity)

    def set_color_table(self, name: str) -> None:
        """Show maps in the colours of ``name`` (see ``feature_colors``), "" for each kind's own."""
        self._table = name
        if self.selection is not None and self.maps is not None:
            self.show(self.selection)

    @property
    def shown(self) -> Mapping[str, Map]:
        """The maps that are shown, by role."""
        return self._shown

    @property
    def color_table(self) -> str:
        """The colour table that was chosen, "" for each kind's own."""
        return self._table

    @property
    def opacity(self) -> float:
        """How much of the CT the maps cover."""
        return self._opacity

    def values_at(self, position: NDArray[np.float64] | tuple[float, float, float]) -> dict[str, float]:
        """Return the value of each network's map at a RAS position in mm; those whose map ends before are left out."""
        found = {}
        for role, shown in self._shown.items():
            i, j, k = np.rint((np.linalg.inv(shown.affine) @ [*position, 1.0])[:3]).astype(int)
            inside = all(0 <= n < size for n, size in zip((k, j, i), shown.array.shape))
            if inside and shown.array.ndim == 3:
                found[role] = float(shown.array[k, j, i])
        return found

    def leave(self) -> None:
        """Restore the user's layout and take the viewer's nodes out of the scene; work that goes on is stopped."""
        self.cancel("The feature viewer was left.")
        self.layout.leave()
        self._nodes.remove()
        self._numbers.remove()
        self._forget()
        self.left.emit()

    def close(self) -> None:
        """Leave, and let go of scene and worker; for application exit and module reload."""
        self.cancel("The application is closing.")
        self.wait(2.0)
        self.leave()
        self.scene.RemoveObserver(self._observer)

    def _maps(self) -> FeatureMaps:
        if self.maps is None:
            raise UsageError("There are no feature maps yet.", "Start the feature viewer first.")
        return self.maps

    def _forget(self) -> None:
        self.maps, self._shown = None, {}
        if self._kept is not None:
            self._kept.release()
            self._kept = None

    def _on_close(self) -> None:
        self.cancel("The scene was closed; nothing was added.")
        self.leave()
        self.selection = self.volume_node = None
