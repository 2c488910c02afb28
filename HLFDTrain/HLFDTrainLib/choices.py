"""What a panel offers for a training and calls its stages: a value for the settings, and the words for it."""

from __future__ import annotations

DURATIONS = (
    (10.0, "About 10 minutes"),
    (60.0, "About 1 hour"),
    (0.0, "Until it stops improving"),
)
AFTER_CLOSE = (
    ("continue", "The training goes on in the background"),
    ("pause", "The training pauses itself, to be resumed"),
)
METHODS = (
    ("kd", "Labels and the teacher's predictions (KD)"),
    ("hlfd", "Labels and the teacher's attention, layer by layer (HLFD)"),
    ("hlfd+kd", "Labels, the teacher's attention and its predictions (HLFD and KD)"),
    ("at", "Labels and the teacher's attention (AT)"),
    ("cwd", "Labels and the teacher's channels (CWD)"),
    ("none", "Labels alone"),
)
TEACHERS = (
    ("", "Of the model; without one, the student as it was"),
    ("none", "None"),
    ("file", "From a file or folder"),
)
ROLES = (
    ("train", "Training"),
    ("validation", "Validation"),
    ("test", "Test"),
    ("unused", "Not used"),
)
STAGES = {
    "prepare": "Preparing the cases",
    "replay": "Simulating patients for replay",
    "train": "Training",
    "validate": "Validating",
    "blend": "Keeping what it knew",
    "package": "Writing the new version",
    "compare": "Comparing before and after",
    "measure": "Measuring a few steps",
    "locator": "Training the network that finds the organ",
    "teacher": "Training the teacher",
    "cache": "Computing what the teacher says",
    "distil": "Training the student",
    "evaluate": "Scoring on cases that were not learned from",
}
TURNS = ("train", "validate")
"""Stages that take turns all the time, under one bar."""
_NETWORKS = ("locator", "teacher", "distil")


def begins_network(stage: str) -> bool:
    """Return whether the training of another network of a recipe begins with a stage."""
    return _plain(stage) in _NETWORKS


class StageWords:
    """The words for the stages of one run: while a network of a recipe is trained, which one."""

    def __init__(self) -> None:
        self._network = ""

    def of(self, stage: str) -> str:
        """Return the words for the stage that begins now."""
        words = STAGES.get(_plain(stage), stage.capitalize())
        if stage not in TURNS:
            self._network = words if begins_network(stage) else ""
        return self._network if self._network and stage == "train" else words


def _plain(stage: str) -> str:
    """Return a stage of a recipe without its fold: "fold 0: teacher" is "teacher"."""
    return stage.rpartition(": ")[2]
