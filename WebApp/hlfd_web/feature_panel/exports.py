"""What goes out of the feature viewer: a figure, and the maps as files, into the session's folder of downloads."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from hlfd_web.downloads import download_folder, offer
from HLFDSegmentLib.feature_figure import export_figure, export_maps

if TYPE_CHECKING:
    from hlfd_web.feature_panel.panel import FeaturePanel

FIGURE, MAPS = "feature-maps.png", "feature-maps.zip"


class Exports:
    """Writes files for the page to fetch."""

    def __init__(self, panel: FeaturePanel) -> None:
        self._panel = panel

    def figure(self) -> None:
        """Draw the shown maps side by side with their legend, and offer the picture."""
        panel = self._panel
        with panel.context.notices.shown():
            path = download_folder(panel.context) / FIGURE
            application = panel.context.slicer_app.app_logic
            export_figure(panel.logic, application, path, str(panel.state.feat_orientation))
            offer(panel.context, path)

    def maps(self) -> None:
        """Write the shown maps in their own grids, and offer them as one zip file."""
        panel = self._panel
        with panel.context.notices.shown(), tempfile.TemporaryDirectory(dir=panel.context.folder) as folder:
            path = download_folder(panel.context) / MAPS
            write_zip(export_maps(panel.logic, Path(folder)), path)
            offer(panel.context, path)


def write_zip(files: list[Path], out: Path) -> Path:
    """Write files into one zip, by their names alone."""
    partial = out.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.name)
    shutil.move(partial, out)
    return out
