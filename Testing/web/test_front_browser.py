"""Pages of the server in a real browser: log in, a session, a lost connection, uploads and downloads."""

from __future__ import annotations

import time

import pytest

from Testing.web.chromium import launched
from Testing.web.front_server import RunningFront
from Testing.web.test_front_files import nifti


@pytest.fixture(scope="module")
def browser():
    with launched() as started:
        yield started


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    made = RunningFront(tmp_path_factory.mktemp("browser") / "root", max_upload_mb=5)
    yield made
    made.close()


@pytest.fixture
def visit(browser):
    """Open an address in a browser of its own; complaints of its console are kept in ``page.complaints``."""
    contexts = []

    def open_page(address: str, **options):
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_a_page_opens_its_session_works_and_obeys_its_policy(running, visit):
    page = visit(running.front.address)
    page.get_by_test_id("more").click()
    page.get_by_text("A session of 1").wait_for()
    refused = [text for text in page.complaints if "Content Security Policy" in text]
    assert refused == []
    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.bad = 1';
        document.body.append(script);
    }""")
    page.evaluate("() => fetch('http://127.0.0.1:9/x').catch(() => 0)")
    assert page.evaluate("window.bad") is None
    assert len([text for text in page.complaints if "Content Security Policy" in text]) >= 2


def test_two_browsers_have_scenes_of_their_own_and_two_tabs_share_one(running, visit):
    one, other = visit(running.front.address), visit(running.front.address)
    one.get_by_test_id("more").click()
    one.get_by_text("A session of 1").wait_for()
    other.get_by_text("A session of 0").wait_for()
    tab = one.context.new_page()
    tab.goto(running.front.address)
    tab.get_by_text("A session of 1").wait_for()


def test_a_page_loaded_again_shows_the_same_session(running, visit):
    page = visit(running.front.address)
    page.get_by_test_id("more").click()
    page.get_by_text("A session of 1").wait_for()
    page.reload()
    page.get_by_text("A session of 1").wait_for()


def test_a_closed_page_tells_the_server(running, visit):
    page = visit(running.front.address)
    page.get_by_test_id("more").wait_for()
    before = [session for session in running.front.sessions.all if session.left is not None]
    page.goto("about:blank")
    end = time.monotonic() + 10
    while len([session for session in running.front.sessions.all if session.left is not None]) <= len(before):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_session_that_died_is_told_with_a_button_that_starts_again(running, visit):
    page = visit(running.front.address)
    page.get_by_test_id("more").click()
    page.get_by_text("A session of 1").wait_for()
    page.get_by_test_id("die").click()
    page.get_by_text("This session has ended").wait_for()
    assert "unexpectedly" in page.get_by_test_id("connection-lost").inner_text()
    button = page.get_by_test_id("start-again")
    assert button.evaluate("node => node === document.activeElement")
    button.press("Enter")
    page.get_by_text("A session of 0").wait_for()


def test_a_connection_that_broke_is_taken_up_again(running, visit):
    page = visit(running.front.address)
    page.get_by_test_id("more").click()
    page.get_by_text("A session of 1").wait_for()

    async def cut():
        for session in running.front.sessions.all:
            for close in session.closers:
                close()

    with page.expect_navigation():
        running.call(cut())
    page.get_by_text("A session of 1").wait_for()


def test_a_server_that_was_started_again_is_told(tmp_path, visit):
    first = RunningFront(tmp_path / "root")
    port = first.port
    page = visit(first.front.address)
    page.get_by_test_id("more").wait_for()
    first.close()
    page.get_by_text("The server does not answer").wait_for()
    second = RunningFront(tmp_path / "root", port=port)
    try:
        page.get_by_text("The server was started again").wait_for()
        page.get_by_test_id("start-again").click()
        page.get_by_text("A session of 0").wait_for()
    finally:
        second.close()


def test_the_token_of_the_address_logs_in_and_leaves_it(tmp_path, visit):
    guarded = RunningFront(tmp_path / "root", token="on")
    try:
        page = visit(guarded.front.address)
        page.get_by_test_id("more").wait_for()
        assert guarded.front.token.text not in page.url
        assert page.evaluate("document.cookie") == ""
        stranger = visit(f"http://127.0.0.1:{guarded.port}/")
        stranger.get_by_test_id("front-token").fill("a wrong token")
        stranger.get_by_test_id("front-login").click()
        stranger.get_by_text("This is not the token").wait_for()
        stranger.get_by_test_id("front-token").fill(guarded.front.token.text)
        stranger.get_by_test_id("front-login").click()
        stranger.get_by_test_id("more").wait_for()
    finally:
        guarded.close()


def test_a_full_server_says_so_and_opens_when_there_is_room(tmp_path, visit):
    small = RunningFront(tmp_path / "root", max_sessions=1)
    try:
        first = visit(small.front.address)
        first.get_by_test_id("more").wait_for()
        late = visit(small.front.address)
        late.get_by_text("All 1 places of this server are taken").wait_for()
        first.close()
        end = time.monotonic() + 10
        while small.front.sessions.all[0].left is None or small.front.sessions.all[0].sockets:
            assert time.monotonic() < end
            time.sleep(0.05)
        small.look(20)
        late.get_by_test_id("more").wait_for()
    finally:
        small.close()


class TestUploads:
    def choose(self, page, *paths):
        page.get_by_test_id("file").set_input_files([str(path) for path in paths])
        return page.get_by_test_id("uploaded")

    def test_tell_their_session_where_the_file_is(self, running, visit, tmp_path):
        (tmp_path / "my ct.nii").write_bytes(nifti())
        page = visit(running.front.address)
        told = self.choose(page, tmp_path / "my ct.nii")
        page.get_by_text("done uploads/my ct.nii").wait_for()
        assert running.front.root.resolve("uploads/my ct.nii").is_file()
        assert told.is_visible()

    def test_tell_why_a_file_is_refused(self, running, visit, tmp_path):
        (tmp_path / "ct.mhd").write_text("x")
        (tmp_path / "large.nii").write_bytes(bytes(6 << 20))
        page = visit(running.front.address)
        self.choose(page, tmp_path / "ct.mhd")
        page.get_by_text("keeps its voxels in a second file").wait_for()
        self.choose(page, tmp_path / "large.nii")
        page.get_by_text("larger than 5 MB").wait_for()

    def test_of_several_files_make_a_folder(self, running, visit, tmp_path):
        for number in range(3):
            (tmp_path / f"slice{number}.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
        page = visit(running.front.address)
        self.choose(page, *sorted(tmp_path.glob("*.dcm")))
        page.get_by_text("done uploads/DICOM series").wait_for()


def test_a_file_of_the_session_is_saved_without_losing_the_connection(running, visit):
    page = visit(running.front.address)
    page.get_by_test_id("offer").click()
    page.evaluate("""() => {
        const a = document.createElement('a'); a.href = 'files/session/table.csv'; a.download = ''; a.id = 'link';
        a.textContent = 'save'; document.body.append(a);
    }""")
    page.wait_for_timeout(300)
    with page.expect_download() as download:
        page.locator("#link").click()
    assert download.value.path().read_text() == "a,b\n"
    page.get_by_test_id("more").click()
    page.get_by_text("A session of 1").wait_for()
    assert page.get_by_test_id("connection-lost").count() == 0
