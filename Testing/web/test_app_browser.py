"""The application in a real browser, behind the real server: what a user sees, hears, touches and types."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from Testing.web.chromium import launched
from Testing.web.front_server import RunningFront

PROJECT = Path(__file__).resolve().parents[2]
FPS = 10
UNNAMED = """() => [...document.querySelectorAll('button, input, [role=tab], [role=slider], [role=option], a')]
    .filter(node => node.checkVisibility() && !node.closest('[aria-hidden=true]'))
    .filter(node => {
        const label = node.labels?.[0]?.textContent ?? '';
        const by = document.getElementById(node.getAttribute('aria-labelledby') ?? '')?.textContent ?? '';
        return !(node.getAttribute('aria-label') || node.title || node.textContent || label || by).trim();
    })
    .map(node => node.outerHTML.slice(0, 120))"""
SCROLL = """async (seconds) => {
    let frames = 0;
    const session = window.trame.client.getConnection().getSession();
    const heard = session.subscribe('trame.rca.topic.stream', ([one]) => { frames += one.name === 'Red' ? 1 : 0; });
    const target = document.querySelector('[data-view=Red] [tabindex="0"]');
    const box = target.getBoundingClientRect();
    const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true, cancelable: true };
    const end = performance.now() + 1000 * seconds;
    let count = 0;
    while (performance.now() < end) {
        target.dispatchEvent(new WheelEvent('wheel', { ...at, deltaY: Math.floor(count++ / 40) % 2 ? 120 : -120 }));
        await new Promise(resolve => setTimeout(resolve, 25));
    }
    session.unsubscribe(heard);
    return frames / seconds;
}"""

FINGER = """() => {
    const target = document.querySelector('[data-view=Red] [tabindex="0"]');
    const box = target.getBoundingClientRect();
    const at = { clientX: box.x + 100, pointerType: 'touch', pointerId: 7, bubbles: true, cancelable: true };
    const y = box.y + 200;
    target.dispatchEvent(new PointerEvent('pointerdown', { ...at, clientY: y }));
    target.dispatchEvent(new PointerEvent('pointermove', { ...at, clientY: y - 40 }));
    target.dispatchEvent(new PointerEvent('pointerup', { ...at, clientY: y - 40 }));
}"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    paths = [str(PROJECT / name) for name in ("WebApp", "HLFDTrain", "HLFDSegment")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("OMP_NUM_THREADS", "1")
        root = tmp_path_factory.mktemp("app") / "root"
        made = RunningFront(root, child=PROJECT / "WebApp" / "hlfd_web" / "session.py")
        yield made
        made.close()


@pytest.fixture(scope="module")
def page(running):
    """One page for all tests here, with the sample CT; what its console complained about is in ``complaints``."""
    with launched() as browser:
        made = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True).new_page()
        made.set_default_timeout(120_000)
        made.complaints = []
        made.on("pageerror", lambda error: made.complaints.append(str(error)))
        made.goto(running.front.address)
        made.get_by_test_id("open-sample").click()
        made.get_by_test_id("open-volume").wait_for()
        yield made


def text_of(page, tag="Red") -> str:
    return page.get_by_test_id(f"view-text-{tag}").inner_text()


def changes(page, before: str, tag="Red") -> str:
    page.wait_for_function(
        "([tag, before]) => document.querySelector(`[data-testid=view-text-${tag}]`).innerText !== before",
        arg=[tag, before],
    )
    return text_of(page, tag)


def test_four_views_show_the_ct(page):
    for tag in ("Red", "Green", "Yellow", "ThreeD"):
        assert page.get_by_test_id(f"view-{tag}").is_visible()
    assert "W 400 L 40" in text_of(page)
    assert page.get_by_test_id("volume-name").inner_text() == "Sample CT"


def test_wheel_keys_and_slider_scroll_through_the_slices(page):
    before = text_of(page)
    page.get_by_test_id("view-Red").hover()
    page.mouse.wheel(0, 120)
    after = changes(page, before)
    page.keyboard.press("PageUp")
    after = changes(page, after)
    page.keyboard.press("ArrowDown")
    after = changes(page, after)
    page.get_by_test_id("view-slider-Red").get_by_role("slider").press("ArrowRight")
    changes(page, after)


def test_keys_change_the_window_and_the_layout(page):
    page.get_by_test_id("view-Red").hover()
    page.keyboard.press("4")
    page.get_by_text("W 1500 L -600").first.wait_for()
    page.keyboard.press("1")
    page.get_by_text("W 400 L 40").first.wait_for()
    page.keyboard.press("m")
    page.get_by_test_id("view-Green").wait_for(state="detached")
    page.keyboard.press("m")
    page.get_by_test_id("view-Green").wait_for()


def test_a_finger_scrolls_through_the_slices(page):
    before = text_of(page)
    page.evaluate(FINGER)
    changes(page, before)


def test_moving_with_shift_moves_the_other_views(page):
    before = text_of(page, "Yellow")
    box = page.get_by_test_id("view-Red").bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.keyboard.up("Shift")
    changes(page, before, "Yellow")


def test_scrolling_is_smooth(page):
    page.get_by_test_id("view-Red").hover()
    frames = page.evaluate(SCROLL, 3)
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    if frames < FPS and busy:
        pytest.skip(f"{frames:.1f} frames a second on a machine that others keep busy")
    assert frames >= FPS


def test_the_sample_is_segmented_and_a_row_moves_the_views_with_the_keyboard(page):
    page.get_by_test_id("tab-segment").click()
    page.get_by_test_id("segment-button").click()
    row = page.get_by_test_id("lesion-row").first
    row.wait_for()
    assert "Demonstration, not for clinical use" in page.get_by_test_id("seg-notice").inner_text()
    before = text_of(page)
    row.focus()
    row.press("Enter")
    changes(page, before)
    assert row.get_attribute("aria-selected") == "true"


def test_a_result_can_be_downloaded_and_was_saved(page, running):
    with page.expect_download() as download:
        page.get_by_test_id("download-labels").click()
    assert download.value.suggested_filename.endswith(".seg.nrrd")
    assert list(running.front.root.results.glob("*/segmentation.seg.nrrd"))


def test_a_drag_paints_the_chosen_structure_and_undo_takes_it_back(page):
    page.get_by_test_id("tab-edit").click()
    tumor = page.get_by_test_id("edit-segment-kidney_tumor")
    tumor.click()
    before = tumor.inner_text()
    page.get_by_test_id("edit-tool-paint").click()
    box = page.locator("[data-view=Red]").bounding_box()
    x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(8):
        page.mouse.move(x + 5 * step, y)
    page.mouse.up()
    page.get_by_test_id("edit-changed").wait_for()
    assert tumor.inner_text() != before
    page.get_by_test_id("edit-undo").click()
    page.get_by_test_id("edit-changed").wait_for(state="detached")
    assert tumor.inner_text() == before
    page.get_by_test_id("edit-tool-look").click()


def test_the_card_of_the_model_names_its_license(page):
    page.get_by_test_id("tab-models").click()
    page.get_by_test_id("model-row").first.click()
    assert "CC-BY-NC-SA-4.0" in page.get_by_test_id("model-card").inner_text()


def test_help_lists_the_keys_and_is_closed_with_escape(page):
    page.get_by_test_id("help-button").click()
    assert "Shift + move" in page.get_by_test_id("help").inner_text()
    page.keyboard.press("Escape")
    page.get_by_test_id("help").wait_for(state="hidden")


def test_a_file_that_is_no_ct_is_refused_in_words(page, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8bnonsense")
    page.get_by_test_id("tab-open").click()
    page.get_by_test_id("open-file-input").set_input_files(broken)
    notice = page.get_by_test_id("notice-error").first
    notice.wait_for()
    assert str(tmp_path) not in notice.inner_text()
    notice.get_by_role("button").click()
    notice.wait_for(state="detached")


@pytest.mark.parametrize("panel", ["open", "segment", "edit", "features", "train", "models"])
def test_every_control_has_a_name_for_screen_readers(page, panel):
    page.get_by_test_id(f"tab-{panel}").click()
    page.get_by_test_id(f"panel-{panel}").wait_for()
    assert page.evaluate(UNNAMED) == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (820, 1180)])
@pytest.mark.parametrize("panel", ["open", "segment", "edit", "features", "train", "models"])
def test_nothing_is_wider_than_the_page(page, panel, width, height):
    page.set_viewport_size({"width": width, "height": height})
    page.get_by_test_id(f"tab-{panel}").click()
    inside = page.get_by_test_id(f"panel-{panel}")
    inside.wait_for()
    assert inside.evaluate("node => node.scrollWidth <= node.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_page_made_no_mistake_of_its_own(page):
    assert page.complaints == []
