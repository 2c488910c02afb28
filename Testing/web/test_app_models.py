"""Models in the browser: their cards, use, check, import and removal."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest

from hlfd.models.registry import find_folder
from hlfd_web.models_panel.panel import card_paragraphs


@pytest.fixture
def models(panels):
    panels["models"].enter()
    return panels["models"]


@pytest.fixture
def upload(context):
    """Lay a package of the user's own where the front lays uploads, and tell the panel as the page does."""

    def arrive(name: str = "mine", damaged: bool = False) -> None:
        folder = context.folder / "made"
        shutil.copytree(find_folder("kidney"), folder, dirs_exist_ok=True)
        facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        facts.update(name=name, version="1.0.0", title="Mine")
        (folder / "model.json").write_text(json.dumps(facts), encoding="utf-8")
        if damaged:
            (folder / facts["refiner"]["weights"]).write_bytes(b"x")
        (context.folder / "uploads").mkdir(exist_ok=True)
        with zipfile.ZipFile(context.folder / "uploads" / "mine.zip", "w") as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
        with context.state:
            context.state.model_upload = {"state": "done", "name": "mine.zip", "path": "mine.zip"}

    return arrive


def keys(context) -> list[str]:
    return [row["key"] for row in context.state.model_rows]


def test_a_model_is_described_with_its_license_and_its_card(models, context):
    models.show(keys(context)[0])
    assert dict(context.state.model_facts)["Where"] == "ships with HLFD"
    assert "CC-BY-NC-SA-4.0" in dict(context.state.model_facts).values()
    assert any("Intended use" in row["text"] for row in context.state.model_card)


def test_an_imported_model_can_be_used_and_removed_again(models, upload, context, wait_until):
    upload()
    wait_until(lambda: "mine/1.0.0" in keys(context))
    assert not (context.folder / "uploads" / "mine.zip").exists()
    models.use("mine/1.0.0")
    assert context.state.seg_model == "mine/1.0.0"
    context.state.model_remove = "mine/1.0.0"
    models.remove()
    assert "mine/1.0.0" not in keys(context)
    assert context.state.seg_model.startswith("kidney/")


def test_importing_a_model_again_asks_first(models, upload, context, wait_until):
    upload()
    wait_until(lambda: "mine/1.0.0" in keys(context))
    upload()
    assert context.state.model_replace == "mine/1.0.0"
    models.replace(True)
    wait_until(lambda: context.state.model_busy == "")
    assert context.state.notices[-1]["kind"] == "success"


def test_a_damaged_package_is_refused_in_words(models, upload, context, wait_until):
    upload(damaged=True)
    wait_until(lambda: bool(context.state.notices))
    assert context.state.notices[-1]["kind"] == "error"
    assert "mine/1.0.0" not in keys(context)


def test_only_what_was_uploaded_can_be_imported(models, context):
    for path in ("../secret.zip", "/etc/passwd", "none.zip", "", ["x"]):
        with context.state:
            context.state.model_upload = {"state": "done", "name": "x", "path": path}
        assert context.state.notices[-1]["kind"] == "error"
        context.notices.close(context.state.notices[-1]["id"])
        assert context.state.model_busy == ""


def test_a_bundled_model_is_not_removed(models, context):
    context.state.model_remove = keys(context)[0]
    models.remove()
    assert "ships with HLFD" in context.state.notices[-1]["text"]


def test_the_files_of_a_model_are_checked(models, context, wait_until):
    models.verify(keys(context)[0])
    wait_until(lambda: bool(context.state.notices), 60)
    assert context.state.notices[-1]["kind"] == "success"


def test_a_card_becomes_plain_paragraphs():
    rows = card_paragraphs("# Title\n\nOne\nline.\n\n* a `b`\n| x | y |\n|---|---|\n<script>alert(1)</script>")
    assert [row["kind"] for row in rows] == ["h", "p", "li", "li", "p"]
    assert rows[1]["text"] == "One line."
    assert rows[3]["text"] == "x · y"
