"""Loading a CT that was suggested for labelling, without blocking the application."""

from __future__ import annotations

from pathlib import Path

import slicer

from hlfd.errors import HlfdError
from hlfd.io import read_volume
from hlfd.jobs.courier import Courier
from HLFDSegmentLib.signals import Signal
from HLFDTrainLib.loaded_cases import volume_into_scene
from HLFDTrainLib.steps import Steps, Task, in_thread

_CLOSE_S = 2.0


class CtLoader:
    """Reads one file or DICOM folder at a time in a thread; ``loaded`` or ``failed`` follows from ``poll()``."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.loaded = Signal("node")
        self.failed = Signal("error")
        self._scene = scene
        self._courier = Courier()
        self._steps = Steps(self._on_end)

    @property
    def busy(self) -> bool:
        """Whether a CT is being read."""
        return bool(self._steps.name)

    def load(self, path: Path) -> None:
        """Begin to read; raises ``UsageError`` while another CT is being read."""
        self._steps.start("load", self._loading(Path(path)))

    def poll(self) -> None:
        """Put a CT that was read into the scene."""
        self._steps.poll()

    def close(self) -> None:
        """Wait for the thread, for application exit."""
        self._steps.cancel()
        self._steps.poll()
        self._courier.close(_CLOSE_S)

    def _loading(self, path: Path) -> Task:
        volume = yield from in_thread(self._courier, lambda: read_volume(path))
        name = path.name.split(".")[0]
        return (yield from volume_into_scene(self._scene, volume.array, volume.affine, name))

    def _on_end(self, name: str, node: slicer.vtkMRMLScalarVolumeNode | None, error: HlfdError | None) -> None:
        if error is None:
            self.loaded.emit(node)
        elif error.code != "cancelled":
            self.failed.emit(error)
