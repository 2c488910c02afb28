"""A way through the browser: open, segment, look at features, correct, add cases, fine-tune, use the new model.

    pytest -m slow Testing/web/test_whole_path.py

keeps its pictures for the documentation where HLFD_PICTURES names a folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'hlfd[train]'")

from hlfd.io import read_volume, write_volume
from hlfd.models.resources import sample_folder
from hlfd.volume import Volume
from Testing.web.chromium import launched
from Testing.web.front_server import RunningFront

PROJECT = Path(__file__).resolve().parents[2]
LONG_MS = 300_000
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class User:
    """A person at a page; ``keep`` takes pictures of it."""

    def __init__(self, page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.folder = os.environ.get("HLFD_PICTURES", "")

    def by(self, name: str):
        return self.page.get_by_test_id(name)

    def click(self, *names: str) -> None:
        for name in names:
            self.by(name).first.click()

    def open_section(self, name: str) -> None:
        title = self.by(f"train-section-{name}").get_by_role("button").first
        if title.get_attribute("aria-expanded") != "true":
            title.click()

    def choose(self, name: str, text: str) -> None:
        self.by(name).locator(".v-field").click()
        self.page.locator(".v-overlay--active .v-list-item", has_text=text).first.click()

    def type(self, name: str, text: str) -> None:
        self.by(name).locator("input").fill(text)

    def segment(self) -> None:
        self.click("tab-segment")
        self.page.locator("[data-testid=segment-button]:not([disabled])").click()
        self.by("seg-saved").wait_for(timeout=LONG_MS)
        self.by("seg-progress").wait_for(state="hidden")

    def add_case(self, title: str, role: str) -> None:
        self.by("train-add-title").wait_for()
        self.type("train-add-title", title)
        self.choose("train-add-role", role)
        self.page.locator("[data-testid=train-add]:not([disabled])").click()
        self.page.locator("[data-testid^=train-case-]", has_text=title).wait_for(timeout=LONG_MS)

    def keep(self, name: str, theme: str = "") -> None:
        """Take a picture once nothing changes any more."""
        if self.folder:
            self.page.wait_for_function("!document.querySelector('[data-testid=notice-success]')")
            self.page.mouse.move(2, 2)
            self.page.wait_for_timeout(2500)
            self.page.screenshot(path=Path(self.folder) / f"browser-{name}{theme}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data folder with a second CT: the sample with noise of its own."""
    root = tmp_path_factory.mktemp("path") / "root"
    (root / "uploads").mkdir(parents=True)
    sample = read_volume(sample_folder() / "sample_ct.nii.gz")
    noise = np.random.default_rng(3).normal(0, 6, sample.shape)
    other = Volume((sample.array + noise).astype(np.int16), sample.affine)
    write_volume(other, root / "uploads" / "second.nii.gz")
    return root


@pytest.fixture(scope="module")
def user(root, tmp_path_factory):
    paths = [str(PROJECT / name) for name in ("WebApp", "HLFDTrain", "HLFDSegment")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("HLFD_RUN_LOCK", str(tmp_path_factory.mktemp("lock") / "training.lock"))
        running = RunningFront(root, child=PROJECT / "WebApp" / "hlfd_web" / "session.py")
        with launched() as browser:
            page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            page.goto(running.front.address)
            yield User(page)
        running.close()


def test_opens_the_sample(user):
    user.click("open-sample")
    user.by("open-volume").wait_for()
    assert user.by("volume-name").inner_text() == "Sample CT"
    user.keep("open")


def test_segments_it_and_jumps_to_the_lesion(user):
    user.segment()
    rows = user.by("lesion-row")
    assert "tumor" in rows.first.inner_text().lower()
    before = user.by("view-text-Red").inner_text()
    rows.first.click()
    user.page.wait_for_function(
        "before => document.querySelector('[data-testid=view-text-Red]').innerText !== before", arg=before
    )
    user.keep("segment")


def test_shows_what_the_student_looks_at(user):
    user.click("tab-features", "features-button")
    user.by("features-shown").wait_for(timeout=LONG_MS)
    assert "kidney" in user.by("features-numbers").inner_text().lower()
    user.keep("features")
    user.click("features-leave")
    user.by("view-Green").wait_for()


def test_corrects_the_result(user):
    user.click("tab-edit", "edit-segment-kidney_tumor", "edit-tool-paint")
    tumor = user.by("edit-segment-kidney_tumor")
    before = tumor.inner_text()
    box = user.page.locator("[data-view=Red]").bounding_box()
    x, y = box["x"] + 0.4 * box["width"], box["y"] + 0.5 * box["height"]
    user.page.mouse.move(x, y)
    user.page.mouse.down()
    for step in range(8):
        user.page.mouse.move(x + 4 * step, y + 2 * step)
    user.page.mouse.up()
    user.by("edit-changed").wait_for()
    assert tumor.inner_text() != before
    user.keep("edit")
    user.click("edit-tool-look")


def test_makes_a_project_of_two_corrected_cases(user):
    user.click("edit-train")
    user.by("panel-train").wait_for()
    user.open_section("project")
    user.type("train-new-name", "our kidneys")
    user.page.locator("[data-testid=train-create]:not([disabled])").click()
    user.page.get_by_text("our kidneys").first.wait_for()
    user.open_section("cases")
    user.open_section("add")
    user.add_case("first scan", "train")
    user.click("tab-open", "file-uploads", "file-second.nii.gz")
    user.page.wait_for_function("document.querySelector('[data-testid=volume-name]').innerText.startsWith('second')")
    user.segment()
    user.click("tab-edit", "edit-train")
    user.add_case("second scan", "test")
    assert user.page.locator("[data-testid^=train-case-]").count() == 2
    user.keep("train-cases")


def test_fine_tunes_the_student(user):
    user.open_section("train")
    user.by("train-advanced").get_by_role("button").first.click()
    user.type("train-steps", "4")
    slider = user.by("train-replay").get_by_role("slider")
    slider.press("Home")  # simulating patients takes a minute
    user.page.locator("[data-testid=train-start]:not([disabled])").click()
    user.by("train-progress").wait_for()
    user.keep("train-running")
    user.by("train-results").wait_for(timeout=LONG_MS)
    assert user.by("train-results").locator("tr").count() > 3
    user.by("train-use").scroll_into_view_if_needed()
    user.keep("train-result")


def test_uses_the_new_model(user, root):
    worse = user.by("train-worse").count() > 0
    user.click("train-use")
    if worse:  # it is asked then
        user.click("train-question-yes")
    user.by("notice-success").filter(has_text="is among the models now").wait_for()
    user.click("tab-models")
    new = list((root / "models").glob("kidney/*/model.json"))
    assert len(new) == 1
    version = new[0].parent.name
    user.by("model-row").filter(has_text=version).first.click()
    assert "fine-tuned" in user.by("model-card").inner_text()
    user.keep("models")
    user.click("model-use")
    user.segment()
    assert version in user.by("seg-model").inner_text()


def test_the_same_in_light_and_on_a_tablet(user):
    user.click("theme-button")
    user.keep("segment", "-light")
    user.page.set_viewport_size({"width": 820, "height": 1180})
    user.keep("tablet")
    assert user.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert user.complaints == []
