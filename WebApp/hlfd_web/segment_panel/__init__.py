"""Segmenting the CT that is shown: choice of model and device, the run, its results."""

from __future__ import annotations

from hlfd_web.segment_panel.panel import SegmentPanel

__all__ = ["SegmentPanel"]
