"""The client hands jobs to one warm worker, follows them without waiting, and outlives whatever happens to it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from hlfd.errors import ConfigError, DiskFullError, GeometryError, HlfdError, UsageError, WorkerDiedError
from hlfd.events import Metric, Progress, Stage, Warn
from hlfd.jobs import Job, Jobs, State
from hlfd.jobs.process import child_environment

TESTING = Path(__file__).resolve().parents[1]
LAUNCHER = TESTING / "worker_jobs" / "launcher.py"
posix = pytest.mark.skipif(os.name != "posix", reason="uses signals of POSIX")


@pytest.fixture
def make_jobs(tmp_path):
    """Build a client of a worker that knows the jobs of the tests; all are closed, and must leave nothing."""
    made = []

    def build(**options) -> Jobs:
        folder = options.pop("folder", tmp_path)
        jobs = Jobs(folder=folder, packages=["worker_jobs"], environment={"PYTHONPATH": str(TESTING)}, **options)
        made.append((jobs, folder))
        return jobs

    yield build
    for jobs, folder in made:
        jobs.close()
        assert leftovers(folder) == []
    assert own_workers() == []


@pytest.fixture
def jobs(make_jobs):
    return make_jobs()


def leftovers(folder: Path) -> list[Path]:
    return [path for session in folder.glob("hlfd-jobs-*") for path in session.iterdir()]


def own_workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    running = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    # Python's own helper of process pools, which other tests started, stays until the end.
    return [child for child in running if "multiprocessing" not in " ".join(child.cmdline())]


def run(jobs: Jobs, kind: str, arguments=None, arrays=None) -> Job:
    job = jobs.submit(kind, arguments, arrays)
    assert job.wait(30)
    return job


def started(jobs: Jobs, kind: str, arguments=None, **options) -> Job:
    """Return a job that has begun to say something."""
    job = jobs.submit(kind, arguments, **options)
    end = time.monotonic() + 30
    while not job.take_events() and time.monotonic() < end:
        jobs.poll()
        time.sleep(0.005)
    assert job.state is State.RUNNING
    return job


def test_arguments_arrays_and_events_come_through(jobs):
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    job = run(jobs, "echo", {"text": "Größe 漢字", "number": 0.1}, {"ct": volume, "flag": np.zeros(3, np.uint8)})
    assert job.state is State.DONE
    assert job.result["arguments"] == {"text": "Größe 漢字", "number": 0.1}
    assert np.array_equal(job.arrays["ct"], volume * 2)
    assert job.arrays["ct"].dtype == np.int16
    assert job.take_events() == [Stage("echo"), Progress(1, 2, 0.5), Metric(3, {"loss": 0.25}), Warn("ünïcode ✓")]
    assert job.take_events() == []
    job.release()


def test_what_libraries_print_is_log(jobs):
    run(jobs, "echo")
    deadline = time.monotonic() + 5
    while "said on stderr" not in jobs.log() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "printed by a library" in jobs.log()
    assert "said on stderr" in jobs.log()


def test_threads_of_the_worker_that_have_nothing_to_do_sleep_unless_the_user_wants_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert child_environment()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert child_environment()["OMP_WAIT_POLICY"] == "ACTIVE"


def test_one_process_serves_all_jobs_and_keeps_what_it_loaded(jobs):
    first, second = run(jobs, "echo"), run(jobs, "echo")
    assert first.result["pid"] == second.result["pid"] == jobs.worker_pid != os.getpid()
    assert (first.result["calls"], second.result["calls"]) == (1, 2)


def test_jobs_wait_for_those_before_them(jobs):
    first, second = jobs.submit("steps", {"steps": 30}), jobs.submit("echo")
    while not first.finished:
        jobs.poll()
        assert first.finished or second.state is State.WAITING
        time.sleep(0.005)
    assert second.wait(30)
    assert [job.state for job in (first, second)] == [State.DONE, State.DONE]


def test_nothing_starts_before_the_first_job(jobs):
    jobs.poll()
    assert jobs.worker_pid is None
    assert own_workers() == []


def test_submit_and_poll_never_keep_their_owner_waiting(jobs):
    volume = np.zeros((200, 512, 512), np.int16)
    begin = time.perf_counter()
    job = jobs.submit("echo", arrays={"ct": volume})
    seconds = [time.perf_counter() - begin]
    while not job.finished:
        begin = time.perf_counter()
        jobs.poll()
        seconds.append(time.perf_counter() - begin)
        time.sleep(0.005)
    assert job.state is State.DONE
    assert np.percentile(seconds, 90) < 0.02  # the rest is what other processes of a busy machine take
    assert max(seconds) < 2.0
    job.release()


def test_asyncio_waits_for_a_job_without_blocking(jobs):
    async def main() -> int:
        job, ticks = jobs.submit("steps", {"steps": 20}), 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        other = asyncio.create_task(tick())
        await job.join()
        other.cancel()
        assert job.state is State.DONE
        return ticks

    assert asyncio.run(main()) > 5


def test_a_cancelled_task_cancels_its_job(jobs):
    async def main() -> Job:
        job = jobs.submit("steps")
        task = asyncio.create_task(job.join())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return job

    job = asyncio.run(main())
    assert job.wait(10)
    assert job.state is State.CANCELLED


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("geometry", "bad_geometry", "affine is odd"),
        ("memory", "out_of_memory", "too little free memory"),
        ("full", "disk_full", "No space is left"),
        ("gpu", "gpu_out_of_memory", "GPU ran out of memory"),
        ("bug", "internal", "unexpected ZeroDivisionError: by zero"),
        ("long", "internal", "unexpected ValueError: xxx"),
        ("leaves", "internal", "unexpected SystemExit"),
    ],
)
def test_an_error_keeps_its_code_and_says_what_to_do(jobs, how, code, words):
    job = run(jobs, "fails", {"how": how})
    assert job.state is State.FAILED
    assert job.error.code == code
    assert words in job.error.message
    assert job.error.remedy
    assert len(str(job.error)) < 5000
    with pytest.raises(type(job.error)):
        job.check()
    assert run(jobs, "echo").state is State.DONE


def test_the_error_has_the_class_of_its_code(jobs):
    assert isinstance(run(jobs, "fails", {"how": "geometry"}).error, GeometryError)


def test_an_unknown_job_names_the_nearest(jobs):
    job = run(jobs, "segmnt")
    assert isinstance(job.error, ConfigError)
    assert 'Did you mean "segment"?' in job.error.remedy


def test_arguments_that_are_no_json_are_refused(jobs):
    job = run(jobs, "echo", {"array": np.zeros(3)})
    assert job.state is State.FAILED
    assert "could not be handed over" in job.error.message


def test_a_job_that_looks_at_its_token_stops_and_the_worker_stays(jobs):
    pid = run(jobs, "echo").result["pid"]
    job = started(jobs, "steps", grace_s=20)
    job.cancel()
    assert job.state is State.CANCELLING
    assert job.wait(10)
    assert job.state is State.CANCELLED
    assert run(jobs, "echo").result["pid"] == pid


@posix
@pytest.mark.parametrize("gil", [False, True])
def test_a_job_in_one_long_call_is_killed_after_the_grace_period(jobs, gil):
    job = started(jobs, "stuck", {"gil": gil})
    begin = time.perf_counter()
    job.cancel()
    assert job.wait(10)
    assert job.state is State.CANCELLED
    assert 0.5 < time.perf_counter() - begin < 5.0  # 0.6 s where nothing else runs
    assert run(jobs, "echo").state is State.DONE


@posix
def test_a_launcher_between_is_killed_with_all_below_it(make_jobs):
    jobs = make_jobs(python=[sys.executable, str(LAUNCHER), "-"])
    job = started(jobs, "stuck")
    family = own_workers()
    assert len(family) == 2
    assert jobs.worker_pid == family[1].pid
    job.cancel()
    assert job.wait(10)
    psutil.wait_procs(family, timeout=5)
    assert not any(member.is_running() for member in family)


@posix
def test_what_a_job_started_is_killed_with_it(jobs):
    job = started(jobs, "steps", {"child": True})
    os.kill(jobs.worker_pid, signal.SIGKILL)
    assert job.wait(10)
    deadline = time.monotonic() + 5
    while own_workers() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert own_workers() == []


def test_a_waiting_job_can_be_cancelled_and_the_running_one_goes_on(jobs):
    running = started(jobs, "steps", {"steps": 60})
    waiting = jobs.submit("echo")
    time.sleep(0.1)
    waiting.cancel()
    assert running.wait(30)
    assert running.state is State.DONE
    assert waiting.wait(10)
    assert waiting.state is State.CANCELLED


@posix
def test_jobs_behind_a_killed_one_go_to_the_next_worker(jobs):
    stuck = started(jobs, "stuck")
    behind = jobs.submit("echo", {"n": 1}, {"ct": np.ones(5, np.int16)})
    time.sleep(0.1)
    stuck.cancel()
    assert behind.wait(30)
    assert behind.state is State.DONE
    assert behind.arrays["ct"].sum() == 10
    behind.release()


@pytest.mark.parametrize("seed", range(20))
def test_cancelling_at_a_random_moment_leaves_nothing(jobs, tmp_path, seed):
    job = jobs.submit("steps", {"steps": 20}, {"ct": np.zeros((20, 64, 64), np.int16)})
    end = time.monotonic() + random.Random(seed).uniform(0, 0.6)
    while time.monotonic() < end:
        jobs.poll()
        time.sleep(0.005)
    begin = time.perf_counter()
    job.cancel()
    assert job.wait(10)
    assert time.perf_counter() - begin < 5.0  # 0.6 s where nothing else runs
    assert job.state in (State.CANCELLED, State.DONE)
    following = run(jobs, "echo")
    assert following.state is State.DONE
    time.sleep(0.02)
    assert [path for path in leftovers(tmp_path) if path.name != f"job-{following.id}"] == []


@posix
def test_a_killed_worker_fails_the_job_and_the_next_gets_a_new_one(jobs):
    job = started(jobs, "steps")
    os.kill(jobs.worker_pid, signal.SIGKILL)
    assert job.wait(10)
    assert isinstance(job.error, WorkerDiedError)
    assert "ended in the middle of the work (signal SIGKILL)" in job.error.message
    assert "close other programs" in job.error.remedy
    assert run(jobs, "echo").state is State.DONE


def test_a_worker_that_leaves_in_a_job_is_reported_with_its_last_words(jobs):
    job = run(jobs, "fails", {"how": "exits"})
    assert job.error.code == "worker_died"
    assert "code 3, about to fall over" in job.error.message


def test_an_idle_worker_leaves_and_the_next_job_starts_another(make_jobs):
    jobs = make_jobs(idle_exit_s=0.3)
    first = run(jobs, "echo")
    deadline = time.monotonic() + 10
    while own_workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert own_workers() == []
    second = run(jobs, "echo")
    assert second.state is State.DONE
    assert second.result["pid"] != first.result["pid"]


def test_a_restart_gives_a_new_worker_and_keeps_results(jobs):
    first = run(jobs, "echo", arrays={"ct": np.ones(3, np.int16)})
    jobs.restart()
    second = run(jobs, "echo")
    assert second.result["pid"] != first.result["pid"]
    assert first.arrays["ct"].sum() == 6
    assert first.folder.exists()
    first.release()


def test_a_busy_worker_is_not_restarted(jobs):
    job = started(jobs, "steps")
    with pytest.raises(UsageError, match="still running"):
        jobs.restart()
    job.cancel()
    assert job.wait(5)


def test_a_python_that_does_not_exist_is_an_error_of_the_job(make_jobs):
    job = run(make_jobs(python=["/nowhere/python"]), "echo")
    assert job.error.code == "worker_died"
    assert "could not be started" in job.error.message


def test_a_worker_that_cannot_start_is_reported_with_its_reason(make_jobs):
    job = run(make_jobs(python=[sys.executable, "-c", "raise SystemExit('no engine here')"]), "echo")
    assert "did not start" in job.error.message
    assert "no engine here" in job.error.message


@posix
@pytest.mark.parametrize("word", ["accepted", "progress", "hello", '"done"'])
def test_damaged_lines_lose_no_job(make_jobs, word):
    jobs = make_jobs(python=[sys.executable, str(LAUNCHER), word])
    job = jobs.submit("echo", {"n": 7}, {"ct": np.ones(4, np.int16)})
    assert job.wait(30)
    assert job.state is State.DONE
    assert job.result["arguments"] == {"n": 7}
    assert job.arrays["ct"].sum() == 8
    job.release()


@posix
def test_an_error_whose_line_was_damaged_still_ends_the_job(make_jobs):
    job = run(make_jobs(python=[sys.executable, str(LAUNCHER), '"error"']), "fails", {"how": "geometry"})
    assert job.state is State.FAILED
    assert job.error.remedy == "Start the job again."


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_when_arrays_go_in(make_jobs, small_disk):
    jobs = make_jobs(folder=small_disk)
    job = run(jobs, "echo", arrays={"ct": np.zeros(8 << 20, np.uint8)})
    assert isinstance(job.error, DiskFullError)
    assert str(small_disk) in job.error.message
    assert "Free some space" in job.error.remedy
    assert run(jobs, "echo", arrays={"ct": np.zeros(1000, np.uint8)}).state is State.DONE
    jobs.close()


def test_a_full_disk_is_said_when_arrays_come_out(make_jobs, small_disk):
    jobs = make_jobs(folder=small_disk)
    job = run(jobs, "fails", {"how": "fills", "bytes": 8 << 20})
    assert isinstance(job.error, DiskFullError)
    assert run(jobs, "echo").state is State.DONE
    jobs.close()


def test_closing_cancels_and_ends_everything_soon(jobs, tmp_path):
    running, waiting = started(jobs, "steps"), jobs.submit("echo")
    begin = time.perf_counter()
    jobs.close()
    assert time.perf_counter() - begin < 5.0
    assert (running.state, waiting.state) == (State.CANCELLED, State.CANCELLED)
    assert own_workers() == []
    assert list(tmp_path.glob("hlfd-jobs-*")) == []
    with pytest.raises(UsageError, match="closed"):
        jobs.submit("echo")


OWNER = """
import os, sys, time
import numpy as np
from pathlib import Path
from hlfd.jobs import Jobs
jobs = Jobs(folder=Path(sys.argv[1]), packages=["worker_jobs"])
job = jobs.submit(sys.argv[2], {"gil": False, "child": True}, {"ct": np.zeros(1000, np.int16)})
while not job.take_events():
    jobs.poll()
    time.sleep(0.01)
print(jobs.worker_pid, flush=True)
time.sleep(60)
"""


@posix
@pytest.mark.parametrize("kind", ["steps", "stuck"])
def test_the_worker_ends_with_its_owner_and_cleans_up(tmp_path, kind):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTING), str(TESTING.parent / "HLFDSegment")])}
    command = [sys.executable, "-c", OWNER, str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        worker = psutil.Process(int(owner.stdout.readline()))
        family = [worker, *worker.children()]
        owner.kill()
    assert len(family) == (2 if kind == "steps" else 1)
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert list(tmp_path.glob("hlfd-jobs-*")) == []


def test_a_worker_whose_owner_is_dead_leaves_although_its_stream_is_open(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    session = tmp_path / "session"
    session.mkdir()
    command = [sys.executable, "-m", "hlfd.worker", "--folder", str(session), "--owner", dead.stdout.decode().strip()]
    environment = {**os.environ, "PYTHONPATH": str(TESTING.parent / "HLFDSegment")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as worker:
        assert worker.wait(20) == 0
    assert not session.exists()


def test_folders_of_owners_that_were_killed_are_swept(jobs, tmp_path):
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, alive = tmp_path / f"hlfd-jobs-{int(done.stdout)}-x", tmp_path / f"hlfd-jobs-{os.getpid()}-other"
    for folder in (dead, alive):
        folder.mkdir()
    run(jobs, "echo")
    assert not dead.exists()
    assert alive.exists()


def test_the_client_imports_fast_and_without_heavy_packages():
    code = (
        "import sys, time; begin = time.perf_counter(); import hlfd.jobs; "
        "print(time.perf_counter() - begin); print(sorted({'torch', 'numpy', 'openvino'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTING.parent / "HLFDSegment")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    seconds, heavy = done.stdout.split("\n", 1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 5.0  # about 0.1 s on a machine that has nothing else to do


def test_hlfd_errors_are_what_jobs_raise(jobs):
    job = run(jobs, "fails", {"how": "bug"})
    with pytest.raises(HlfdError, match="ZeroDivisionError"):
        job.check()
