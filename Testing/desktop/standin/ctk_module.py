"""The module ``ctk``: the few widgets in use, with the properties and signals of CTK's headers."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtWidgets

from standin.pythonqt import pythonqt


class _CollapsibleButton(QtWidgets.QWidget):
    """Libs/Widgets/ctkCollapsibleButton.h: a header that shows and hides what lies below it."""

    contentsCollapsed = QtCore.Signal(bool)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed, self._arranged = "", False, False
        self._hid: list[QtWidgets.QWidget] = []
        self._header = QtWidgets.QPushButton(self)
        self._header.setObjectName("")
        self._header.setCheckable(True)
        self._header.setChecked(True)
        self._header.setStyleSheet("text-align: left; font-weight: bold; padding: 4px 8px;")
        self._header.toggled.connect(lambda checked: self.setCollapsed(not checked))

    def _set_text(self, text: str) -> None:
        self._text = text
        self._header.setText(("\u25b8 " if self._collapsed else "\u25be ") + text)

    def setCollapsed(self, collapsed: bool) -> None:  # noqa: N802
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._header.setChecked(not collapsed)
        self._set_text(self._text)
        self._show_contents()
        self.contentsCollapsed.emit(collapsed)

    def _show_contents(self) -> None:
        """Hide the contents, or show again what nobody hid by itself (as ctkCollapsibleButton::eventFilter does)."""
        direct = QtCore.Qt.FindChildOption.FindDirectChildrenOnly
        children = [w for w in self.findChildren(QtWidgets.QWidget, options=direct) if w is not self._header]
        for child in children:
            if self._collapsed and not child.isHidden():
                self._hid.append(child)
                child.hide()
            elif not self._collapsed and child in self._hid:
                child.show()
        if not self._collapsed:
            self._hid.clear()
        self.setMaximumHeight(self._header_height() if self._collapsed else 16777215)
        self.updateGeometry()

    def _header_height(self) -> int:
        return QtWidgets.QPushButton.sizeHint(self._header).height()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        self._header.setGeometry(0, 0, event.size().width(), self._header_height())

    def showEvent(self, event: Any) -> None:  # noqa: N802
        layout = QtWidgets.QWidget.layout(self)
        if layout is not None and not self._arranged:
            self._arranged = True
            layout.setContentsMargins(9, self._header_height() + 6, 9, 9)
        self._show_contents()

    text = QtCore.Property(str, lambda self: self._text, _set_text)
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, setCollapsed)


class _PathLineEdit(QtWidgets.QWidget):
    """Libs/Widgets/ctkPathLineEdit.h: a line with a path and a button to browse."""

    Files, Dirs = 0x0002, 0x0001  # ctkPathLineEdit::Filter
    currentPathChanged = QtCore.Signal(str)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._filters, self._label = self.Files, ""
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._line, self._browse = QtWidgets.QLineEdit(self), QtWidgets.QToolButton(self)
        self._browse.setText("...")
        layout.addWidget(self._line)
        layout.addWidget(self._browse)
        self._line.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:  # noqa: N802
        self._line.setText(path)

    def setFilters(self, filters: Any) -> None:  # noqa: N802
        self._filters = filters

    def setLabel(self, label: str) -> None:  # noqa: N802
        self._label = label

    currentPath = QtCore.Property(str, lambda self: self._line.text(), setCurrentPath)  # noqa: N815
    filters = QtCore.Property(int, lambda self: self._filters, setFilters)
    label = QtCore.Property(str, lambda self: self._label, setLabel)


class _SliderWidget(QtWidgets.QWidget):
    """Libs/Widgets/ctkSliderWidget.h: a slider with a spin box, for a float."""

    valueChanged = QtCore.Signal(float)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, 1000)
        self._box = QtWidgets.QDoubleSpinBox(self)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._slider.sliderMoved.connect(lambda step: self.setValue(self._at(step / 1000)))
        self._box.valueChanged.connect(self._on_box)

    def _at(self, share: float) -> float:
        return self._box.minimum() + share * (self._box.maximum() - self._box.minimum())

    def _on_box(self, value: float) -> None:
        span = self._box.maximum() - self._box.minimum()
        self._slider.setValue(round(1000 * (value - self._box.minimum()) / span) if span else 0)
        self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:  # noqa: N802
        self._box.setValue(value)

    value = QtCore.Property(float, lambda self: self._box.value(), setValue)
    minimum = QtCore.Property(float, lambda self: self._box.minimum(), lambda self, v: self._box.setMinimum(v))
    maximum = QtCore.Property(float, lambda self: self._box.maximum(), lambda self, v: self._box.setMaximum(v))
    singleStep = QtCore.Property(  # noqa: N815
        float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v)
    )
    decimals = QtCore.Property(int, lambda self: self._box.decimals(), lambda self, v: self._box.setDecimals(v))


class _MessageBox(QtWidgets.QMessageBox):
    """Libs/Widgets/ctkMessageBox.h: the person at the screen answers by ``answers`` (a button per box, in order)."""

    answers: list[Any] = []  # noqa: RUF012
    shown: list[str] = []  # noqa: RUF012

    def exec(self) -> Any:
        """Note the text, and return the button that the test has ready."""
        type(self).shown.append(self.text if isinstance(self.text, str) else self.text())
        buttons = self.standardButtons if not callable(self.standardButtons) else self.standardButtons()
        if buttons in (QtWidgets.QMessageBox.StandardButton.Ok, QtWidgets.QMessageBox.StandardButton.NoButton):
            return QtWidgets.QMessageBox.StandardButton.Ok
        if not type(self).answers:
            raise AssertionError(f"A question was asked, and the test has no answer for it: {type(self).shown[-1]}")
        return type(self).answers.pop(0)


def make_ctk() -> types.ModuleType:
    """Return a new module ``ctk``."""
    module = types.ModuleType("ctk")
    for cls in (_CollapsibleButton, _PathLineEdit, _SliderWidget, _MessageBox):
        wrapped = pythonqt(cls)
        wrapped.__name__ = f"ctk{cls.__name__.lstrip('_')}"
        setattr(module, wrapped.__name__, wrapped)
    return module
