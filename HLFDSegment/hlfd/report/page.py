"""The report page: one HTML file that needs nothing else. All text from outside is escaped."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from hlfd import __version__
from hlfd.report.content import Pictures, ReportInput
from hlfd.report.tables import (
    agreement_table,
    cards,
    facts_table,
    image_facts,
    lesion_table,
    model_facts,
    structure_table,
    timing_section,
)

_STYLE = Path(__file__).with_name("report.css")


def make_page(source: ReportInput, pictures: Pictures) -> str:
    """Return the page as HTML with style and pictures inside."""
    title = source.package.metadata.get("title") or source.package.task
    made = datetime.now(timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")
    sections = [
        _section("Pictures", _pictures(pictures)),
        _section("Lesions", lesion_table(source.result)),
        _section("Structures", structure_table(source.result)),
        _section("Agreement with the truth", agreement_table(source.agreement)) if source.agreement else "",
        _section("Time", timing_section(source.result)),
        _section("Model card", f'<p class="notice">{escape(source.package.notice)}</p>' + model_facts(source.package)),
        _section("Image and run", facts_table(image_facts(source))),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(source.name)} - {escape(str(title))}</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<p class="kicker">HLFD segmentation report</p>
<h1>{escape(source.name)}</h1>
<p class="sub">{escape(str(title))} &middot; {made}</p>
</header>
{_banner(source)}
{cards(source)}
{_warnings(source)}
{"".join(sections)}
<footer>Made by HLFD {escape(__version__)}. Diameters are the longest in the axial plane and the longest across it.
Look at every segmentation before you rely on a number.</footer>
</body>
</html>
"""


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>\n"


def _banner(source: ReportInput) -> str:
    if not source.result.demonstration:
        return ""
    return '<p class="banner"><strong>Demonstration.</strong> Not for clinical use.</p>'


def _warnings(source: ReportInput) -> str:
    if not source.result.warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in dict.fromkeys(source.result.warnings))
    return f'<section class="warnings"><h2>Please check</h2><ul>{items}</ul></section>\n'


def _pictures(pictures: Pictures) -> str:
    figures = []
    for picture in pictures.pictures:
        data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
        caption = escape(picture.caption)
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    note = f" {escape(pictures.note)}" if pictures.note else ""
    drawn = f'<p class="small">Drawn by {escape(pictures.drawn_by)}.{note}</p>'
    return f'<div class="pictures">{"".join(figures)}</div>{drawn}'
