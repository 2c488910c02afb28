"""The state of the page that mirrors a slice view: where its slice is, and which directions its borders show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trame_slicer.views import SliceView

if TYPE_CHECKING:
    from hlfd_web.app import Context

_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
_STEP_MM = 1e-3
TITLE = "HLFD.Title"
"""Attribute of a slice node: what the page calls its view, such as "Student"."""


@dataclass(frozen=True)
class Names:
    """The names in the state of one view."""

    offset: str
    range: str
    text: str
    letters: str


class SliceState:
    """Keeps the state in step with a view, both ways.

    A view tells some ten changes per slice; ``refresh``, which the session polls, brings the last of them to the page.
    """

    def __init__(self, context: Context, tag: str, view: SliceView) -> None:
        self._state, self._view, self._stale = context.state, view, True
        self._told = 0.0  # the offset that the page was told last: hearing it again is no wish of a person
        self.names = Names(*(f"view_{tag}_{part}" for part in ("offset", "range", "text", "letters")))
        view.modified.connect(self._on_view)
        self.refresh()
        self._state.change(self.names.offset)(self._on_offset)
        context.every(self.refresh)

    def _on_offset(self, **values: Any) -> None:
        offset = values.get(self.names.offset)
        if not isinstance(offset, (int, float)) or offset == self._told:
            return
        low, high = self._view.get_slice_range()
        if low <= offset <= high and abs(offset - self._view.get_slice_value()) > _STEP_MM:
            self._view.set_slice_value(float(offset))

    def _on_view(self, _view: SliceView) -> None:
        self._stale = True

    def refresh(self) -> None:
        """Bring what changed to the page."""
        if not self._stale:
            return
        self._stale, view = False, self._view
        low, high = view.get_slice_range()
        offset, step = view.get_slice_value(), max(view.get_slice_step(), _STEP_MM)
        orientation, title = view.get_orientation(), view.get_view_node().GetAttribute(TITLE)
        self._told = round(offset, 3)
        self._state.update(
            {
                self.names.offset: self._told,
                self.names.range: [round(low, 3), round(high, 3), round(step, 3)],
                self.names.text: "\n".join(filter(None, (f"{orientation} {position_text(view)}", title))),
                self.names.letters: direction_letters(view),
            }
        )


def _axes(view: SliceView) -> list[list[float]]:
    matrix = view.get_view_node().GetSliceToRAS()
    return [[matrix.GetElement(row, column) for row in range(3)] for column in range(4)]


def position_text(view: SliceView) -> str:
    """Return the position of the slice along its normal, such as "S 12.5 mm"."""
    _right, _up, normal, origin = _axes(view)
    axis = max(range(3), key=lambda row: abs(normal[row]))
    value = origin[axis]
    return f"{_LETTERS[axis][0 if value >= 0 else 1]} {abs(value):.1f} mm"


def direction_letters(view: SliceView) -> list[str]:
    """Return the letters of what lies left, right, above and below in the picture, as the patient's R L A P S I."""
    right, up, _normal, _origin = _axes(view)
    return [_letter(right, -1), _letter(right, 1), _letter(up, 1), _letter(up, -1)]


def _letter(direction: list[float], sign: int) -> str:
    axis = max(range(3), key=lambda row: abs(direction[row]))
    positive = direction[axis] * sign > 0
    return _LETTERS[axis][0 if positive else 1]
