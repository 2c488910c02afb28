"""What the feature viewer says: kinds of maps, stages, places, and what is odd or missing."""

from __future__ import annotations

from hlfd.viewer import ROLES
from HLFDSegmentLib.feature_maps import TITLES, FeatureMaps
from HLFDSegmentLib.stages import FEATURE_STAGES

KINDS = {
    "attention": "Attention",
    "channel": "One channel",
    "pca": "Principal components as color",
    "evidence": "Evidence for tumor (Grad-CAM)",
    "difference": "Difference of attention to the teacher's",
}
ROLE_OF_STAGE = {f"run {role}": role for role in ROLES}
PLACES = {
    "tumor": "Around the tumor (quick)",
    "crosshair": "Around the cross-hair (quick)",
    "whole": "Whole region with most tumor",
}
OWN_COLORS = "Own of each map"


def stage_text(name: str) -> str:
    """Return what is being done, in words."""
    return FEATURE_STAGES.get(name, name.capitalize()) + "..."


def place(maps: FeatureMaps) -> str:
    """Say what of the volume is shown."""
    region = maps.answer["regions"][maps.answer["region"]]["name"]
    if not maps.partial:
        return f"{region}, whole"
    size = " x ".join(f"{length:.0f}" for length in maps.extent)
    return f"{region}, a part of {size} mm"


def what_stays(maps: FeatureMaps | None) -> str:
    """Say what is still shown after work was cancelled or failed; empty where nothing is."""
    if maps is None:
        return ""
    layer = f"layer {maps.pairs[0]}, " if len(maps.pairs) == 1 else ""
    return f"Still shown: {layer}{place(maps)}."


def notes(maps: FeatureMaps) -> list[str]:
    """Say what is odd or missing."""
    found = list(maps.answer["warnings"])
    if "teacher" not in maps.roles:
        alone = "This model has no teacher, so the student is shown alone."
        pair = "This model has no teacher, so there is nothing that the students can be compared with."
        found.append(f"{alone if len(maps.roles) == 1 else pair} An imported one can be chosen above as Other teacher.")
    if not maps.answer["voxels"]["tumor"]:
        found.append("The student found no tumor here; channels are ordered by how they tell the kidney.")
    return found


def values_text(values: dict[str, float]) -> str:
    """Say the values of the maps at the cross-hair; empty where it lies outside of all."""
    texts = [f"{TITLES[role]}: {value:.3g}" for role, value in values.items()]
    return "At the cross-hair: " + ", ".join(texts) if texts else ""
