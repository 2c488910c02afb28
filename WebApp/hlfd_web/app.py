"""One session: its scene, its page, and the context that all panels share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from trame.app import get_server
from trame_server.utils.asynchronous import create_task
from trame_slicer.core import SlicerApp

from hlfd.jobs import Jobs
from hlfd_web.notices import Notices
from hlfd_web.panel import Panel, panel_types
from hlfd_web.results_store import ResultsStore
from hlfd_web.views import Views
from hlfd_web.views_tools import ViewTools
from HLFDSegmentLib.segment_logic import SegmentLogic
from HLFDSegmentLib.signals import Signal
from HLFDSegmentLib.worker_engine import WorkerEngine

if TYPE_CHECKING:
    from hlfd_web.files import DataRoot

TICK_S = 0.05


class Context:
    """What the panels of one session share.

    ``server``, ``state``, ``ctrl`` of trame; ``slicer_app`` with its ``scene``; ``data_root``, through which every
    path goes that the browser names; ``folder``, private to this session and removed with it; ``device`` to compute
    on, such as auto; ``views`` and the ``tools`` that change them; ``notices``; ``results``, the finished ones on disk;
    ``panels`` by name.

    ``volume_node`` and ``segmentation_node`` are what is shown. ``on_change()`` is emitted when either is another one,
    or when the segments inside changed, by whoever calls ``changed()``.
    """

    def __init__(self, server: Any, data_root: DataRoot, folder: Path, device: str = "auto") -> None:
        from hlfd_web.ui.viewport import slice_ui, three_d_ui

        self.server, self.state, self.ctrl = server, server.state, server.controller
        self.data_root, self.folder, self.device = data_root, folder, device
        self.on_change = Signal()
        self.volume_node: slicer.vtkMRMLScalarVolumeNode | None = None
        self.segmentation_node: slicer.vtkMRMLSegmentationNode | None = None
        self.panels: dict[str, Panel] = {}
        self._polled: list[Callable[[], Any]] = []
        self.results = ResultsStore(data_root)
        self.notices = Notices(self.state, self.ctrl, str(data_root.folder), str(folder))
        self.slicer_app = SlicerApp()
        self.scene = self.slicer_app.scene
        self.views = Views(server, self.slicer_app, slice_ui(self), three_d_ui(self))
        self.tools = ViewTools(self)

    @cached_property
    def engine(self) -> WorkerEngine:
        """The engine in its warm worker process; made, but not started, with the first use."""
        return WorkerEngine(jobs=self.jobs)

    @cached_property
    def jobs(self) -> Jobs:
        """The client of the worker, whose files go with the session's folder; it is polled by the session."""
        return Jobs(folder=self.folder, packages=["HLFDSegmentLib"])

    @cached_property
    def segment(self) -> SegmentLogic:
        """The one logic that segments in this session; it is polled by the session."""
        return SegmentLogic(self.scene, self.engine)

    def every(self, poll: Callable[[], Any]) -> None:
        """Call ``poll`` about 20 times a second from now on, in the thread of the scene.

        It must return within milliseconds; what it sets in the state reaches the page. An error that it raises is
        shown as a notice.
        """
        if poll not in self._polled:
            self._polled.append(poll)

    def no_more(self, poll: Callable[[], Any]) -> None:
        """Stop calling ``poll``."""
        if poll in self._polled:
            self._polled.remove(poll)

    def tick(self) -> None:
        """Poll once: the worker, the segmentation, and whatever asked for it."""
        with self.state:
            for poll in (*self._own_polls(), *self._polled):
                with self.notices.shown():
                    poll()

    def show_volume(self, volume_node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Show another volume, or none, in all views; the segmentation that is shown is let go when it is not its."""
        self.volume_node = volume_node
        self.views.background(volume_node)
        own = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        node = self.segmentation_node
        if node is not None and (volume_node is None or node.GetNodeReference(own) is not volume_node):
            node.GetDisplayNode().SetVisibility(False)
            self.segmentation_node = None
        self.changed()

    def show_segmentation(self, segmentation_node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show another segmentation, or none, and hide the one before."""
        before, self.segmentation_node = self.segmentation_node, segmentation_node
        for node, shown in ((before, False), (segmentation_node, True)):
            if node is not None and node.GetScene() is self.scene:
                node.CreateDefaultDisplayNodes()
                node.GetDisplayNode().SetVisibility(shown)
        self.changed()

    def changed(self) -> None:
        """Say that the volume, the segmentation or what is in it changed."""
        self.on_change.emit()

    def open_panel(self, name: str) -> None:
        """Open the drawer at a panel, such as "train"."""
        self.state.drawer_open = True
        self.state.panel = name

    def close(self) -> None:
        """Stop all work, when the session ends."""
        for panel in self.panels.values():
            with self.notices.shown():
                panel.close()
        if "segment" in self.__dict__:
            self.segment.close()
        if "jobs" in self.__dict__:
            self.jobs.close()

    def _own_polls(self) -> list[Callable[[], Any]]:
        polls: list[Callable[[], Any]] = [self.notices.expire]
        if "segment" in self.__dict__:
            polls.append(self.segment.poll)
        if "jobs" in self.__dict__:
            polls.append(self.jobs.poll)
        return polls


class Application:
    """The page of one session: the context, its panels, and the loop that carries news to the page."""

    def __init__(self, data_root: DataRoot, folder: Path, device: str = "auto", name: str = "hlfd") -> None:
        from hlfd_web.ui.shell import build_page

        self.server = get_server(name, client_type="vue3")
        self.context = Context(self.server, data_root, folder, device)
        for kind in panel_types():
            self.context.panels[kind.name] = kind(self.context)
        self._panel = ""
        self.context.state.change("panel")(self._on_panel)
        self.server.trigger("hlfd_choose")(self._on_choice)
        build_page(self.context)
        self.context.ctrl.on_server_ready.add(self._on_ready)

    def _on_choice(self, what: str, name: str) -> None:
        choose = {"window": self.context.tools.window, "layout": self.context.views.show_layout}
        with self.context.notices.shown():
            choose[what](name)

    def _on_panel(self, panel: str = "", **_state: Any) -> None:
        before, self._panel = self._panel, panel
        if before == panel:
            return
        with self.context.notices.shown():
            if before in self.context.panels:
                self.context.panels[before].leave()
            if panel in self.context.panels:
                self.context.panels[panel].enter()

    def _on_ready(self, **_state: Any) -> None:
        create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.context.tick()
            await asyncio.sleep(TICK_S)
