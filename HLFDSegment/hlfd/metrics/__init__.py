"""Metrics of a label map against a reference: overlap, surfaces, volumes and lesions, per case, in mm and ml."""

from hlfd.metrics.evaluate import evaluate
from hlfd.metrics.groups import Groups, groups_for, parse_group

__all__ = ["Groups", "evaluate", "groups_for", "parse_group"]
