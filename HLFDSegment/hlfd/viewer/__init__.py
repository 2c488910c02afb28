"""What teacher and student look at: feature maps of matched layers with exact geometry, and numbers that compare them.

``hlfd.viewer.look.look`` computes them (needs torch); this package itself imports without torch, for the panels.
"""

from __future__ import annotations

from hlfd.viewer.region import Region, grid_affine, stage_affine
from hlfd.viewer.request import GLANCE, KINDS, PART_MM, ROLES, FeatureRequest, Pair, default_pairs

__all__ = [
    "GLANCE",
    "KINDS",
    "PART_MM",
    "ROLES",
    "FeatureRequest",
    "Pair",
    "Region",
    "default_pairs",
    "grid_affine",
    "stage_affine",
]
