"""Teachers from outside: MONAI bundles, TorchScript files, nnU-Net v2 folders, builders, and HLFD packages.

``load_teacher`` reads one without running code that came with it, ``fit_teacher`` makes it take a student's input and
give logits of the student's classes, or says why it cannot. Importing it needs torch.
"""

from __future__ import annotations

from hlfd.teachers.fitted import FittedTeacher, fit_teacher
from hlfd.teachers.inputs import ChannelInput
from hlfd.teachers.load import load_teacher
from hlfd.teachers.settings import TeacherSettings, read_settings
from hlfd.teachers.teacher import Teacher

__all__ = [
    "ChannelInput",
    "FittedTeacher",
    "Teacher",
    "TeacherSettings",
    "fit_teacher",
    "load_teacher",
    "read_settings",
]
