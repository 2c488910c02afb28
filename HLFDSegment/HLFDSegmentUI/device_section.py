"""Choosing a device, and what will really be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from HLFDSegmentLib.devices import AUTOMATIC, CPU, device_choices, device_sentence


class DeviceSection:
    """Lists the devices that a probe of the worker found; ``on_choice`` hears what the person chose."""

    def __init__(self, ui: Any, on_choice: Callable[[str], None]) -> None:
        self._ui = ui
        self._on_choice = on_choice
        self._choices = [AUTOMATIC, CPU]
        self._wanted = AUTOMATIC[0]
        self._fill()
        ui.deviceSelector.connect("currentIndexChanged(int)", self._on_index)

    @property
    def device(self) -> str:
        """The chosen device, such as auto, cpu or cuda:0; a device that is not there stays the choice."""
        return self._wanted

    def select(self, device: str) -> None:
        """Choose a device."""
        self._wanted = device
        self._fill()

    def say(self, text: str) -> None:
        """Show a sentence below the selector."""
        self._ui.deviceLabel.text = text

    def show(self, answer: dict[str, Any]) -> None:
        """Show what the probe found."""
        self._choices = device_choices(answer)
        self._fill()
        self.say(device_sentence(answer))

    def _fill(self) -> None:
        known = [device for device, _caption in self._choices]
        if self._wanted not in known:
            caption = _("{device} - not found").format(device=self._wanted)
            self._choices = [*self._choices, (self._wanted, caption)]
            known.append(self._wanted)
        selector = self._ui.deviceSelector
        selector.blockSignals(True)
        selector.clear()
        for _device, caption in self._choices:
            selector.addItem(caption)
        selector.setCurrentIndex(known.index(self._wanted))
        selector.blockSignals(False)

    def _on_index(self, index: int) -> None:
        if 0 <= index < len(self._choices):
            self._wanted = self._choices[index][0]
            self._on_choice(self._wanted)
