"""The project: make one in the data folder, open one, and find the one of last time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd.errors import InputError, UsageError
from hlfd.runs import running_anywhere
from hlfd_web.files import check_name
from hlfd_web.train_panel.section import FIELD, Section
from hlfd_web.train_panel.words import project_text
from HLFDSegmentLib.model_catalogue import model_choices

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel

_PROJECT_FILE = "project.json"


class ProjectSection(Section):
    """Projects are the folders of ``projects`` in the data root, so all who use the server see the same ones."""

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self.set(projects=[], project="", project_text=project_text(None), open_project="")
        self.set(new_name="", new_model="", new_models=[])

    def enter(self) -> None:
        """Open the project of a training in progress, else the one that was changed last, when none is open."""
        self.refresh()
        if self.cases.project is None and not self.cases.task:
            name = self._wanted()
            if name:
                self.set(project=name)
                self.open()

    def refresh(self) -> None:
        """List the projects and the models that there are now."""
        models = [choice for choice in model_choices() if not choice.problem]
        found = [{"title": choice.caption, "value": choice.key} for choice in models]
        kept = self.get("new_model") in [item["value"] for item in found]
        self.set(new_models=found, projects=[path.name for path in self._folders()])
        self.set(new_model=self.get("new_model") if kept else (found[0]["value"] if found else ""))
        self.show()

    def show(self) -> None:
        """Say what the open project holds."""
        project = self.cases.project
        self.set(project_text=project_text(project), open_project=project.folder.name if project is not None else "")

    def open(self) -> None:
        """Open the chosen project."""
        with self.context.notices.shown():
            name = str(self.get("project") or "")
            if not name:
                raise UsageError("No project is chosen.", "Choose one, or create one below.")
            folder = self.context.data_root.resolve(f"projects/{_plain(name)}")
            self.panel.begin(lambda: self.cases.open(folder))

    def create(self) -> None:
        """Make a project with the typed name for the labels of the chosen model, and open it."""
        with self.context.notices.shown():
            name = str(self.get("new_name") or "").strip()
            if not name:
                raise UsageError("The project has no name.", "Type one.")
            folder = self.context.data_root.projects / _plain(name)
            self.panel.begin(lambda: self.cases.create(folder, str(self.get("new_model")), name))

    def opened(self) -> None:
        """Show the project that was opened as the chosen one."""
        self.refresh()
        if self.cases.project is not None:
            self.set(project=self.cases.project.folder.name, new_name="")

    def build(self) -> None:
        """Write the widgets."""
        html.Div("{{ train_project_text }}", classes="text-body-2 mb-3", style="white-space: pre-line", role="status",
                 data_testid="train-project-text")  # fmt: skip
        with html.Div(v_if="train_projects.length", classes="d-flex mb-3", style="gap: 8px"):
            v3.VSelect(v_model=("train_project",), items=("train_projects",), label="Project",
                       data_testid="train-project", **{**FIELD, "classes": "flex-grow-1"})  # fmt: skip
            v3.VBtn("Open", click=self.open, height=40, disabled=("!train_project || !!train_task",),
                    data_testid="train-open")  # fmt: skip
        with html.Form(v_on_submit_prevent=self.create):
            v3.VTextField(v_model=("train_new_name",), label="Name of a new project", raw_attrs=['maxlength="80"'],
                          data_testid="train-new-name", **FIELD)  # fmt: skip
            v3.VSelect(v_model=("train_new_model",), items=("train_new_models",), label="Model to start from",
                       data_testid="train-new-model", **FIELD)  # fmt: skip
            v3.VBtn(
                "Create project",
                raw_attrs=['type="submit"'],
                block=True,
                disabled=("!train_new_name || !!train_task",),
                data_testid="train-create",
            )

    def _folders(self) -> list[Path]:
        return sorted(path.parent for path in self.context.data_root.projects.glob(f"*/{_PROJECT_FILE}"))

    def _wanted(self) -> str:
        found = running_anywhere()
        folders = self._folders()
        if found is not None and found.folder.parents[1] in folders:
            return found.folder.parents[1].name
        return max(folders, key=_changed).name if folders else ""


def _plain(name: str) -> str:
    """Return a name that is one folder of the projects; raise ``InputError`` for any other."""
    parts = check_name(name)
    if len(parts) != 1:
        raise InputError(f'"{name}" is no name of a project.', "Take a name without a slash.")
    return parts[0]


def _changed(folder: Path) -> float:
    """Return when something was last put into or taken out of a project."""
    known = (folder, folder / "cases", folder / "runs")
    return max(path.stat().st_mtime for path in known if path.exists())
