"""The one exception family of the engine: what is wrong, what was expected, what to do next.

Every error carries a machine-readable ``code`` that the worker, the command line and the panels share.
"""

from __future__ import annotations


class HlfdError(Exception):
    """An error that a user can act on.

    ``message`` says what is wrong with the value and what was expected, ``remedy`` what to do next.
    """

    code = "internal"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy

    def to_dict(self) -> dict[str, str]:
        """Return the error as it is written to ``--json`` output and to the worker's protocol."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy}


class UsageError(HlfdError):
    """A wrong argument or combination of arguments."""

    code = "bad_usage"


class ConfigError(HlfdError):
    """A settings file or settings value that cannot be used."""

    code = "bad_config"


class InputError(HlfdError):
    """An image or label file that is missing, unreadable, truncated or of the wrong kind."""

    code = "bad_input"


class MissingInputError(InputError):
    """A file or folder that does not exist."""

    code = "missing_input"


class DamagedInputError(InputError):
    """A truncated or corrupt file."""

    code = "damaged_input"


class UnsupportedInputError(InputError):
    """A file format, compression or pixel type that cannot be read or written."""

    code = "unsupported_input"


class SeriesChoiceError(InputError):
    """A DICOM folder with several series of which none was chosen, or an unknown series."""

    code = "series_choice"


class EmptyInputError(InputError):
    """A folder, image or label map without content."""

    code = "empty_input"


class NotCtError(InputError):
    """An image whose values are not Hounsfield units."""

    code = "not_ct"


class GeometryError(InputError):
    """An affine, spacing or shape that cannot describe a CT volume, or grids that do not match."""

    code = "bad_geometry"


class DuplicateCaseError(InputError):
    """An image that is a case of the project already."""

    code = "duplicate_case"


class ModelError(HlfdError):
    """A model package that is missing, incomplete, corrupt or not compatible."""

    code = "model_corrupt"


class MissingDependencyError(HlfdError):
    """An optional package that the requested function needs is not installed."""

    code = "dependency_missing"


class TorchMissingError(MissingDependencyError):
    """The requested function needs torch, which is not installed."""

    code = "torch_missing"


class TorchBrokenError(MissingDependencyError):
    """torch is installed, but cannot be loaded."""

    code = "torch_broken"


class OutOfMemoryError(HlfdError):
    """The machine has too little memory left for the work."""

    code = "out_of_memory"


class BusyError(HlfdError):
    """Only one such work runs at a time, and one is running."""

    code = "busy"


class WorkerDiedError(HlfdError):
    """The worker's process could not be started, or ended in the middle of a job."""

    code = "worker_died"


class DeviceError(HlfdError):
    """A device that was asked for and cannot be used."""

    code = "bad_device"


class GpuOutOfMemoryError(DeviceError):
    """The GPU ran out of memory, also at the smallest tile."""

    code = "gpu_out_of_memory"


class OutputError(HlfdError):
    """A result that could not be written; nothing partial is left behind."""

    code = "output_failed"


class DiskFullError(OutputError):
    """No space left on the device that the result goes to."""

    code = "disk_full"


class CancelledError(HlfdError):
    """The user cancelled; earlier results are untouched."""

    code = "cancelled"

    def __init__(self, message: str = "Cancelled by the user.", remedy: str = "") -> None:
        super().__init__(message, remedy)
