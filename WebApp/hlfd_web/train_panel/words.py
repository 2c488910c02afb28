"""What the training panel says of tasks, stages and states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hlfd.project import CaseInfo, Project
from hlfd.runs import State
from hlfd.words import duration
from HLFDTrainLib.choices import ROLES

TASKS = {
    "open": "Opening the project",
    "create": "Making the project",
    "reload": "Reading the project again",
    "add": "Adding the case",
    "update": "Saving the case",
    "import": "Importing",
    "check": "Checking",
    "remove": "Removing the case",
    "set_role": "Changing the role",
    "set_title": "Naming the case",
    "load_case": "Loading the case",
    "suggest": "Looking at the CTs",
}
STATES = {
    State.STARTING: "Starting",
    State.PAUSING: "Pausing: writing a checkpoint",
    State.PAUSED: "Paused. Resume goes on from here, also after this page or the server was closed.",
    State.FINISHED: "Done.",
    State.FAILED: "Failed.",
    State.CANCELLED: "Cancelled.",
    State.INTERRUPTED: "Interrupted: its process is gone. Resume goes on from the last checkpoint.",
}
ROLE_NAMES = dict(ROLES)


def left_text(seconds: float | None) -> str:
    """Return how much time is left; empty where that is not known."""
    return "" if not seconds else f"about {duration(max(1.0, seconds))} left"


def joined(*parts: str) -> str:
    """Return what is not empty of the parts, with commas between."""
    return ", ".join(part for part in parts if part)


def project_text(project: Project | None) -> str:
    """Say what the open project holds."""
    if project is None:
        return "No project is open. Open one, or create one with a name and a model."
    labels = ", ".join(label.name for label in project.labels)
    notes = [f"{case}: {problem}" for case, problem in project.problems.items()]
    return "\n".join([f"{project.name}: {len(project.cases)} cases. Labels: {labels}.", *notes])


def cases_text(project: Project | None) -> str:
    """Say how many cases there are of each role, and what is missing."""
    if project is None:
        return "Open or create a project first."
    cases = project.cases
    if not cases:
        return "No case yet. Add one below: a CT of the scene and what was drawn on it."
    counts = Counter(case.role for case in cases)
    parts = [f"{counts[role]} {name.lower()}" for role, name in ROLES if counts[role]]
    text = f"{len(cases)} cases: {', '.join(parts)}."
    if not counts["train"]:
        return f"{text} No case has the role training: give it to some."
    if len(cases) > 1 and not counts["test"]:
        return f"{text} No case has the role test: before and after will be compared on cases held out by chance."
    return text


def case_hint(case: CaseInfo) -> str:
    """Say the size of a case."""
    spacing = " x ".join(f"{mm:.2f}" for mm in case.spacing_mm)
    voxels = " x ".join(str(count) for count in reversed(case.shape))
    return f"{case.id}: {voxels} voxels of {spacing} mm"


def volumes_text(case: CaseInfo) -> str:
    """Say the volumes of the structures of a case."""
    return ", ".join(f"{name} {ml:.1f} ml" for name, ml in case.volumes_ml.items() if ml > 0)


def mapping_text(used: Sequence[str], left_out: int) -> str:
    """Say which labels the segments become."""
    if not used:
        return "No segment has a label yet: choose one in the table."
    left = f" {left_out} segments are left out." if left_out else ""
    return f"Labels: {', '.join(sorted(set(used)))}.{left}"


def estimate_text(answer: dict[str, Any]) -> str:
    """Say what a few measured steps tell."""
    parts = (
        f"About {duration(60 * answer['minutes'])}" if answer.get("minutes") else "",
        f"{answer['steps']} steps of {duration(answer['seconds_per_step'])}",
        f"{answer['memory_mb'] / 1024:.1f} GB of memory" if answer.get("memory_mb") else "",
        f"on {answer['device']}",
    )
    return "\n".join([f"{joined(*parts)}.", *answer.get("messages", ())])


def validation_text(step: int, values: dict[str, float]) -> str:
    """Say the Dice on validation cases after a step; empty where the numbers hold none."""
    dice = {name: value for name, value in values.items() if name.partition("/")[0] == "dice"}
    numbers = ", ".join(f"{name.partition('/')[2] or 'mean'} {value:.3f}" for name, value in dice.items())
    return f"Step {step}: Dice on validation cases: {numbers}" if dice else ""
