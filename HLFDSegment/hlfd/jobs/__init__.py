"""The client of ``hlfd.worker``: starts the warm process when it is needed, hands it jobs, and outlives its death.

Only ``subprocess`` is used, and nothing here imports torch. Desktop Slicer polls it by a QTimer, the browser
application from asyncio, a script in a loop, all with the same object. See docs/worker.md.
"""

from hlfd.jobs.client import Jobs
from hlfd.jobs.job import Job, State
from hlfd.jobs.process import python_command

__all__ = ["Job", "Jobs", "State", "python_command"]
