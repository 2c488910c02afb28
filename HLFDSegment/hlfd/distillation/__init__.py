"""Distillation: a large network, the teacher, guides the training of a small one, the student.

One file per method; ``METHODS`` maps names to classes, ``build_objective`` makes what ``hlfd.training.fit`` optimises.
"""

from __future__ import annotations

from hlfd.distillation.attention import At
from hlfd.distillation.base import Method
from hlfd.distillation.build import build_objective
from hlfd.distillation.cirkd import Cirkd
from hlfd.distillation.cwd import Cwd
from hlfd.distillation.dist import Dist
from hlfd.distillation.dkd import Dkd
from hlfd.distillation.emkd import Emkd
from hlfd.distillation.fitnet import FitNet
from hlfd.distillation.hlfd import Hlfd, HlfdReleased
from hlfd.distillation.ifvd import Ifvd
from hlfd.distillation.kd import Kd
from hlfd.distillation.mskd import Mskd
from hlfd.distillation.none import NoDistillation
from hlfd.distillation.objective import Distillation
from hlfd.distillation.reviewkd import ReviewKd
from hlfd.distillation.settings import DistillSettings
from hlfd.distillation.skd import Skd
from hlfd.distillation.teacher import TeacherSpec

_CLASSES: tuple[type[Method], ...] = (
    *(HlfdReleased, Hlfd, Mskd, Emkd),
    *(NoDistillation, Kd, FitNet, At, Cwd, Dist, ReviewKd, Skd, Ifvd, Dkd, Cirkd),
)
METHODS: dict[str, type[Method]] = {method.name: method for method in _CLASSES}

__all__ = ["METHODS", "DistillSettings", "Distillation", "Method", "TeacherSpec", "build_objective"]
