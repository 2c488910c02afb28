"""What is installed in Slicer's Python, and the buttons that install what is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from hlfd.errors import UsageError
from hlfd.inference.backends import nvidia_present
from HLFDSegmentLib.requirements import Requirement, missing, requirements
from HLFDSegmentUI.dialogs import confirmed, errors_shown

_REQUESTER = "HLFD"
_TORCH_VERSION = ">=2.4"
_AGAIN_MS = 250


class SetupSection:
    """Lists the packages. When some were installed, ``restart_worker`` is called as soon as no job runs, then
    ``on_installed``. What trains cannot do without PyTorch."""

    def __init__(
        self,
        ui: Any,
        requirements_file: Path,
        on_installed: Callable[[], None],
        restart_worker: Callable[[], None],
        torch_needed: bool = False,
    ) -> None:
        self._ui = ui
        self._file = requirements_file
        self._on_installed = on_installed
        self._restart_worker = restart_worker
        self._torch_needed = torch_needed
        self._timer = qt.QTimer(ui.installButton)  # with a parent, which ends it with the panel
        self._timer.setSingleShot(True)
        self._timer.setInterval(_AGAIN_MS)
        self._timer.connect("timeout()", self._restart)
        ui.installButton.connect("clicked(bool)", self._on_install)
        ui.torchButton.connect("clicked(bool)", self._on_torch)
        self._ui.setupHint.visible = False
        self.refresh()

    @property
    def missing(self) -> list[Requirement]:
        """What pip must install before the first run; PyTorch, which has its own button, is not among it."""
        return [one for one in self.needed if one.module != "torch"]

    @property
    def needed(self) -> list[Requirement]:
        """All that must be installed before the first run, PyTorch only where it is needed."""
        return missing(requirements(self._file, gpu=self._torch_needed))

    def refresh(self) -> None:
        """Show what is installed now; the section opens when something is missing."""
        found = requirements(self._file, gpu=self._torch_needed or nvidia_present())
        self._ui.setupLabel.text = "<br>".join(_line(requirement) for requirement in found)
        self._ui.installButton.enabled = bool(self.missing)
        torch = next(one for one in found if one.module == "torch")
        self._ui.torchButton.visible = not torch.version
        if self.needed:
            self._ui.setupSection.collapsed = False

    def ensure(self) -> bool:
        """Install what is missing after asking; return whether everything needed is there now."""
        if self._torch_is_missing():
            self._install_torch()
        if self.missing and not self._torch_is_missing():
            self._install()
        return not self.needed

    def _torch_is_missing(self) -> bool:
        return any(one.module == "torch" for one in self.needed)

    def _on_install(self, checked: bool = False) -> None:
        if self._torch_is_missing():
            slicer.util.infoDisplay(
                _("Install PyTorch first, with its button: pip would bring one that may not fit this machine."),
                windowTitle=_REQUESTER,
            )
            return
        self._install()

    def _install(self) -> None:
        specifiers = [requirement.specifier for requirement in self.missing]
        with errors_shown(_("The installation failed. A proxy or a missing connection may be the reason.")):
            if not _pip_install(specifiers):
                return
            self._after_install()

    def _on_torch(self, checked: bool = False) -> None:
        self._install_torch()

    def _install_torch(self) -> None:
        with errors_shown(_("PyTorch could not be installed.")):
            try:
                import PyTorchUtils
            except ImportError:
                slicer.util.infoDisplay(
                    _("Install the extension PyTorch first (Extensions Manager), restart Slicer, and come back."),
                    windowTitle=_REQUESTER,
                )
                return
            logic = PyTorchUtils.PyTorchUtilsLogic()
            logic.installTorch(askConfirmation=True, torchVersionRequirement=_TORCH_VERSION)
            self._after_install()

    def _after_install(self) -> None:
        self.refresh()
        self._ui.setupHint.text = _(
            "Installed. If Slicer used another version of a package before, restart Slicer to load the new one."
        )
        self._ui.setupHint.visible = True
        self._restart()

    def _restart(self) -> None:
        """Let the worker begin anew, which alone shows it the packages; not before the jobs that run have ended."""
        try:
            self._restart_worker()
        except UsageError:
            self._timer.start()
            return
        self._on_installed()


def _pip_install(specifiers: list[str]) -> bool:
    """Install the packages as this version of Slicer does it best; return False if the person declines."""
    if not confirmed(_("Install {names} into Slicer's Python?").format(names=", ".join(specifiers))):
        return False
    try:
        from slicer.packaging import pip_ensure  # Slicer 5.12: progress, log and an offer to restart
    except ImportError:
        logging.info("HLFD: installing %s", ", ".join(specifiers))
        with slicer.util.WaitCursor():
            slicer.util.pip_install(specifiers)
        return True
    pip_ensure(specifiers, requester=_REQUESTER, prompt_install=False)
    return True


def _line(requirement: Requirement) -> str:
    if requirement.version:
        state = escape(requirement.version)
    else:
        state = _("not installed (optional)") if requirement.optional else f"<b>{_('not installed')}</b>"
    purpose = f" - {escape(requirement.purpose)}" if requirement.purpose else ""
    return f"{escape(requirement.name)}: {state}{purpose}"
