"""The outcome: before and after on cases that were not learned from, outlines, and what becomes of the new model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd.errors import HlfdError
from hlfd.jobs.courier import Courier
from hlfd.runs import Run, State
from hlfd_web.downloads import download_folder, offer
from hlfd_web.train_panel.results import HEADERS, result_rows, result_sentences
from hlfd_web.train_panel.section import FIELD, Section
from hlfd_web.views_slices import TITLE
from HLFDSegmentLib.model_catalogue import DEMONSTRATION
from HLFDTrainLib.compare_view import VIEWS
from HLFDTrainLib.result_logic import ResultLogic
from HLFDTrainLib.steps import Steps, Task, in_thread

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel

_CLOSE_S = 2.0
_FIELDS: dict[str, Any] = {
    "runs": [],
    "run": "",
    "run_active": False,
    "result_text": "No training yet.",
    "result_rows": [],
    "worse": [],
    "result_done": False,
    "result_busy": False,
    "compared": "",
}


class OutcomeSection(Section):
    """Shows the trainings of the project and the outcome of the chosen one."""

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self._runs: list[Run] = []
        self._result: dict[str, Any] = {}
        self._courier = Courier()
        self._packing = Steps(self._on_packed)
        self.logic = ResultLogic(self.context.scene, self.context.jobs)
        self.logic.shown.connect(self._on_shown)
        self.logic.registered.connect(self._on_registered)
        self.logic.exported.connect(self._on_exported)
        self.logic.failed.connect(self._on_failed)
        self.set(**_FIELDS)
        self.state.change("train_run")(self._on_choice)

    @property
    def chosen(self) -> Run | None:
        """The training whose outcome is shown."""
        return next((run for run in self._runs if run.id == self.get("run")), None)

    def refresh(self) -> None:
        """List the trainings of the project as they are now, the latest first; the one that is followed is shown."""
        project = self.cases.project
        self._runs = self.training.runs(project.folder)[::-1] if project is not None else []
        ids = [run.id for run in self._runs]
        followed = self.training.run.id if self.training.run is not None else ""
        kept = self.get("run") if self.get("run") in ids else (ids[0] if ids else "")
        self.set(runs=[{"title": f"{run.id}: {run.state.value}", "value": run.id} for run in self._runs])
        self.set(run=followed if followed in ids else kept)
        self._show()

    def poll(self) -> None:
        """Take in what was read, registered or written."""
        self.logic.poll()
        self._packing.poll()
        busy = self.logic.busy or bool(self._packing.name)
        if busy != self.get("result_busy"):
            self.set(result_busy=busy)

    def close(self) -> None:
        """Let go of the views."""
        self.logic.close()
        self._courier.close(_CLOSE_S)

    def show_case(self, case: str) -> None:
        """Show a held-out case three times, with the old, the new and the reference outlines."""
        if not case or self.logic.busy:
            return
        with self.context.notices.shown():
            self.set(live=False)
            self.training.live.leave()
            self.logic.show_case(self._result, case)

    def overlay(self) -> None:
        """Show the first case that there is."""
        self.show_case(next(iter(self._result.get("predictions", {})), ""))

    def leave_overlay(self) -> None:
        """Take the outlines out of the views."""
        self.logic.leave()
        if self.get("compared"):
            self.set(compared="")
            self.context.changed()  # what the views say of what they show
        self.context.views.redraw()

    def use(self) -> None:
        """Add the new version to the models; where it is worse somewhere, after asking."""
        worse = "; ".join(self._result.get("worse", ()))
        if worse:
            self.panel.ask(f"The new version is worse in some places: {worse} Use it all the same?", self._use)
        else:
            self._use()

    def export_zip(self) -> None:
        """Write the new version as a zip file for others."""
        self._export("zip", f"{self._name()}.zip")

    def export_bundle(self) -> None:
        """Write the new version as a MONAI bundle, in a zip file."""
        self._export("bundle", f"{self._name()}-bundle")

    def remove(self) -> None:
        """Delete the files of the chosen training, after asking."""
        run = self.chosen
        if run is not None:
            self.panel.ask(f"Delete the files of {run.id}?", lambda: self._remove(run))

    def build(self) -> None:
        """Write the widgets."""
        with html.Div(v_if="train_runs.length", classes="d-flex align-center mb-2", style="gap: 8px"):
            v3.VSelect(v_model=("train_run",), items=("train_runs",), label="Training", data_testid="train-run",
                       **{**FIELD, "classes": "flex-grow-1"})  # fmt: skip
            v3.VBtn(icon="mdi-delete-outline", size="small", variant="text", disabled=("train_run_active",),
                    click=self.remove, title="Delete its files", aria_label="Delete the files of this training",
                    data_testid="train-run-remove")  # fmt: skip
        html.Div("{{ train_result_text }}", classes="text-body-2 mb-2", style="white-space: pre-line", role="status",
                 data_testid="train-result-text")  # fmt: skip
        with v3.VAlert(v_if="train_worse.length", type="warning", variant="tonal", density="compact",
                       classes="mb-2 text-body-2", data_testid="train-worse"):  # fmt: skip
            html.Div("The new version is worse here:")
            html.Div("{{ line }}", v_for="(line, index) in train_worse", key="index")
        self._table()
        self._buttons()

    def _table(self) -> None:
        with (
            html.Div(v_if="train_result_rows.length", style="overflow-x: auto"),
            html.Table(classes="hlfd-table mb-2", data_testid="train-results"),
        ):
            with html.Thead(), html.Tr():
                for header in HEADERS:
                    html.Th(header, scope="col")
            with (
                html.Tbody(),
                html.Tr(
                    v_for="row in train_result_rows",
                    key="row.id",
                    tabindex=("row.case ? 0 : -1",),
                    classes=("(row.case ? 'goes ' : '') + (row.worse ? 'text-warning' : '')",),
                    v_on_click=(self.show_case, "[row.case]"),
                    v_on_keydown_enter=(self.show_case, "[row.case]"),
                    data_testid=("'train-result-' + row.id",),
                ),
            ):
                with html.Td():
                    html.Div("{{ row.structure }}")
                    html.Div("{{ row.name }}", classes="hlfd-muted")
                html.Td("{{ cell }}", v_for="(cell, index) in row.cells", key="index", style="text-align: right")

    def _buttons(self) -> None:
        blocked = "!train_result_done || train_result_busy"
        with html.Div(v_if="train_result_done", classes="d-flex flex-wrap", style="gap: 8px"):
            v3.VBtn("Use this model", color="primary", disabled=(blocked,), click=self.use, data_testid="train-use")
            v3.VBtn("Outlines", disabled=("!train_result_rows.length || train_result_busy",), click=self.overlay,
                    title="Old, new and reference side by side", data_testid="train-overlay")  # fmt: skip
            v3.VBtn("Leave outlines", v_if="train_compared", click=self.leave_overlay,
                    data_testid="train-leave-overlay")  # fmt: skip
            v3.VBtn("Zip", prepend_icon="mdi-download", disabled=(blocked,), click=self.export_zip,
                    title="Download the model package", data_testid="train-zip")  # fmt: skip
            v3.VBtn("MONAI bundle", prepend_icon="mdi-download", disabled=(blocked,), click=self.export_bundle,
                    data_testid="train-bundle")  # fmt: skip

    def _on_choice(self, **_state: Any) -> None:
        run, followed = self.chosen, self.training.state
        other = run is not None and (self.training.run is None or self.training.run.folder != run.folder)
        with self.context.notices.shown():
            if other and not (followed is not None and followed.active):
                self.panel.run.clear()
                self.training.attach(run)
            self._show()
            self.panel.run.show()

    def _show(self) -> None:
        run = self.chosen
        state = run.state if run is not None else None
        self._result = run.result() if run is not None and state is State.FINISHED else {}
        if run is None or state is None:
            text = "No training yet."
        elif not self._result:
            text = f"{run.id} has no result: it is {state.value}."
        else:
            text = "\n".join(result_sentences(self._result))
        names = {case.id: case.caption for case in self.cases.cases}
        self.set(result_text=text, run_active=state is not None and state.active)
        self.set(result_rows=result_rows(self._result, names), worse=list(self._result.get("worse", ())))
        self.set(result_done=bool(self._result.get("package")))

    def _use(self) -> None:
        with self.context.notices.shown():
            run = self.chosen
            if run is not None:
                self.logic.register(run)

    def _remove(self, run: Run) -> None:
        with self.context.notices.shown():
            if self.training.run is not None and self.training.run.folder == run.folder:
                self.training.detach()
                self.panel.run.clear()
            run.remove()
            self.refresh()
            self.panel.run.show()

    def _name(self) -> str:
        return f"{self._result.get('name', 'model')}-{self._result.get('version', '')}"

    def _export(self, target: str, name: str) -> None:
        with self.context.notices.shown():
            run, out = self.chosen, download_folder(self.context) / name
            if run is not None:
                if out.is_dir():
                    shutil.rmtree(out)
                self.logic.export(run, target, out)

    def _on_shown(self, case: str) -> None:
        for side, tag in VIEWS.items():
            node = self.context.scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
            node.SetAttribute(TITLE, side.capitalize())
        self.set(compared=case)
        self.state.view_notice = DEMONSTRATION
        self.context.views.redraw()

    def _on_registered(self, package: Any) -> None:
        key = f"{package.name}/{package.version}"
        self.panel.model_added(key)
        self.context.notices.show(f"{key} is among the models now, and Segment uses it.", "success")

    def _on_exported(self, path: Path) -> None:
        if path.is_dir():
            self._packing.start("pack", self._pack(path))
        else:
            offer(self.context, path)

    def _pack(self, folder: Path) -> Task:
        def pack() -> Path:
            made = Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
            shutil.rmtree(folder)
            return made

        return (yield from in_thread(self._courier, pack))

    def _on_packed(self, _name: str, path: Path | None, error: HlfdError | None) -> None:
        if path is not None:
            offer(self.context, path)
        elif error is not None:
            self.context.notices.show(error)

    def _on_failed(self, error: HlfdError) -> None:
        self.context.notices.show(error)
