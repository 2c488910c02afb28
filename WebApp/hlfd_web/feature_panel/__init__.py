"""The feature viewer: what teacher and student look at, layer by layer, in linked views over the CT."""

from hlfd_web.feature_panel.panel import FeaturePanel

__all__ = ["FeaturePanel"]
