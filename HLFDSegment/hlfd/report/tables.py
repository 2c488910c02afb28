"""The tables of the report as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from hlfd.inference.result import SegmentationResult
from hlfd.labels import Label
from hlfd.models.package import ModelPackage, NetworkEntry
from hlfd.report.content import Agreement, ReportInput
from hlfd.words import LIKELY, UNCERTAIN, duration, left_out, nested, number, sureness

_LESION_HEAD = ("", "Lesion", "Side", "Confidence", "Volume", "Axial diameters", "Longest in 3-D", "HU mean (sd)")
_STRUCTURE_HEAD = ("", "Structure", "Volume", "Longest diameter", "HU mean (sd)")
_AGREEMENT_HEAD = (
    "Structure",
    "Dice",
    "Surface Dice at 2 mm",
    "95 % Hausdorff",
    "Volume",
    "True volume",
    "Lesions found",
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> str:
    """Return a table of cells that are HTML already; the first ``text_columns`` are text, the others numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{'' if n < text_columns else ' class=num'}>{cell}</{tag}>" for n, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'
    )


def facts_table(facts: Sequence[tuple[str, str]]) -> str:
    """Return names and values as a two-column list; both are escaped here."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in facts if value)
    return f'<dl class="facts">{items}</dl>\n'


def _swatch(value: int, labels: Sequence[Label]) -> str:
    color = next((label.color for label in labels if label.value == value), (128, 128, 128))
    return f'<span class="swatch" style="background:rgb({color[0]},{color[1]},{color[2]})"></span>'


def _hu(mean: float | None, sd: float | None) -> str:
    return number(mean, 0) if mean is None else f"{number(mean, 0)} ({number(sd, 0)})"


def lesion_table(result: SegmentationResult) -> str:
    """Return the table of lesions, or a sentence when there is none."""
    doubtful = f'<p class="small">{left_out(result.left_out_ml)}</p>\n' if result.left_out_ml else ""
    if not result.lesions:
        return f'<p class="empty">No tumor or cyst was found.</p>\n{doubtful}'
    rows = [
        (
            _swatch(lesion.value, result.label_map.labels),
            f"{lesion.number}. {escape(lesion.name)}",
            escape(lesion.side or "-"),
            escape(sureness(lesion.confidence)),
            f"{number(lesion.volume_ml, 2)} ml",
            f"{number(lesion.axial_long_mm)} &times; {number(lesion.axial_short_mm)} mm",
            f"{number(lesion.longest_diameter_mm)} mm",
            _hu(lesion.hu_mean, lesion.hu_sd),
        )
        for lesion in result.lesions
    ]
    return table(_LESION_HEAD, rows, 4) + doubtful + _confidence_note(result)


def _confidence_note(result: SegmentationResult) -> str:
    if all(lesion.confidence is None for lesion in result.lesions):
        return ""
    return (
        '<p class="small">Confidence: of the lesions that got such a number on simulated scans, this share was real. '
        f"Likely is from {100 * LIKELY:.0f} % on, uncertain from {100 * UNCERTAIN:.0f} % on.</p>\n"
    )


def structure_table(result: SegmentationResult) -> str:
    """Return the table of structures, absent ones with dashes."""
    rows = [
        (
            _swatch(structure.value, result.label_map.labels),
            escape(structure.name),
            f"{number(structure.volume_ml, 2)} ml" if structure.voxels else "-",
            "-" if structure.longest_diameter_mm is None else f"{number(structure.longest_diameter_mm)} mm",
            _hu(structure.hu_mean, structure.hu_sd),
        )
        for structure in result.structures
    ]
    return table(_STRUCTURE_HEAD, rows, 2)


def agreement_table(agreement: Agreement) -> str:
    """Return the agreement with the truth per group."""
    rows = []
    for name, values in agreement.groups.items():
        lesions = values.get("lesions")
        hd95 = values.get("hd95_mm")
        rows.append(
            (
                escape(name.replace("_", " ")),
                f"<strong>{number(values['dice'], 3)}</strong>",
                number(values.get("nsd_2mm"), 3),
                "-" if hd95 is None else f"{number(hd95)} mm",
                f"{number(values['pred_ml'])} ml",
                f"{number(values['ref_ml'])} ml",
                f"{lesions['found']} of {lesions['reference']}" if lesions else "",
            )
        )
    return f"<p>{escape(agreement.truth)}</p>\n" + table(_AGREEMENT_HEAD, rows, 1)


def timing_section(result: SegmentationResult) -> str:
    """Return the seconds per stage as a table with bars."""
    stages = {name: seconds for name, seconds in result.timing.items() if name != "total"}
    total = max(result.timing.get("total", 0.0), sum(stages.values()), 1e-9)
    rows = [
        (escape(name), _bar(seconds / total), duration(seconds), f"{100 * seconds / total:.0f} %")
        for name, seconds in stages.items()
    ]
    rows.append(("<strong>total</strong>", "", f"<strong>{duration(total)}</strong>", ""))
    return table(("Stage", "", "Time", "Share"), rows, 2)


def _bar(share: float) -> str:
    return f'<span class="bar"><span style="width:{100 * share:.1f}%"></span></span>'


def cards(source: ReportInput) -> str:
    """Return the headline numbers."""
    result = source.result
    shown = [(s.name, f"{number(s.volume_ml, 0)} ml") for s in result.structures if not s.name.endswith(_LESION_WORDS)]
    for word, plural in (("tumor", "tumors"), ("cyst", "cysts")):
        sizes = [lesion.axial_long_mm for lesion in result.lesions if lesion.name.endswith(word)]
        if any(s.name.endswith(word) for s in result.structures):
            largest = f", largest {number(max(sizes), 0)} mm" if sizes else ""
            shown.append((plural, f"{len(sizes)}{largest}"))
    if source.agreement:
        shown += [(f"Dice, {name.replace('_', ' ')}", number(v["dice"], 3)) for name, v in _first(source.agreement, 2)]
    items = "".join(f"<div><span>{escape(name)}</span><b>{escape(value)}</b></div>" for name, value in shown)
    return f'<div class="cards">{items}</div>'


_LESION_WORDS = ("tumor", "cyst")


def _first(agreement: Agreement, count: int) -> list[tuple[str, dict[str, Any]]]:
    wanted = [(name, values) for name, values in agreement.groups.items() if name != "masses"]
    return wanted[:count]


def model_facts(package: ModelPackage) -> str:
    """Return what the package says about itself."""
    facts = [
        ("Model", f"{package.name}, version {package.version}"),
        ("Task", package.task),
        *((role.capitalize(), _network(entry)) for role, entry in package.networks().items()),
        ("Training", nested(package.metadata.get("provenance"))),
        ("Accuracy", nested(package.metadata.get("metrics"))),
        ("Licence", package.licence),
    ]
    return facts_table(facts)


def _network(entry: NetworkEntry) -> str:
    return f"{entry.network} at {entry.spacing_mm:g} mm: {', '.join(entry.classes)}"


def image_facts(source: ReportInput) -> list[tuple[str, str]]:
    """Return facts about the image and how it was segmented."""
    result, volume = source.result, source.volume
    k, j, i = volume.shape
    spacing = " x ".join(f"{value:.3g}" for value in volume.spacing)
    modes = {"roi": "located, then refined in its regions", "box": "the whole body"}
    return [
        ("CT", str(source.source)),
        ("Segmentation", str(source.segmentation)),
        ("Size", f"{i} x {j} x {k} voxels of {spacing} mm"),
        ("Searched", modes.get(result.mode, result.mode)),
        ("Computed on", f"{result.device} with {result.backend}"),
    ]
