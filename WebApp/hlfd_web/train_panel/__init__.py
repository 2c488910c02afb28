"""Training the student on with own cases: projects, cases, trainings, and what came of them."""

from hlfd_web.train_panel.panel import TrainPanel

__all__ = ["TrainPanel"]
