"""The line of jobs of one device, over processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hlfd_web.device_queue import DeviceQueue

# takes a ticket, tells it, and holds it until it is killed
HOLDER = """
import sys, time
from hlfd_web.device_queue import DeviceQueue
ticket = DeviceQueue(sys.argv[1], "cpu").enter()
print(ticket.poll(), flush=True)
time.sleep(60)
"""
# takes the device ten times, and notes when it had it
WORKER = """
import sys, time
from pathlib import Path
from hlfd_web.device_queue import DeviceQueue
queue = DeviceQueue(sys.argv[1], "cpu")
for number in range(10):
    ticket = queue.enter()
    while ticket.poll():
        time.sleep(0.001)
    begin = time.monotonic_ns()
    time.sleep(0.002)
    print(begin, time.monotonic_ns())
    ticket.release()
"""


@pytest.fixture
def queue(tmp_path) -> DeviceQueue:
    return DeviceQueue(tmp_path, "cpu")


@pytest.fixture
def start(tmp_path):
    processes = []

    def run(code: str) -> subprocess.Popen:
        command = [sys.executable, "-c", code, str(tmp_path)]
        search = os.pathsep.join(sys.path)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": search})
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_who_comes_first_goes_first(queue):
    first, second, third = (queue.enter() for _ in range(3))
    assert [ticket.poll() for ticket in (first, second, third)] == [0, 1, 2]
    first.release()
    assert [ticket.poll() for ticket in (second, third)] == [0, 1]


def test_who_cancels_makes_room(queue):
    first, second, third = (queue.enter() for _ in range(3))
    second.cancel()
    assert third.poll() == 1
    assert not second.held
    first.release()
    assert third.poll() == 0


def test_who_wants_another_job_goes_to_the_end(queue):
    mine, other = queue.enter(), queue.enter()
    mine.release()
    again = queue.enter()
    assert (other.poll(), again.poll()) == (0, 1)


def test_a_ticket_given_back_twice_takes_nobody_elses(queue):
    ticket = queue.enter()
    ticket.release()
    other = queue.enter()
    ticket.release()
    assert queue.length() == 1
    assert other.poll() == 0
    with pytest.raises(ValueError, match="released"):
        ticket.poll()


def test_devices_have_lines_of_their_own(tmp_path):
    assert [DeviceQueue(tmp_path, device).enter().poll() for device in ("cpu", "cuda:0", "cuda:1")] == [0, 0, 0]


def test_a_process_that_is_killed_leaves_the_line(queue, start):
    holder = start(HOLDER)
    assert holder.stdout.readline() == "0\n"
    ticket = queue.enter()
    assert ticket.poll() == 1
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert ticket.poll() == 0
    assert queue.length() == 1


def test_only_one_process_has_the_device_at_a_time(start):
    spans = []
    workers = [start(WORKER) for _ in range(3)]
    for worker in workers:
        out, _ = worker.communicate(timeout=60)
        spans += [tuple(map(int, line.split())) for line in out.splitlines()]
    spans.sort()
    assert len(spans) == 30
    assert all(end <= begin for (_, end), (begin, _) in zip(spans, spans[1:]))


def test_many_threads_of_one_process_get_different_places(queue):
    tickets = []
    threads = [threading.Thread(target=lambda: tickets.append(queue.enter())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ticket.poll() for ticket in tickets) == list(range(20))


def test_a_damaged_note_of_numbers_does_no_harm(queue):
    first = queue.enter()
    (queue.folder / "last").write_text("nonsense")
    assert (first.poll(), queue.enter().poll()) == (0, 1)


def test_a_look_at_the_line_is_quick(queue):
    tickets = [queue.enter() for _ in range(20)]
    begin = time.perf_counter()
    for _ in range(50):
        tickets[-1].poll()
    assert (time.perf_counter() - begin) / 50 < 0.05
