"""Browser sessions of the server: own processes, a spare one, their ends, and what a page is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from hlfd.errors import BusyError, UsageError
from hlfd.jobs.process import is_running
from hlfd_web.front.server import Front
from hlfd_web.front.sessions import LEFT_SECONDS
from Testing.web.front_server import CHILD, PLAIN_CHILD, RunningFront


@pytest.fixture
def start(tmp_path):
    made = []

    def run(**options) -> RunningFront:
        made.append(RunningFront(options.pop("data_root", tmp_path / "root"), **{"child": PLAIN_CHILD, **options}))
        return made[-1]

    yield run
    for running in made:
        running.close()


def wait(holds, seconds=20.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_each_browser_has_a_process_and_a_private_folder_of_its_own(start):
    running = start()
    one, other = running.visitor().open(), running.visitor().open()
    children = one.session.child, other.session.child
    assert children[0].pid != children[1].pid
    assert children[0].folder != children[1].folder
    assert all(oct(child.folder.stat().st_mode).endswith("700") for child in children)


def test_a_second_page_of_a_browser_is_the_same_session(start):
    visitor = start().visitor().open()
    child = visitor.session.child
    assert visitor.get("/").status == 200
    assert visitor.session.child is child


def test_the_spare_process_makes_a_page_open_at_once(start):
    running = start()
    wait(lambda: running.front.sessions._spare.done())
    visitor = running.visitor()
    answer = visitor.get("/")
    assert b"/front/page.js" in answer.body  # the page itself, not the one that waits


def test_others_of_this_computer_cannot_use_the_port_of_a_session(start):
    running = start(child=CHILD)
    child = running.visitor().open().session.child

    async def ask(**headers):
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{child.port}/index.html", headers=headers) as answer,
        ):
            return answer.status

    assert running.call(ask()) == 403
    assert running.call(ask(**{"X-HLFD-Secret": "guess"})) == 403
    assert running.call(ask(**{"X-HLFD-Secret": child.secret})) == 200


def test_a_closed_page_ends_its_session_soon_and_one_loaded_again_does_not(start):
    running = start()
    visitor = running.visitor().open()
    child = visitor.session.child
    assert visitor.post("/session/leave").status == 204
    visitor.get("/")  # loaded again
    running.look(LEFT_SECONDS + 1)
    assert visitor.session is not None
    session = visitor.session
    visitor.post("/session/leave")
    running.look(LEFT_SECONDS + 1)
    assert session not in running.front.sessions.all
    assert visitor.get("/session/state").json == {"state": "ended", "message": "The page was closed."}
    wait(lambda: not is_running(child.pid) and not child.folder.exists())


def test_a_page_that_waits_for_its_session_or_loads_its_files_is_not_closed(start):
    running = start()
    visitor = running.visitor().open()
    for path in ("/session/state", "/vue.global.js"):
        visitor.post("/session/leave")  # of the page before, which may come late
        visitor.get(path)
        running.look(LEFT_SECONDS + 1)
        assert visitor.session is not None


def test_a_session_without_use_ends_and_says_why(start):
    running = start(idle_minutes=10)
    visitor = running.visitor().open()
    visitor.session.opened = True
    running.look(9 * 60)
    assert visitor.session is not None
    running.look(11 * 60)
    state = visitor.get("/session/state").json
    assert state["state"] == "ended"
    assert "not used for a while" in state["message"]
    assert visitor.get("/vue.global.js").status == 410


def test_a_session_that_was_never_opened_does_not_stay(start):
    running = start()
    visitor = running.visitor().open()
    running.look(121)
    assert visitor.session is None


def test_a_process_that_dies_is_told_to_its_page_and_only_to_it(start):
    running = start()
    visitor, other = running.visitor().open(), running.visitor().open()
    os.kill(visitor.session.child.pid, signal.SIGKILL)
    wait(lambda: visitor.get("/session/state").json["state"] == "ended")
    assert "unexpectedly" in visitor.get("/session/state").json["message"]
    assert other.get("/session/state").json["state"] == "ready"
    assert visitor.open().get("/").status == 200  # and starts again


def test_when_all_places_are_taken_a_page_says_so_and_gets_the_next(start):
    running = start(max_sessions=1)
    first = running.visitor().open()
    late = running.visitor()
    answer = late.get("/")
    assert answer.status == 503
    assert "All 1 places of this server are taken" in answer.text
    assert late.get("/session/state").json["state"] == "full"
    first.post("/session/leave")
    running.look(LEFT_SECONDS + 1)
    assert late.get("/session/state").json["state"] == "none"
    late.open()


def test_a_process_that_cannot_start_is_told_to_the_page(start, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit('no screen to draw on')")
    visitor = start(child=broken).visitor()
    visitor.get("/")
    wait(lambda: visitor.get("/session/state").json["state"] == "failed")
    assert "no screen to draw on" in visitor.get("/session/state").json["message"]


def test_an_unknown_cookie_tells_that_the_server_was_started_again(start):
    running = start()
    visitor = running.visitor()
    visitor.cookies[f"hlfd_session_{running.port}"] = "of-another-life"
    state = visitor.get("/session/state").json
    assert state["state"] == "none"
    assert "started again" in state["message"]


def test_a_stopped_server_leaves_no_process_and_no_private_folder(tmp_path):
    running = RunningFront(tmp_path / "root", PLAIN_CHILD)
    pids = [running.visitor().open().session.child.pid for _ in range(2)]
    running.close()
    assert not any(is_running(pid) for pid in pids)
    assert list((tmp_path / "root" / ".hlfd" / "sessions").iterdir()) == []


def test_a_data_root_belongs_to_one_server_at_a_time(start):
    running = start()
    with pytest.raises(BusyError, match="Another HLFD server"):
        start(data_root=running.front.root.folder)


def test_a_port_that_is_taken_is_told(start, tmp_path):
    running = start()
    with pytest.raises(UsageError, match="Cannot listen"):
        start(data_root=tmp_path / "other", port=running.port)


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from hlfd_web.front.options import Options
from hlfd_web.front.server import Front

async def serve():
    front = Front(Options(port=int(sys.argv[2]), data_root=Path(sys.argv[1])), (sys.executable, "-u", sys.argv[3]))
    await front.start()
    session = front.sessions.create()
    child = await session.starting
    print(front.port, child.pid, child.folder, flush=True)
    await asyncio.sleep(60)

asyncio.run(serve())
"""


def test_a_server_that_is_killed_takes_its_sessions_along_and_finds_its_data_again(tmp_path):
    def run(port: int) -> subprocess.Popen:
        command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "root"), str(port), str(PLAIN_CHILD)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    first = run(0)
    port, pid, folder = first.stdout.readline().split()
    (tmp_path / "root" / "results" / "done.seg.nrrd").write_text("result")
    first.kill()
    first.communicate()
    wait(lambda: not is_running(int(pid)))
    second = run(int(port))
    try:
        assert second.stdout.readline().split()[0] == port
        assert not Path(folder).exists()
        assert (tmp_path / "root" / "results" / "done.seg.nrrd").read_text() == "result"
    finally:
        second.kill()
        second.communicate()


def test_the_server_does_not_import_slicer():
    code = "import sys, hlfd_web.front.server; print({'vtk', 'slicer', 'trame', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert Front is not None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "99999"], "--port"),
        (["--host", "0.0.0.0", "--token", "off"], "without a token"),
        (["--data-root", "/proc/nothing"], "--data-root"),
        (["--nonsense"], "unrecognized"),
    ],
)
def test_the_command_refuses_what_cannot_work_in_a_sentence(arguments, told):
    command = [sys.executable, "-m", "hlfd_web", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
