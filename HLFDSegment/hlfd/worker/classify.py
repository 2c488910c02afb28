"""Every exception of a job becomes an error that the user can act on."""

from __future__ import annotations

import errno
import logging
import sys
import traceback

from hlfd.errors import (
    CancelledError,
    DiskFullError,
    GpuOutOfMemoryError,
    HlfdError,
    MissingDependencyError,
    OutOfMemoryError,
    OutputError,
    TorchBrokenError,
    TorchMissingError,
)

_GPU_TEXTS = ("cuda out of memory", "cuda error: out of memory", "cublas_status_alloc_failed", "cudnn_status_alloc")
_MEMORY_TEXTS = (
    *("bad_alloc", "bad allocation", "not enough memory", "cannot allocate memory", "can't allocate memory"),
    *("failed to map segment", "can't start new thread"),  # a library or a thread that found no room
)
_GET_TORCH = "Install torch in the Setup section of HLFD Segment, or choose the device CPU."
logger = logging.getLogger(__name__)


def classify(error: BaseException) -> HlfdError:
    """Return the error to report for any exception; unexpected ones are logged with their traceback."""
    known = _want_of_memory(error) or (error if isinstance(error, HlfdError) else _classified(error))
    if known is None:
        logger.error("Unexpected error in a job", exc_info=error)
        first = str(error).strip().splitlines()
        what = f"{type(error).__name__}: {first[0][:300]}" if first else type(error).__name__
        known = HlfdError(f"The job stopped with an unexpected {what}.", "Copy the log and report it with that log.")
    elif known is not error:
        logger.warning("%s", known, exc_info=error)
    return known


def _want_of_memory(error: BaseException) -> HlfdError | None:
    """Return the error for too little memory, also where that made a library or a file look damaged or missing."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (GpuOutOfMemoryError, OutOfMemoryError)):
            return cause
        text = str(cause).lower()
        if type(cause).__name__ == "OutOfMemoryError" or any(part in text for part in _GPU_TEXTS):
            return GpuOutOfMemoryError(
                "The GPU ran out of memory.", "Close other programs on the GPU, or choose the CPU."
            )
        no_memory = isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM)
        if no_memory or any(part in text for part in _MEMORY_TEXTS):
            return OutOfMemoryError(
                "The machine has too little free memory for this.", "Close other programs, or crop the volume first."
            )
        cause = cause.__cause__
    return None


def _classified(error: BaseException) -> HlfdError | None:
    if isinstance(error, KeyboardInterrupt):
        return CancelledError()
    if isinstance(error, (ImportError, OSError)) and (known := _broken_import(error)) is not None:
        return known
    if isinstance(error, OSError):
        return _of_files(error)
    return None


def _broken_import(error: ImportError | OSError) -> HlfdError | None:
    """Tell a package that is missing from one that is there and cannot be loaded."""
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if missing == "torch":
        return TorchMissingError("torch is not installed.", _GET_TORCH)
    places = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    loading = any(place == "torch" or place.startswith("torch.") for place in places)
    # "torch" is taken out of sys.modules again when its own import fails
    if loading and "torch" not in sys.modules:
        return TorchBrokenError(
            f"torch is installed, but cannot be loaded: {str(error)[:300]}.",
            "Install it again in the Setup section of HLFD Segment, or choose the device CPU.",
        )
    if missing:
        package = missing.split(".")[0]
        return MissingDependencyError(f"The package {package} is not installed.", "Install the requirements again.")
    return None


def _of_files(error: OSError) -> HlfdError | None:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return DiskFullError("No space is left for the files of the job.", "Free some space and start again.")
    if error.filename is not None and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return OutputError(f'"{error.filename}" cannot be used: {error.strerror}.', "Check the permissions.")
    return None
