"""The report page: one HTML file that needs nothing else. All text from outside is escaped."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from html import escape

from hlfd.report.content import Pictures, ReportInput
from hlfd.report.document import document, section
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


def make_page(source: ReportInput, pictures: Pictures) -> str:
    """Return the page as HTML with style and pictures inside."""
    title = source.package.metadata.get("title") or source.package.task
    made = datetime.now(timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")
    sections = [
        section("Pictures", _pictures(pictures)),
        section("Lesions", lesion_table(source.result)),
        section("Structures", structure_table(source.result)),
        section("Agreement with the truth", agreement_table(source.agreement)) if source.agreement else "",
        section("Time", timing_section(source.result)),
        section("Model card", f'<p class="notice">{escape(source.package.notice)}</p>' + model_facts(source.package)),
        section("Image and run", facts_table(image_facts(source))),
    ]
    body = f"""<header>
<p class="kicker">HLFD segmentation report</p>
<h1>{escape(source.name)}</h1>
<p class="sub">{escape(str(title))} &middot; {made}</p>
</header>
{_banner(source)}
{cards(source)}
{_warnings(source)}
{"".join(sections)}"""
    remark = (
        "Diameters are the longest in the axial plane and the longest across it. Look at every segmentation before you "
        "rely on a number."
    )
    return document(f"{source.name} - {title}", body, remark)


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
