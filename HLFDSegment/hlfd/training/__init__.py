"""Training: one resumable loop for teacher, student, distillation and fine-tuning."""

from hlfd.training.fit import FitResult, fit
from hlfd.training.objective import Objective, Supervised
from hlfd.training.settings import TrainSettings
from hlfd.training.source import PatchSource

__all__ = ["FitResult", "Objective", "PatchSource", "Supervised", "TrainSettings", "fit"]
