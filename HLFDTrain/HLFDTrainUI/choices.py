"""A selector of values that have names; what there is to choose is in ``HLFDTrainLib.choices``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Choice:
    """A selector (``QComboBox``) of values that have names."""

    def __init__(self, selector: Any, entries: Sequence[tuple[Any, str]]) -> None:
        self._selector = selector
        self._values: list[Any] = []
        self.fill(entries)

    @property
    def value(self) -> Any:
        """The chosen value, None where nothing can be chosen."""
        index = self._selector.currentIndex
        return self._values[index] if 0 <= index < len(self._values) else None

    def fill(self, entries: Sequence[tuple[Any, str]]) -> None:
        """Offer other entries; the chosen value stays chosen where it is among them. Nobody is told."""
        before = self.value
        self._selector.blockSignals(True)
        self._selector.clear()
        self._values = [value for value, _caption in entries]
        for _value, caption in entries:
            self._selector.addItem(caption)
        self.select(before)
        self._selector.blockSignals(False)

    def select(self, value: Any) -> None:
        """Choose a value; one that is not offered leaves the choice as it is."""
        if value in self._values:
            self._selector.setCurrentIndex(self._values.index(value))
