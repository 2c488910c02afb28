"""A project folder of labelled cases: what a user collects in Slicer, or brings along, to train a student on.

::

    <project>/project.json            name, the model whose labels count, the labels
    <project>/cases/case-0001/        case.json, image.nii, label.nii.gz, thumbnail.png
    <project>/removed/                cases that were taken out
    <project>/runs/                   trainings, see hlfd.runs

The folder is the truth: every change is whole or not there, whatever is killed in between. Nothing here needs torch.
"""

from hlfd.project.case import ROLES, CaseInfo
from hlfd.project.matching import SegmentDescription, match_segments
from hlfd.project.project import Project

__all__ = ["ROLES", "CaseInfo", "Project", "SegmentDescription", "match_segments"]
