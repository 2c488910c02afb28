"""The model card: a package's README.md, made from its ``model.json``."""

from __future__ import annotations

from typing import Any

from hlfd.models.package import NETWORK_ROLES

INTENDED_USE = (
    "Research, teaching and development with CT of the abdomen, on the desktop, in the browser and on the command line."
)
LIMITS = (
    "Not a medical device. Do not use it to diagnose, to plan treatment or to follow disease. Look at every result."
)


def model_card(description: dict[str, Any]) -> str:
    """Return the card in Markdown for a ``model.json`` mapping: use, labels, networks, training, accuracy, licence."""
    d = description
    parts = [
        f"# {d['title'] or d['name']}",
        f"> **{d['notice']}**",
        f"Model package `{d['name']}`, version {d['version']}, task: {d['task']}.",
        f"## Intended use\n{INTENDED_USE}\n\n## Limits\n{LIMITS}",
        "## Labels\n" + _table(["value", "name"], [[label["value"], label["name"]] for label in d["labels"]]),
        "## Networks\n" + _networks(d),
        "## Training\n" + _nested(d["provenance"]),
        "## Accuracy\n" + _nested(d["metrics"]),
        *(["## Quality signal\n" + _quality(d["quality"])] if d.get("quality") else []),
        f"## Licence\n{d['licence']}",
    ]
    return "\n\n".join(parts) + "\n"


def _networks(description: dict[str, Any]) -> str:
    rows = []
    for role in NETWORK_ROLES:
        entry = description.get(role)
        if entry:
            windows = ", ".join(f"{low:g}..{high:g} HU" for low, high in entry["windows"])
            rows.append([role, entry["network"], f"{entry['spacing_mm']:g} mm", windows, ", ".join(entry["classes"])])
    return _table(["role", "network", "spacing", "windows", "classes"], rows)


def _quality(quality: dict[str, Any]) -> str:
    """Return how the confidence of lesions was calibrated, and the limits of images that are like the training."""
    held_out = quality.get("confidence", {}).get("held_out")
    parts = [f"Fitted on {quality.get('scans', 'some')} simulated scans of validation patients."]
    if "taken_from" in quality:
        parts.append(
            f"Of {quality['taken_from']}, before the fine-tuning; the confidence was not fitted again. Scans like the "
            "local ones count as known."
        )
    if held_out:
        parts.append(
            f"Confidence on {held_out['lesions']} lesions of patients it was not fitted on: area under the curve "
            f"{_short(held_out['auc'])}, calibration error {_short(held_out['calibration_error'])}."
        )
        rows = [[f"{b['from']:g} to {b['from'] + 0.1:g}", b["lesions"], b["true"]] for b in held_out["bins"]]
        parts.append("\n" + _table(["confidence", "lesions", "share of true ones"], rows))
    if "min_confidence" in quality:
        parts.append(f"\nLesions below {quality['min_confidence']:.0%} confidence are left out unless asked for.")
    return "\n".join(parts)


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _nested(value: Any, depth: int = 0) -> str:
    """Return mappings and lists as nested Markdown lists."""
    if not value:
        return "Not recorded." if depth == 0 else ""
    if not isinstance(value, dict):
        return str(value)
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{'  ' * depth}* {key}:", _nested(item, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}* {key}: {_short(item)}")
    return "\n".join(line for line in lines if line)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_short, value)) if isinstance(value, (list, tuple)) else str(value)
