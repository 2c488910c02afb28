"""``Project``: a folder of labelled cases, read and changed so that no kill and no full disk leaves half of a case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hlfd.data.check import CaseReport
from hlfd.events import CancelToken, OnEvent, ignore
from hlfd.labels import Label
from hlfd.models.package import ModelPackage
from hlfd.project.case import CaseInfo
from hlfd.volume import LabelMap, Volume

SCHEMA = 1
PROJECT_FILE = "project.json"


class Project:
    """An open project; ``cases`` are in the order of their ids, ``problems`` says what is wrong with unreadable ones.

    Other processes may change the folder: ``reload()`` sees what they did.
    """

    folder: Path
    name: str
    model: str
    labels: tuple[Label, ...]
    cases: tuple[CaseInfo, ...]
    problems: dict[str, str]

    @classmethod
    def create(cls, folder: Path, package: ModelPackage, name: str = "") -> Project:
        """Make a project in a new or empty folder; the labels of ``package`` are those of its cases.

        Raises ``UsageError`` where the folder holds a project or something else, and ``OutputError``.
        """
        raise NotImplementedError

    @classmethod
    def open(cls, folder: Path) -> Project:
        """Open a project; raise ``MissingInputError`` or ``DamagedInputError`` where there is none to be read."""
        raise NotImplementedError

    def reload(self) -> None:
        """Read the cases again."""
        raise NotImplementedError

    def case(self, case_id: str) -> CaseInfo:
        """Return the case of this id; raise ``UsageError`` where there is none."""
        raise NotImplementedError

    def known(self, voxels: str) -> CaseInfo | None:
        """Return the case whose image has this voxel checksum."""
        raise NotImplementedError

    def add(
        self,
        volume: Volume,
        labels: LabelMap,
        title: str = "",
        source: Mapping[str, str] | None = None,
        on_event: OnEvent = ignore,
        cancel: CancelToken | None = None,
        role: str = "train",
    ) -> CaseInfo:
        """Check a pair and write it as a new case; ``labels`` holds the values of the project's labels.

        Raises what ``hlfd.project.checks.check_pair`` finds, ``DiskFullError`` or ``OutputError``.
        """
        raise NotImplementedError

    def update(self, case_id: str, labels: LabelMap, on_event: OnEvent = ignore) -> CaseInfo:
        """Give a case other labels; the image stays."""
        raise NotImplementedError

    def remove(self, case_id: str) -> Path:
        """Take a case out of the project and return where it lies now, below ``removed``."""
        raise NotImplementedError

    def set_role(self, case_id: str, role: str) -> CaseInfo:
        """Say what a case is for, see ``ROLES``."""
        raise NotImplementedError

    def import_folder(
        self,
        folder: Path,
        values: Mapping[int, str] | None = None,
        on_event: OnEvent = ignore,
        cancel: CancelToken | None = None,
    ) -> tuple[list[CaseInfo], dict[str, str]]:
        """Add all cases of a data set in a known layout; return those added, and why the others were not, by id.

        ``values`` names the label of each value of the label maps (empty: background); None: those of the project.
        """
        raise NotImplementedError

    def check_import(self, folder: Path, on_event: OnEvent = ignore) -> list[CaseReport]:
        """Return what is wrong with each case of a data set, before it is imported."""
        raise NotImplementedError
