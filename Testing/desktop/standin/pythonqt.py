"""PySide6 classes that behave as PythonQt wraps them: properties are attributes, signals connect by signature.

PythonQt (commontk/PythonQt, src/PythonQtInstanceWrapper.cpp): a Q_PROPERTY hides the getter of the same name, setters
are methods, attributes that the C++ class does not have are refused, and a slot gets as many of the signal's arguments
as it takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

# read by Qt itself as virtual functions: as attributes they would call themselves for ever
_VIRTUAL = {"sizeHint", "minimumSizeHint"}
_VIRTUAL_TEXT = {"QProgressBar", "QSpinBox", "QDoubleSpinBox"}


def pythonqt(cls: type) -> type:
    """Return a subclass of a PySide6 class with the behaviour of PythonQt and the name of ``cls``."""

    def refuse_unknown(self: Any, name: str, value: Any) -> None:
        child = isinstance(value, QtCore.QObject) and value.property("objectName") == name  # set by PySide6's loader
        if not (child or name.startswith("_") or hasattr(type(self), name)):
            raise AttributeError(
                f"Attribute '{name}' does not exist and creating new attributes on C++ objects is not allowed"
            )
        cls.__setattr__(self, name, value)

    members: dict[str, Any] = {"__doc__": cls.__doc__, "__setattr__": refuse_unknown}
    if issubclass(cls, QtCore.QObject):
        members.update(_properties(cls))
        members.update(connect=_connect, disconnect=_disconnect, className=_class_name)
        members["name"] = members["objectName"]  # added by CTK's decorators
        if hasattr(cls, "exec"):
            members["exec_"] = lambda self, *arguments: cls.exec(self, *arguments)
    return type(cls.__name__, (cls,), members)


def _properties(cls: type) -> dict[str, property]:
    meta = cls.staticMetaObject
    names = {meta.property(index).name() for index in range(meta.propertyCount())} - _VIRTUAL
    names = {name for name in names if not isinstance(getattr(cls, name, None), QtCore.Property)}  # attributes already
    if any(base.__name__ in _VIRTUAL_TEXT for base in cls.__mro__):
        names.discard("text")
    return {name: _property(name) for name in names}


def _property(name: str) -> property:
    return property(
        lambda self: QtCore.QObject.property(self, name),
        lambda self, value: QtCore.QObject.setProperty(self, name, value) and None,
    )


def _class_name(self: QtCore.QObject) -> str:
    return type(self).__name__


def _signal(sender: QtCore.QObject, signature: str) -> Any:
    """Return the bound signal named as in C++, such as ``clicked(bool)``; a wrong name is an error as in PythonQt."""
    name, _, arguments = signature.rstrip(")").partition("(")
    signal = getattr(sender, name, None)
    if signal is None or not hasattr(signal, "connect"):
        raise ValueError(f"{type(sender).__name__} has no signal {signature}")
    known = _signatures(sender, name)
    wanted = f"{name}({arguments.replace(' ', '')})"
    if known and wanted not in known and not (arguments == "" and any(k.startswith(f"{name}(") for k in known)):
        raise ValueError(f"{type(sender).__name__} has no signal {signature}; there is {sorted(known)}")
    return signal


def _signatures(sender: QtCore.QObject, name: str) -> set[str]:
    meta = sender.metaObject()
    methods = [meta.method(index) for index in range(meta.methodCount())]
    found = {bytes(m.methodSignature().data()).decode() for m in methods if bytes(m.name().data()).decode() == name}
    declared = getattr(type(sender), "_signatures", {}).get(name)  # a stand-in's own, with the C++ types
    return {declared} if declared else found


def _connect(self: QtCore.QObject, signature: str, slot: Callable[..., Any]) -> bool:
    adapter = _adapter(slot)
    _connections(self).append((signature, slot, adapter))
    _signal(self, signature).connect(adapter)
    return True


def _disconnect(self: QtCore.QObject, signature: str, slot: Callable[..., Any]) -> bool:
    for entry in _connections(self):
        if entry[0] == signature and entry[1] == slot:
            _signal(self, signature).disconnect(entry[2])
            _connections(self).remove(entry)
            return True
    return False


def _connections(sender: QtCore.QObject) -> list[tuple[str, Callable, Callable]]:
    if "_pythonqt_connections" not in vars(sender):
        sender._pythonqt_connections = []
    return vars(sender)["_pythonqt_connections"]


def _adapter(slot: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives the slot as many arguments as it takes (PythonQtSignalTarget::call)."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return slot
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return lambda *arguments: slot(*arguments)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    count = sum(parameter.kind in kinds for parameter in parameters)
    if count == 0:
        return lambda: slot()
    if count == 1:  # PySide6 counts too: a function of any number of arguments would get none from clicked(bool)
        return lambda value=False: slot(value)
    return lambda *values: slot(*values[:count])
