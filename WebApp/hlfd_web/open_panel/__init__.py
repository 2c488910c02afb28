"""Opening a CT: the sample, files and DICOM folders of the data folder, uploads."""

from __future__ import annotations

from hlfd_web.open_panel.panel import OpenPanel

__all__ = ["OpenPanel"]
