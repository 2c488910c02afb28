"""Installed models: what they are, import, removal, check."""

from __future__ import annotations

from hlfd_web.models_panel.panel import ModelsPanel

__all__ = ["ModelsPanel"]
