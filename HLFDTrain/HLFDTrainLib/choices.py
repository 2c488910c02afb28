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
}
TURNS = ("train", "validate")
"""Stages that take turns all the time, under one bar."""
