"""The list of cases: what each looks like, what it is for, and correcting it."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd.project import CaseInfo
from hlfd_web.train_panel.curves import picture_url
from hlfd_web.train_panel.section import Section, items
from hlfd_web.train_panel.words import case_hint, cases_text, volumes_text
from HLFDTrainLib.choices import ROLES

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel

_PICTURE = 128
_PAGE = 8


class CasesSection(Section):
    """Shows the cases of the project, a page at a time, and changes them one after the other."""

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self._waiting: deque[Callable[[], None]] = deque()
        self.set(cases=[], cases_text=cases_text(None), cases_page=1, cases_pages=1, roles=items(ROLES))
        self.state.change("train_cases_page")(lambda **_state: self.show())

    def show(self) -> None:
        """List the cases as they are now."""
        cases = self.cases.cases
        pages = max(1, -(-len(cases) // _PAGE))
        page = min(max(int(self.get("cases_page") or 1), 1), pages)
        shown = cases[(page - 1) * _PAGE : page * _PAGE]
        self.set(cases_text=cases_text(self.cases.project), cases_pages=pages, cases_page=page)
        self.set(cases=[self._row(case) for case in shown])

    def next(self) -> None:
        """Begin what waits for the end of the task before it; called when one is finished."""
        while self._waiting and not self.cases.task:
            with self.context.notices.shown():
                self.panel.begin(self._waiting.popleft())

    def forget(self) -> None:
        """Drop what waits; called when a task failed."""
        self._waiting.clear()

    def set_role(self, case_id: str, role: str) -> None:
        """Say what a case is for."""
        self._later(lambda: self.cases.set_role(case_id, role))

    def edit(self, case_id: str) -> None:
        """Put a case into the views, to be corrected."""
        self._later(lambda: self.cases.load_case(case_id))

    def save(self, case_id: str) -> None:
        """Write the corrected labels of a case back."""
        self._later(lambda: self.cases.update(case_id, self._node_of(case_id)))

    def remove(self, case_id: str) -> None:
        """Take a case out of the project, after asking."""
        case = next((one for one in self.cases.cases if one.id == case_id), None)
        if case is not None:
            question = f'Remove "{case.caption}" from the project? Its files go to the folder "removed" of the project.'
            self.panel.ask(question, lambda: self._later(lambda: self.cases.remove(case_id)))

    def build(self) -> None:
        """Write the widgets."""
        html.Div("{{ train_cases_text }}", classes="text-body-2 mb-2", role="status", data_testid="train-cases-text")
        with html.Div(
            v_for="one in train_cases",
            key="one.id",
            classes="mb-2 pa-2 border rounded",
            data_testid=("'train-case-' + one.id",),
        ):
            with html.Div(classes="d-flex", style="gap: 8px"):
                html.Img(src=("one.picture",), alt=("'Slice of ' + one.name",), width=64, height=64,
                         style="object-fit: contain; background: #000; flex: none")  # fmt: skip
                with html.Div(style="min-width: 0; flex: 1"):
                    html.Div("{{ one.name }}", classes="text-subtitle-2 text-truncate", title=("one.hint",))
                    html.Div("{{ one.volumes }}", classes="text-caption")
            with html.Div(classes="d-flex align-center mt-1", style="gap: 4px"):
                v3.VSelect(
                    model_value=("one.role",),
                    items=("train_roles",),
                    label="Role",
                    density="compact",
                    hide_details=True,
                    variant="outlined",
                    update_modelValue=(self.set_role, "[one.id, $event]"),
                    data_testid=("'train-role-' + one.id",),
                )
                self._button("Correct", "mdi-pencil-outline", self.edit, "edit")
                self._button("Save corrections of", "mdi-content-save-outline", self.save, "save", "!one.in_scene")
                self._button("Remove", "mdi-delete-outline", self.remove, "remove")
        v3.VPagination(v_if="train_cases_pages > 1", v_model=("train_cases_page",), length=("train_cases_pages",),
                       density="compact", data_testid="train-cases-pages")  # fmt: skip

    def _button(self, title: str, icon: str, click: Any, name: str, disabled: str = "false") -> None:
        v3.VBtn(
            icon=icon,
            size="small",
            variant="text",
            disabled=(f"!!train_task || {disabled}",),
            click=(click, "[one.id]"),
            title=title.removesuffix(" of"),
            aria_label=(f"'{title} ' + one.name",),
            data_testid=(f"'train-{name}-' + one.id",),
        )

    def _row(self, case: CaseInfo) -> dict[str, Any]:
        return {
            "id": case.id,
            "name": case.caption,
            "role": case.role,
            "hint": case_hint(case),
            "volumes": volumes_text(case),
            "picture": _picture(case.thumbnail, case.updated),
            "in_scene": self._node_of(case.id) is not None,
        }

    def _later(self, task: Callable[[], None]) -> None:
        self._waiting.append(task)
        self.next()

    def _node_of(self, case_id: str) -> Any:
        """Return the newest segmentation of the scene that belongs to a case."""
        scene, kind = self.context.scene, "vtkMRMLSegmentationNode"
        nodes = [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
        known = [node for node in nodes if (case := self.cases.case_of(node)) is not None and case.id == case_id]
        return known[-1] if known else None


@lru_cache(maxsize=256)
def _picture(path: Path, _updated: str) -> str:
    """Return the picture of a case for the page, small; empty where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.thumbnail((_PICTURE, _PICTURE))
            return picture_url(np.asarray(image.convert("RGB")))
    except (OSError, ValueError):
        return ""
