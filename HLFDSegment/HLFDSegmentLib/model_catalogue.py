"""The models that a user can choose, as the selector of a panel shows them: no files are loaded, only described."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hlfd.models.install import install
from hlfd.models.registry import Installed, installed, remove, user_models

DEMONSTRATION = "Demonstration, not for clinical use"


@dataclass(frozen=True)
class ModelChoice:
    """One entry of the selector; ``key`` (name/version) finds the package again, ``problem`` is why it cannot run."""

    key: str
    title: str
    task: str
    notice: str
    folder: Path
    bundled: bool
    problem: str = ""

    @property
    def caption(self) -> str:
        """What the selector shows."""
        owner = "" if self.bundled else ", own"
        return f"{self.title or self.key} ({self.key}{owner})"


def model_choices() -> list[ModelChoice]:
    """Return all installed models, those that can be used first, in the order of ``hlfd.models.registry``.

    Of two packages of one name and version the user's own is listed, as it is the one that runs.
    """
    found: dict[str, ModelChoice] = {}
    for entry in installed():
        choice = _choice(entry)
        found.setdefault(choice.key, choice)
    return sorted(found.values(), key=lambda choice: bool(choice.problem))


def find_choice(choices: list[ModelChoice], key: str) -> ModelChoice | None:
    """Return the choice with this ``name/version``, else the newest of this name, else the first that can be used."""
    name = key.split("/")[0]
    exact = [choice for choice in choices if choice.key == key]
    same = [choice for choice in choices if choice.key.split("/")[0] == name and not choice.problem]
    usable = [choice for choice in choices if not choice.problem]
    return next(iter([*exact, *same, *usable]), None)


def import_model(source: Path, overwrite: bool = False) -> str:
    """Copy a package from a zip file or folder to the user's models and return its key; see ``hlfd.models.install``."""
    package = install(source, overwrite)
    return f"{package.name}/{package.version}"


def key_of_source(source: Path) -> str:
    """Return name/version of the package in a zip file or folder without importing it; empty where there is none."""
    try:
        if source.is_dir():
            text = (source / "model.json").read_text(encoding="utf-8")
        else:
            with zipfile.ZipFile(source) as archive:
                names = [name for name in archive.namelist() if PurePosixPath(name).name == "model.json"]
                text = archive.read(names[0]).decode("utf-8") if names else "{}"
        data = json.loads(text)
        return f"{data['name']}/{data['version']}"
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return ""


def has_own(key: str) -> bool:
    """Return whether the user's own folder holds this ``name/version``."""
    return bool(key) and (user_models().joinpath(*key.split("/")) / "model.json").is_file()


def remove_model(choice: ModelChoice) -> None:
    """Delete an own model; a bundled one raises ``ModelError``."""
    remove(choice.key)


def own_folder() -> Path:
    """Return the user's folder of models, which exists afterwards."""
    folder = user_models()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _choice(entry: Installed) -> ModelChoice:
    return ModelChoice(
        key=f"{entry.name}/{entry.version}",
        title=entry.title,
        task=entry.task or entry.name,
        notice=_notice(entry),
        folder=entry.folder,
        bundled=entry.bundled,
        problem=entry.problem,
    )


def _notice(entry: Installed) -> str:
    """Return the package's notice; that of a demonstration always says so."""
    if entry.problem:
        return entry.problem
    text = str(json.loads((entry.folder / "model.json").read_text(encoding="utf-8")).get("notice", ""))
    if entry.demonstration and DEMONSTRATION.lower() not in text.lower():
        return f"{DEMONSTRATION}. {text}".strip()
    return text
