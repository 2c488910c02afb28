"""The tab Models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlfd.errors import HlfdError, InputError
from hlfd.jobs.courier import Courier
from hlfd.models.registry import find
from hlfd_web.files import check_name
from hlfd_web.models_panel import ui
from hlfd_web.panel import Panel
from HLFDSegmentLib.model_catalogue import (
    ModelChoice,
    has_own,
    import_model,
    key_of_source,
    model_choices,
    remove_model,
)
from HLFDTrainLib.steps import Steps, Task, in_thread

if TYPE_CHECKING:
    from hlfd_web.app import Context

_CLOSE_S = 2.0


class ModelsPanel(Panel):
    """Lists the models; own ones can be imported from a zip file, checked and removed."""

    name, title, icon = "models", "Models", "mdi-package-variant-closed"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._courier = Courier()
        self._steps = Steps(self._on_end)
        self._waiting: Path | None = None
        self.state.update(
            {
                **{"model_rows": [], "model_open": "", "model_card": [], "model_facts": [], "model_busy": ""},
                **{"model_upload": {}, "model_replace": "", "model_remove": ""},
            }
        )
        self.state.change("model_upload")(self._on_upload)
        context.every(self._steps.poll)

    def build(self) -> None:
        """Write the panel."""
        ui.build(self)

    def enter(self) -> None:
        """List what is installed now."""
        default = self.state.seg_model
        self.state.model_rows = [
            {
                "key": choice.key,
                "title": choice.title or choice.key,
                "own": not choice.bundled,
                "problem": choice.problem,
                "notice": choice.notice,
                "chosen": choice.key == default,
            }
            for choice in model_choices()
        ]
        if self.state.model_open:
            self.show(self.state.model_open)

    def close(self) -> None:
        """Wait for what is being copied."""
        self._steps.cancel()
        self._steps.poll()
        self._courier.close(_CLOSE_S)

    def show(self, key: str) -> None:
        """Show the card of a model; an empty key closes it."""
        self.state.model_open = ""
        if key:
            with self.context.notices.shown():
                choice = self._choice(key)
                facts, card = describe(choice)
                self.state.update({"model_facts": facts, "model_card": card, "model_open": key})

    def use(self, key: str) -> None:
        """Segment with this model from now on."""
        self.context.panels["segment"].use_model(key)
        self.context.notices.show(f"Segment uses {key} now.", "success")
        self.enter()

    def verify(self, key: str) -> None:
        """Check every file of a model against its SHA-256 sum."""
        self._begin("verify", f"Checking {key}", self._verifying(key))

    def remove(self) -> None:
        """Delete the own model that ``model_remove`` names, after the question was answered."""
        key, self.state.model_remove = self.state.model_remove, ""
        with self.context.notices.shown():
            remove_model(self._choice(key))
            self.state.model_open = ""
            self._changed()

    def replace(self, agreed: bool) -> None:
        """Answer whether an own model is replaced by the uploaded one."""
        path, self._waiting = self._waiting, None
        self.state.model_replace = ""
        if path is not None and agreed:
            self._begin("import", f"Importing {path.name}", self._importing(path, overwrite=True))
        elif path is not None:
            path.unlink(missing_ok=True)

    def _on_upload(self, model_upload: Any = None, **_state: Any) -> None:
        upload = model_upload if isinstance(model_upload, dict) else {}
        if upload.get("state") == "failed" and upload.get("message") != "Cancelled.":
            self.context.notices.show(str(upload.get("message") or "The upload failed."), "error")
        if upload.get("state") in ("done", "failed"):
            self.state.model_upload = {}
        if upload.get("state") == "done":
            with self.context.notices.shown():
                self._import(self._uploaded(str(upload.get("path", ""))))

    def _uploaded(self, name: str) -> Path:
        """Return the package that was uploaded into the session's private folder under a plain name."""
        path = self.context.folder / "uploads" / name
        if len(check_name(name)) != 1 or path.is_symlink() or not path.is_file():
            raise InputError(f'"{name}" was not uploaded.', "Upload it again.")
        return path

    def _import(self, path: Path) -> None:
        key = key_of_source(path)
        if has_own(key):
            self._waiting = path
            self.state.model_replace = key
        else:
            self._begin("import", f"Importing {path.name}", self._importing(path, overwrite=False))

    def _begin(self, name: str, text: str, task: Task) -> None:
        with self.context.notices.shown():
            self._steps.start(name, task)
            self.state.model_busy = text

    def _importing(self, path: Path, overwrite: bool) -> Task:
        try:
            return (yield from in_thread(self._courier, lambda: import_model(path, overwrite)))
        finally:
            path.unlink(missing_ok=True)

    def _verifying(self, key: str) -> Task:
        yield from in_thread(self._courier, lambda: find(key))
        return key

    def _on_end(self, name: str, key: Any, error: HlfdError | None) -> None:
        self.state.model_busy = ""
        if error is not None:
            self.context.notices.show(error)
        elif name == "import":
            self.context.notices.show(f"{key} was imported.", "success")
            self._changed()
        else:
            self.context.notices.show(f"{key}: all files are as they were published.", "success")

    def _changed(self) -> None:
        self.context.panels["segment"].refresh_models()
        self.enter()

    def _choice(self, key: str) -> ModelChoice:
        for choice in model_choices():
            if choice.key == key:
                return choice
        raise InputError(f'There is no model "{key}" any more.', "Choose another one.")


def describe(choice: ModelChoice) -> tuple[list[list[str]], list[dict[str, str]]]:
    """Return the facts of a model as (name, text) rows, and its card as paragraphs of a kind: h, li or p."""
    if choice.problem:
        return [["Problem", choice.problem]], []
    package = find(choice.key, verify=False)
    facts = [
        ["Package", choice.key],
        ["Segments", ", ".join(label.name for label in package.labels)],
        ["Licence", package.licence],
        ["Where", "ships with HLFD" if choice.bundled else "your own"],
    ]
    path = choice.folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return facts, card_paragraphs(text)


def card_paragraphs(text: str) -> list[dict[str, str]]:
    """Return a card in Markdown as paragraphs of plain text, which nothing in it can turn into markup."""
    rows: list[dict[str, str]] = []
    for line in text.splitlines():
        line = line.strip()
        plain = line.lstrip("#*->| ").replace("**", "").replace("`", "").strip()
        if not plain or set(plain) <= set("-| :"):
            rows.append({"kind": "", "text": ""})
        elif line.startswith("#"):
            rows.append({"kind": "h", "text": plain})
        elif line[:2] in ("* ", "- ") or line.startswith("|"):
            rows.append({"kind": "li", "text": " · ".join(filter(None, (part.strip() for part in plain.split("|"))))})
        elif rows and rows[-1]["kind"] in ("p", "li"):
            rows[-1]["text"] += f" {plain}"
        else:
            rows.append({"kind": "p", "text": plain})
    return [row for row in rows if row["text"]]
