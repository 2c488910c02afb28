"""Choosing, importing and removing models in the panel."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from hlfd.models.registry import find_folder


@pytest.fixture
def make_package(tmp_path):
    """Make a package of the person's own from the one that ships, with some of its facts changed."""

    def make(name: str, **facts) -> Path:
        folder = tmp_path / "made" / name
        shutil.copytree(find_folder("kidney"), folder)
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        facts = {**data, "name": name, "version": "1.0.0", **facts}
        (folder / "model.json").write_text(json.dumps(facts), encoding="utf-8")
        archive = folder.with_suffix(".zip")
        with zipfile.ZipFile(archive, "w") as out:
            for path in folder.iterdir():
                out.write(path, path.name)
        return archive

    return make


def captions(person) -> list[str]:
    selector = person.ui.modelSelector
    return [selector.itemText(index) for index in range(selector.count)]


def import_model(person, archive: Path) -> None:
    person.files.answers = [str(archive)]
    person.click(person.ui.importButton)


def test_an_imported_model_is_chosen_named_on_the_button_and_removed_again(person, make_package, own_models):
    import qt

    assert not person.ui.removeButton.enabled
    import_model(person, make_package("ward", task="liver tumor", title="Ward", demonstration=False, notice="Own."))
    assert person.ui.runButton.text == "Segment liver tumor"
    assert person.ui.noticeLabel.text == "Own."
    assert (own_models / "ward" / "1.0.0" / "model.json").is_file()
    person.picture("panel-own-model")

    person.ui.modelSelector.setCurrentIndex(0)
    assert person.ui.runButton.text == "Segment kidney tumor"
    person.ui.modelSelector.setCurrentIndex(next(n for n, caption in enumerate(captions(person)) if "own" in caption))
    person.dialogs.answers = [qt.QMessageBox.Ok]
    person.click(person.ui.removeButton)
    assert not any("own" in caption for caption in captions(person))
    assert not (own_models / "ward").exists()
    assert person.ui.runButton.text == "Segment kidney tumor"


def test_importing_a_model_again_asks_first(person, make_package):
    import qt

    archive = make_package("liver", task="liver tumor")
    import_model(person, archive)
    person.dialogs.answers = [qt.QMessageBox.Cancel, qt.QMessageBox.Ok]
    import_model(person, archive)
    import_model(person, archive)
    assert len(person.dialogs.shown) == 2
    assert "liver/1.0.0" in person.dialogs.shown[0]


def test_a_file_that_is_no_model_is_refused_in_words(person, tmp_path):
    archive = tmp_path / "photo.zip"
    archive.write_bytes(b"no zip at all")
    import_model(person, archive)
    assert "not a readable zip file" in person.dialogs.shown[-1]
    assert not any("own" in caption for caption in captions(person))


def test_a_damaged_model_is_refused_in_words(person, make_package, tmp_path):
    whole, damaged = make_package("liver"), tmp_path / "damaged.zip"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(damaged, "w") as out:
        for name in source.namelist():
            out.writestr(name, source.read(name)[:-1] if name == "refiner.bin" else source.read(name))
    import_model(person, damaged)
    assert "refiner.bin" in person.dialogs.shown[-1]


def test_a_demonstration_always_says_so(person, make_package):
    import_model(person, make_package("liver", demonstration=True, notice="Trained on drawings."))
    assert person.ui.noticeLabel.text == "Demonstration, not for clinical use. Trained on drawings."


def test_without_any_model_the_panel_says_what_to_do(person, monkeypatch, tmp_path):
    from hlfd.models import registry

    monkeypatch.setattr(registry, "bundled_models", lambda: tmp_path / "nowhere")
    person.panel.model.refresh()
    assert "Import one" in person.ui.noticeLabel.text
    person.load_ct()
    person.click(person.ui.runButton)
    assert "No model is installed" in person.dialogs.shown[-1]
