"""slicer.parameterNodeWrapper, as far as the panels use it (Base/Python/slicer/parameterNodeWrapper)."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
import vtk


class WithinRange:
    """validators.py: a value from ``minimum`` to ``maximum``."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Choice:
    """validators.py: one of ``choices``."""

    def __init__(self, choices: list[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, is {value}")


class _Parameter:
    """One typed field in a vtkMRMLScriptedModuleNode (serializers.py)."""

    def __init__(self, name: str, kind: Any, default: Any) -> None:
        self.name = name
        self.annotated = kind
        self.kind, *self.validators = (
            (kind.__origin__, *kind.__metadata__) if hasattr(kind, "__metadata__") else (kind,)
        )
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        if not self.is_node and self.kind not in (bool, int, float, str):
            raise TypeError(f"Unable to create serializer for type: {self.kind}")
        self.default = default if default is not None or self.is_node else self.kind()

    def write(self, node: Any, value: Any) -> None:
        if value is None and not self.is_node:
            raise ValueError("Value must not be None")
        expected = (int, float) if self.kind is float else self.kind
        if value is not None and not isinstance(value, expected):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")
        for validator in self.validators:
            validator.validate(value)
        node.SetParameter(self.name, "" if self.is_node else str(value))
        if self.is_node:
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)


class _Connector:
    """guiConnectors.py: how the value of one widget is read, written and watched."""

    def __init__(self, widget: Any, parameter: _Parameter) -> None:
        self.widget = widget
        self.callback: Callable[[], None] | None = None
        kind = type(widget)
        if parameter.kind is bool and kind is qt.QCheckBox:
            self.signal, self.attribute = widget.stateChanged, "checked"
        elif parameter.kind is float and kind in (ctk.ctkSliderWidget, qt.QDoubleSpinBox):
            self.signal, self.attribute = widget.valueChanged, "value"
            limits = [v for v in parameter.validators if isinstance(v, WithinRange)]
            if not limits:
                raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
            widget.minimum, widget.maximum = limits[0].minimum, limits[0].maximum
        elif parameter.is_node and kind is slicer.qMRMLNodeComboBox:
            self.signal, self.attribute = widget.currentNodeChanged, ""
            widget.nodeTypes = [parameter.kind.__name__]
        else:
            raise RuntimeError(f"Unable to create GUI connector from datatype '{parameter.kind}' to '{kind}'")

    def watch(self, callback: Callable[[], None] | None) -> None:
        self.callback = callback
        if callback is None:
            self.signal.disconnect(self._changed)
        else:
            self.signal.connect(self._changed)

    def _changed(self, *_: Any) -> None:
        if self.callback:
            self.callback()

    def read(self) -> Any:
        return getattr(self.widget, self.attribute) if self.attribute else self.widget.currentNode()

    def write(self, value: Any) -> None:
        if self.attribute:
            setattr(self.widget, self.attribute, value)
        else:
            self.widget.setCurrentNode(value)


class _Wrapper:
    """wrapper.py: what the decorator adds to a class."""

    allParameters: dict[str, _Parameter]  # noqa: N815

    def __init__(self, parameterNode: Any) -> None:  # noqa: N803
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, _Connector]] = {}
        self._next, self._updating = 0, False
        for parameter in self.allParameters.values():
            if not parameterNode.HasParameter(parameter.name):
                parameter.write(parameterNode, parameter.default)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:  # noqa: N802
        connectors = {name: _Connector(widget, self.allParameters[name]) for name, widget in mapping.items()}
        tag, self._next = self._next, self._next + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(getattr(self, name))
            connector.watch(self._writer(name, connector))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui())
        return tag

    def _writer(self, name: str, connector: _Connector) -> Callable[[], None]:
        def write() -> None:
            if not self._updating:
                setattr(self, name, connector.read())

        return write

    def _update_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(getattr(self, name))
        finally:
            self._updating = False

    def disconnectGui(self, tag: int) -> None:  # noqa: N802
        for connector in self._guis.pop(tag, {}).values():
            connector.watch(None)

    def StartModify(self) -> Any:  # noqa: N802
        return self.parameterNode.StartModify()

    def EndModify(self, before: Any) -> None:  # noqa: N802
        self.parameterNode.EndModify(before)

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:  # noqa: N802
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:  # noqa: N802
        self.parameterNode.RemoveObserver(tag)


def parameterNodeWrapper(cls: type) -> type:  # noqa: N802
    """Make typed properties of the fields of a class, kept in a parameter node."""
    fields = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, kind, getattr(cls, name, None)) for name, kind in fields.items()}
    members: dict[str, Any] = {name: _property(parameter) for name, parameter in parameters.items()}
    return type(cls.__name__, (_Wrapper,), {**members, "allParameters": parameters, "__doc__": cls.__doc__})


def _property(parameter: _Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode), lambda self, value: parameter.write(self.parameterNode, value)
    )
