"""Errors carry a code, a message and a remedy."""

from __future__ import annotations

import pytest

from hlfd import errors


def _family(cls):
    return {cls}.union(*(_family(child) for child in cls.__subclasses__()))


def test_every_error_has_its_own_code():
    family = [cls for cls in _family(errors.HlfdError) if cls.__module__ == "hlfd.errors"]
    assert len({cls.code for cls in family}) == len(family)


@pytest.mark.parametrize("cls", [errors.NotCtError, errors.DiskFullError, errors.ModelError])
def test_errors_say_what_is_wrong_and_what_to_do(cls):
    error = cls("It is broken.", "Mend it.")
    assert str(error) == "It is broken. Mend it."
    assert error.to_dict() == {"code": cls.code, "message": "It is broken.", "remedy": "Mend it."}


def test_a_caller_may_catch_by_family():
    assert issubclass(errors.NotCtError, errors.InputError)
    assert issubclass(errors.DiskFullError, errors.OutputError)
    assert issubclass(errors.GpuOutOfMemoryError, errors.DeviceError)
    assert str(errors.CancelledError()) == "Cancelled by the user."
