"""The tab Open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trame.widgets import vuetify3 as v3

from hlfd.errors import HlfdError
from hlfd_web.panel import Panel
from HLFDTrainLib.ct_loader import CtLoader

if TYPE_CHECKING:
    from hlfd_web.app import Context


class OpenPanel(Panel):
    """Loads one CT at a time, off the loop, and shows it."""

    name, title, icon = "open", "Open", "mdi-folder-open-outline"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.loader = CtLoader(self.scene)
        self.loader.loaded.connect(self._on_loaded)
        self.loader.failed.connect(self._on_failed)
        self.state.open_busy = ""
        context.every(self.loader.poll)

    def build(self) -> None:
        """Write the buttons."""
        v3.VBtn(
            "Open the sample CT",
            click=self.open_sample,
            loading=("!!open_busy",),
            block=True,
            data_testid="open-sample",
        )

    def open_sample(self) -> None:
        """Open the simulated CT that ships with the application."""
        from hlfd.models.resources import sample_folder

        self.open_path(sample_folder() / "sample_ct.nii.gz")

    def open_path(self, path: Path) -> None:
        """Begin to read a file or DICOM folder of the server."""
        with self.context.notices.shown():
            self.loader.load(path)
            self.state.open_busy = path.name

    def close(self) -> None:
        """Wait for the reader."""
        self.loader.close()

    def _on_loaded(self, node: Any) -> None:
        self.state.open_busy = ""
        self.context.show_volume(node)

    def _on_failed(self, error: HlfdError) -> None:
        self.state.open_busy = ""
        self.context.notices.show(error)
