"""Distillation: a large network, the teacher, guides the training of a small one, the student.

One file per method; ``METHODS`` maps names to classes, ``build_objective`` makes what ``hlfd.training.fit`` optimises.
"""

from __future__ import annotations

from hlfd.distillation.base import Method
from hlfd.distillation.build import build_objective
from hlfd.distillation.kd import Kd
from hlfd.distillation.none import NoDistillation
from hlfd.distillation.objective import Distillation
from hlfd.distillation.settings import DistillSettings
from hlfd.distillation.teacher import TeacherSpec

METHODS: dict[str, type[Method]] = {method.name: method for method in (NoDistillation, Kd)}

__all__ = ["METHODS", "DistillSettings", "Distillation", "Method", "TeacherSpec", "build_objective"]
