"""Which case to label next: the ones that the model is least sure of come first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd.words import number
from hlfd_web.teachers import teacher_source
from hlfd_web.train_panel.folders import folder_of
from hlfd_web.train_panel.section import FIELD, Section

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel

_HEADERS = ("CT", "Unsure", "Disagreement", "Note")


class SuggestSection(Section):
    """Orders the CTs of a folder; a click on one shows it."""

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self._paths: list[Path] = []
        self.set(suggest_folder="", suggest_text="", suggest_rows=[], suggest_teacher="")

    def run(self) -> None:
        """Look at the CTs of the chosen folder."""
        with self.context.notices.shown():
            folder = folder_of(self.context.data_root, str(self.get("suggest_folder") or ""))
            model = str(self.get("start_model") or "")
            teacher = teacher_source(self.context.data_root, str(self.get("suggest_teacher") or ""))
            device = {"device": self.context.device}
            self.panel.begin(lambda: self.cases.suggest(folder, model, teacher, device))

    def show_rows(self, rows: list[dict[str, Any]]) -> None:
        """List the CTs, the best to label first."""
        self._paths = [Path(row["path"]) for row in rows]
        cells = [
            [row["name"], number(row["entropy"], 3), number(row.get("disagreement"), 3), row.get("note") or ""]
            for row in rows
        ]
        text = f"{len(rows)} CTs, the one to label first on top. Click one to open it."
        none = "The folder holds no CT that is not a case already."
        self.set(suggest_rows=[{"id": n, "cells": texts} for n, texts in enumerate(cells)])
        self.set(suggest_text=text if rows else none)

    def load(self, index: int) -> None:
        """Open one of the CTs."""
        with self.context.notices.shown():
            self.panel.load_ct(self._paths[int(index)])

    def build(self) -> None:
        """Write the widgets."""
        v3.VCombobox(v_model=("train_suggest_folder",), items=("train_folders",), label="Folder with CTs",
                     data_testid="train-suggest-folder", **FIELD)  # fmt: skip
        v3.VSelect(v_model=("train_suggest_teacher",), items=("train_suggest_teachers", []), label="Compare with",
                   data_testid="train-suggest-teacher", **FIELD)  # fmt: skip
        v3.VBtn(
            "Order by uncertainty",
            block=True,
            disabled=("!train_suggest_folder || !train_open_project || !!train_task",),
            click=self.run,
            data_testid="train-suggest",
        )
        html.Div("{{ train_suggest_text }}", v_if="train_suggest_text", classes="text-body-2 my-2", role="status",
                 data_testid="train-suggest-text")  # fmt: skip
        with html.Table(v_if="train_suggest_rows.length", classes="hlfd-table", data_testid="train-suggest-rows"):
            with html.Thead(), html.Tr():
                for header in _HEADERS:
                    html.Th(header, scope="col")
            with (
                html.Tbody(),
                html.Tr(
                    v_for="row in train_suggest_rows",
                    key="row.id",
                    tabindex="0",
                    role="button",
                    classes="goes",
                    v_on_click=(self.load, "[row.id]"),
                    v_on_keydown_enter=(self.load, "[row.id]"),
                ),
            ):
                html.Td("{{ cell }}", v_for="(cell, index) in row.cells", key="index")
