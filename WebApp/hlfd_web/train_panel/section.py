"""What the sections of the training panel have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel

FIELD = {"density": "compact", "hide_details": True, "variant": "outlined", "classes": "mb-3"}
"""How selectors and text fields look."""


class Section:
    """One part of the panel; its state names begin with ``train_``."""

    def __init__(self, panel: TrainPanel) -> None:
        self.panel = panel
        self.context = panel.context
        self.state = panel.state
        self.cases = panel.cases
        self.training = panel.training

    def set(self, **values: Any) -> None:
        """Set state of the panel by the names without their prefix."""
        self.state.update({f"train_{name}": value for name, value in values.items()})

    def get(self, name: str) -> Any:
        """Return state of the panel by the name without its prefix."""
        return self.state[f"train_{name}"]


def items(pairs: Any) -> list[dict[str, Any]]:
    """Return (value, words) pairs as what a selector of the page takes."""
    return [{"title": words, "value": value} for value, words in pairs]
