"""What every distillation method is: named, weighted loss terms from the features of a student and a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hlfd.errors import ConfigError

Channels = Mapping[str, int]
"""Tap name -> number of channels."""
Features = Mapping[str, Tensor]
"""Tap name -> feature map (B, C, *spatial); ``out`` holds the logits."""


class Method(nn.Module):
    """One way to teach a student. Trainable projections are its parameters and live in training alone.

    ``student`` and ``teacher`` give the channels of the taps that the two networks have; ``classes`` is the number of
    classes of both, background included; further keyword arguments are the method's own and come from the settings.
    """

    name = ""
    """Name in ``METHODS``."""

    def __init__(self, student: Channels, teacher: Channels, classes: int, spatial_dims: int) -> None:
        super().__init__()
        self.student_channels, self.teacher_channels = dict(student), dict(teacher)
        self.classes, self.spatial_dims = classes, spatial_dims
        self._taps: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @property
    def taps(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the student's and of the teacher's taps that ``forward`` reads."""
        return self._taps

    def read(self, student: Sequence[str], teacher: Sequence[str] | None = None) -> None:
        """Declare the taps that ``forward`` reads (the teacher's are the student's unless given).

        Raises ``ConfigError`` if a network lacks one.
        """
        teacher = student if teacher is None else teacher
        pairs = (("student", student, self.student_channels), ("teacher", teacher, self.teacher_channels))
        for who, names, channels in pairs:
            missing = [name for name in names if name not in channels]
            if missing:
                known = ", ".join(channels) or "none"
                raise ConfigError(f'{self.name}: the {who} has no tap "{missing[0]}"; its taps are {known}.')
        # in a fixed order, without repetition
        self._taps = tuple(dict.fromkeys(student)), tuple(dict.fromkeys(teacher))

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return the named terms, 0-d float32 tensors, already weighted among each other.

        ``labels`` (B, *spatial) are the integer classes at the resolution of the image. Called outside autocast.
        """
        raise NotImplementedError

    def projection(self, channels_in: int, channels_out: int, bias: bool = True) -> nn.Module:
        """Return a trainable 1x1 convolution for feature maps of this method's number of axes."""
        return convolution(self.spatial_dims, channels_in, channels_out, bias=bias)


def convolution(
    spatial_dims: int, channels_in: int, channels_out: int, kernel: int = 1, bias: bool = True
) -> nn.Module:
    """Return a convolution that keeps the spatial size, in 2-D or 3-D."""
    kind: type[nn.Module] = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
    return kind(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)


def check_at_least(method: str, least: float, **values: float) -> None:
    """Raise ``ConfigError`` for the first of ``values`` that is no number or is below ``least``."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
            raise ConfigError(f"{method}: {name} is {value}; a number of at least {least:g} was expected.")


def check_positive(method: str, **values: float) -> None:
    """Raise ``ConfigError`` for the first of ``values`` that is no number above 0."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ConfigError(f"{method}: {name} is {value}; a number above 0 was expected.")


def tap_list(method: str, taps: Sequence[str] | str) -> tuple[str, ...]:
    """Return tap names given as one name or a list of them; an empty list raises ``ConfigError``."""
    names = (taps,) if isinstance(taps, str) else tuple(taps)
    if not names:
        raise ConfigError(f"{method}: taps is empty; at least one tap was expected.")
    return names
