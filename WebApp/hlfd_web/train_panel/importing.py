"""Importing a data set: first a report of what is wrong with it, then the cases that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd_web.train_panel.folders import folder_names, folder_of
from hlfd_web.train_panel.labels import LabelRows
from hlfd_web.train_panel.section import FIELD, Section

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel

_FIRST = "The folder is checked first; nothing is copied before you have seen the report."
_MOST_LINES = 200


class ImportSection(Section):
    """Checks and imports a folder of the data root; only a folder that was checked can be imported."""

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self.rows = LabelRows(self.state, "train_values")
        self._checked, self._usable = "", 0
        self.set(folders=[], import_folder="", import_text=_FIRST, import_report=[], import_ready=False)
        self.state.change("train_import_folder")(self._on_folder)

    def refresh(self) -> None:
        """List the folders that there are now."""
        self.set(folders=folder_names(self.context.data_root))

    def show(self) -> None:
        """Say whether the folder can be imported."""
        named = any(self.rows.mapping.values())
        same = self._checked == str(self.get("import_folder") or "")
        self.set(import_ready=self.cases.project is not None and named and same and self._usable > 0)

    def check(self) -> None:
        """Look at the folder."""
        with self.context.notices.shown():
            name = str(self.get("import_folder") or "")
            folder = folder_of(self.context.data_root, name)
            self._checked = name
            self.panel.begin(lambda: self.cases.check_folder(folder))

    def run(self) -> None:
        """Add the cases of the folder that was checked."""
        with self.context.notices.shown():
            folder = folder_of(self.context.data_root, self._checked)
            values = {int(key): label for key, label in self.rows.mapping.items()}
            self.panel.begin(lambda: self.cases.import_folder(folder, values))

    def choose(self, key: int, label: str | None) -> None:
        """Let a value become another label."""
        self.rows.choose(key, label)
        self.show()

    def show_report(self, reports: list[dict[str, Any]]) -> None:
        """Show what is wrong with each case, and the values that the label maps hold."""
        self._usable = sum(_usable(report) for report in reports)
        lines = []
        for report in reports:
            said = " ".join(finding["message"] for finding in report["findings"])
            lines.append({"id": report["id"], "text": said or "nothing is wrong", "good": _usable(report)})
        self.set(import_text=f"{self._usable} of {len(reports)} cases can be used.", import_report=lines[:_MOST_LINES])
        values = sorted({int(value) for report in reports for value in report.get("label_ml") or {}})
        names = {label.value: label.name for label in self.cases.project.labels} if self.cases.project else {}
        self.rows.fill([(value, str(value), names.get(value, "")) for value in values], self.cases.label_names)
        self.show()

    def show_imported(self, result: dict[str, Any]) -> None:
        """Say how many cases came, and why the others did not."""
        added, refused = result["added"], result["refused"]
        lines = [{"id": case, "text": reason, "good": False} for case, reason in refused.items()]
        self.set(import_text=f"{len(added)} cases were added.", import_report=lines[:_MOST_LINES])
        self._checked, self._usable = "", 0
        self.show()

    def build(self) -> None:
        """Write the widgets."""
        v3.VCombobox(v_model=("train_import_folder",), items=("train_folders",), label="Folder of the data folder",
                     data_testid="train-import-folder", **FIELD)  # fmt: skip
        with html.Div(classes="d-flex mb-2", style="gap: 8px"):
            blocked = "!train_import_folder || !train_open_project || !!train_task"
            v3.VBtn("Check", disabled=(blocked,), click=self.check, data_testid="train-check")
            v3.VBtn("Import", disabled=("!train_import_ready || !!train_task",), click=self.run, color="primary",
                    data_testid="train-import")  # fmt: skip
        html.Div("{{ train_import_text }}", classes="text-body-2 mb-2", role="status", data_testid="train-import-text")
        with (
            html.Ul(
                v_if="train_import_report.length",
                classes="text-body-2 mb-2 pl-4",
                data_testid="train-report",
                style="max-height: 220px; overflow: auto",
            ),
            html.Li(v_for="line in train_import_report", key="line.id"),
        ):
            html.Strong("{{ line.id }}: ", classes=("line.good ? '' : 'text-error'",))
            html.Span("{{ line.text }}")
        self.rows.build("Value in the label maps", self.choose, "train-values")

    def _on_folder(self, **_state: Any) -> None:
        if str(self.get("import_folder") or "") != self._checked:
            self._checked, self._usable = "", 0
            self.set(import_text=_FIRST, import_report=[])
            self.rows.fill([], ())
        self.show()


def _usable(report: dict[str, Any]) -> bool:
    """Return whether a case can be imported: unknown values alone do no harm, the table of values names them."""
    errors = [finding for finding in report["findings"] if finding["level"] == "error"]
    return all(finding["code"] == "unknown_value" for finding in errors)
