"""``Project``: a folder of labelled cases, read and changed so that no kill and no full disk leaves half of a case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hlfd.config import look_up
from hlfd.data.check import CaseReport
from hlfd.errors import DamagedInputError, HlfdError, InputError, MissingInputError, UsageError
from hlfd.events import CancelToken, OnEvent, Progress, ProgressClock, Stage, ignore
from hlfd.files import write_json
from hlfd.io import read_volume
from hlfd.labels import Label
from hlfd.models.package import ModelPackage
from hlfd.project import store
from hlfd.project.case import CASE_FILE, ROLES, CaseInfo
from hlfd.project.checks import CheckedPair, as_stored, check_labels, check_pair
from hlfd.volume import LabelMap, Volume

SCHEMA = 1
PROJECT_FILE = "project.json"
_CHECK_STEPS = 2


class Project:
    """An open project; ``cases`` are in the order of their ids, ``problems`` says what is wrong with unreadable ones.

    ``model`` is the name of the package whose ``labels`` count. Other processes may change the folder: ``reload()``
    sees what they did.
    """

    def __init__(self, folder: Path, name: str, model: str, labels: tuple[Label, ...], created: str) -> None:
        """Describe a project whose cases were not read yet; use ``create`` or ``open``."""
        self.folder = folder
        self.name = name
        self.model = model
        self.labels = labels
        self.created = created
        self.cases: tuple[CaseInfo, ...] = ()
        self.problems: dict[str, str] = {}

    @classmethod
    def create(cls, folder: Path | str, package: ModelPackage, name: str = "") -> Project:
        """Make a project in a new or empty folder; the labels of ``package`` are those of its cases.

        Raises ``UsageError`` where the folder holds a project or something else, and ``OutputError``.
        """
        folder = Path(folder).expanduser().resolve()
        if (folder / PROJECT_FILE).exists():
            raise UsageError(f'"{folder}" holds a project already.', "Open it, or choose another folder.")
        if folder.exists() and (not folder.is_dir() or any(path.name[0] != "." for path in folder.iterdir())):
            raise UsageError(f'"{folder}" is not an empty folder.', "Choose a new or empty folder for the project.")
        made = cls(folder, name.strip() or folder.name, package.name, package.labels, store.now())
        labels = [label.to_dict() for label in made.labels]
        description = {"schema": SCHEMA, "name": made.name, "model": made.model, "labels": labels}
        write_json(folder / PROJECT_FILE, {**description, "created": made.created})
        return made

    @classmethod
    def open(cls, folder: Path | str) -> Project:
        """Open a project; raise ``MissingInputError`` or ``DamagedInputError`` where there is none to be read."""
        folder = Path(folder).expanduser().resolve()
        data = _read_json(folder / PROJECT_FILE, f'"{folder}" is no project: it holds no {PROJECT_FILE}.')
        try:
            if data["schema"] != SCHEMA:
                raise DamagedInputError(
                    f'The project "{folder}" has schema {data["schema"]}; {SCHEMA} was expected.', "Update HLFD."
                )
            labels = tuple(Label.from_dict(label) for label in data["labels"])
            project = cls(folder, str(data["name"]), str(data["model"]), labels, str(data["created"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedInputError(
                f'"{folder / PROJECT_FILE}" lacks or misstates {error}.', "Bring it back from a backup."
            ) from error
        store.sweep(folder)
        project.reload()
        return project

    def reload(self) -> None:
        """Read the cases again: their descriptions only, no image."""
        cases, problems = [], {}
        root = self.folder / store.CASES
        for folder in sorted(root.glob("case-*")) if root.is_dir() else ():
            try:
                cases.append(_read_case(folder))
            except HlfdError as error:
                problems[folder.name] = str(error)
        self.cases, self.problems = tuple(cases), problems

    def case(self, case_id: str) -> CaseInfo:
        """Return the case of this id; raise ``UsageError`` where there is none."""
        for case in self.cases:
            if case.id == case_id:
                return case
        raise UsageError(f'The project "{self.name}" has no case "{case_id}".', "Reload it; it may have been removed.")

    def known(self, voxels: str) -> CaseInfo | None:
        """Return the case whose image has this voxel checksum."""
        return next((case for case in self.cases if case.checksums.get("voxels") == voxels), None)

    def value_of(self, label: str) -> int:
        """Return the value of a label; raise ``ConfigError`` for an unknown name, with the nearest one."""
        look_up(label, [known.name for known in self.labels], "label")
        return next(known.value for known in self.labels if known.name == label)

    def add(
        self,
        volume: Volume,
        labels: LabelMap,
        title: str = "",
        source: Mapping[str, str] | None = None,
        on_event: OnEvent = ignore,
        cancel: CancelToken | None = None,
        role: str = "train",
        drawn_on_image: bool = False,
    ) -> CaseInfo:
        """Check a pair and write it as a new case; ``labels`` holds the values of the project's labels.

        Raises what ``hlfd.project.checks.check_pair`` finds, ``DiskFullError`` or ``OutputError``.
        """
        look_up(role, ROLES, "role")
        on_event(Stage("check"))
        total = _CHECK_STEPS + store.STEPS + 1.0
        clock = ProgressClock(total, on_event, cancel)
        clock.advance()
        self.reload()  # another process may have added the same image meanwhile
        pair = check_pair(volume, labels, self, drawn_on_image)
        clock.advance()
        on_event(Stage("write"))
        info = store.write_case(self.folder, pair, self.labels, _new_case(pair, title, role, source or {}), clock)
        self.cases = tuple(sorted([*self.cases, info], key=lambda case: case.id))
        on_event(Progress(total, total, 0.0))  # not by the clock: it can no longer be cancelled
        return info

    def update(
        self, case_id: str, labels: LabelMap, on_event: OnEvent = ignore, drawn_on_image: bool = False
    ) -> CaseInfo:
        """Give a case other labels, which are checked against its image; the image stays."""
        clock = ProgressClock(3, on_event)
        on_event(Stage("check"))
        info = self._fresh(case_id)
        volume = as_stored(read_volume(info.image))
        clock.advance()
        array, volumes_ml = check_labels(volume, labels, self.labels, drawn_on_image)
        clock.advance()
        on_event(Stage("write"))
        folder = self.folder / store.CASES / case_id
        made = store.write_labels(folder, volume, array, self.labels, replace(info, volumes_ml=volumes_ml))
        self._replace(made)
        clock.advance()
        return made

    def remove(self, case_id: str) -> Path:
        """Take a case out of the project and return where it lies now, below ``removed``."""
        self.case(case_id)
        target = store.move_out(self.folder, case_id)
        self.cases = tuple(case for case in self.cases if case.id != case_id)
        return target

    def set_role(self, case_id: str, role: str) -> CaseInfo:
        """Say what a case is for, see ``ROLES``."""
        look_up(role, ROLES, "role")
        return self._write_info(replace(self._fresh(case_id), role=role))

    def set_title(self, case_id: str, title: str) -> CaseInfo:
        """Name a case; the files keep their names."""
        return self._write_info(replace(self._fresh(case_id), title=title.strip()))

    def import_folder(
        self,
        folder: Path | str,
        values: Mapping[int, str] | None = None,
        on_event: OnEvent = ignore,
        cancel: CancelToken | None = None,
    ) -> tuple[list[CaseInfo], dict[str, str]]:
        """Add all cases of a data set in a known layout; return those added, and why the others were not, by id.

        ``values`` names the label of each value of the label maps (empty: background); None: those of the project.
        """
        from hlfd.project.importing import import_folder

        return import_folder(self, Path(folder), values, on_event, cancel)

    def check_import(
        self, folder: Path | str, values: Mapping[int, str] | None = None, on_event: OnEvent = ignore
    ) -> list[CaseReport]:
        """Return what is wrong with each case of a data set, before it is imported."""
        from hlfd.project.importing import check_import

        return check_import(self, Path(folder), values, on_event)

    def verify(self, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> dict[str, str]:
        """Return what is wrong with each case that cannot be used, its files compared with their checksums."""
        problems = dict(self.problems)
        clock = ProgressClock(max(1, len(self.cases)), on_event, cancel)
        for case in self.cases:
            changed = store.changed_files(case)
            if changed:
                problems[case.id] = f"{' and '.join(changed)} of the case was changed or is damaged."
            clock.advance()
        return problems

    def _fresh(self, case_id: str) -> CaseInfo:
        """Read one case again, so that what another process wrote is not undone."""
        self.case(case_id)
        return _read_case(self.folder / store.CASES / case_id)

    def _write_info(self, info: CaseInfo) -> CaseInfo:
        store.write_info(self.folder / store.CASES / info.id, info)
        self._replace(info)
        return info

    def _replace(self, info: CaseInfo) -> None:
        self.cases = tuple(info if case.id == info.id else case for case in self.cases)


def _new_case(pair: CheckedPair, title: str, role: str, source: Mapping[str, str]) -> CaseInfo:
    made = store.now()
    return CaseInfo(
        id="",
        title=title.strip(),
        role=role,
        shape=pair.volume.shape,
        spacing_mm=pair.volume.spacing,
        affine=tuple(tuple(float(v) for v in row) for row in pair.volume.affine),
        volumes_ml=pair.volumes_ml,
        source={str(key): str(value) for key, value in source.items()},
        added=made,
        updated=made,
        image=Path(),
        label=Path(),
        thumbnail=Path(),
    )


def _read_case(folder: Path) -> CaseInfo:
    path = folder / CASE_FILE
    info = CaseInfo.from_dict(_read_json(path, f'"{folder}" is no case: it holds no {CASE_FILE}.'), folder)
    if info.role not in ROLES:
        raise DamagedInputError(f'"{path}" names the unknown role "{info.role}".', f"Known are {', '.join(ROLES)}.")
    missing = [file.name for file in (info.image, info.label) if not file.is_file()]
    if missing:
        raise DamagedInputError(f'The case "{folder}" lacks {" and ".join(missing)}.', "Remove it and add it again.")
    return info


def _read_json(path: Path, missing: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(missing, "Choose the folder of a project.") from error
    except OSError as error:
        raise InputError(f'"{path}" cannot be read: {error.strerror}.', "Check its permissions.") from error
    except ValueError as error:
        raise DamagedInputError(f'"{path}" is damaged: {error}.', "Bring it back from a backup.") from error
    if not isinstance(data, dict):
        raise DamagedInputError(f'"{path}" holds {type(data).__name__}; a mapping was expected.')
    return data
