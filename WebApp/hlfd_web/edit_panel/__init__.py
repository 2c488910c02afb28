"""Correcting a segmentation: paint and erase in the views, undo, and what becomes of the correction."""

from hlfd_web.edit_panel.panel import EditPanel

__all__ = ["EditPanel"]
