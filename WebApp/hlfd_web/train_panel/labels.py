"""Rows that say which label each segment, or each value of a label map, becomes; a person corrects them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

NOT_USED = "not used"


class LabelRows:
    """The rows in a name of the state: key, name, label ("" for left out); their choices are in ``NAME_labels``."""

    def __init__(self, state: Any, name: str) -> None:
        self._state, self._name = state, name
        state[name], state[f"{name}_labels"] = [], []

    @property
    def mapping(self) -> dict[Any, str]:
        """The label of each key."""
        return {row["key"]: row["label"] for row in self._state[self._name]}

    def fill(self, rows: Sequence[tuple[Any, str, str]], labels: Sequence[str]) -> None:
        """Show rows of key, name and proposed label; what a person chose for a key that is still there stays."""
        offered = [{"title": NOT_USED, "value": ""}, *({"title": name, "value": name} for name in labels)]
        chosen = self.mapping if offered == self._state[f"{self._name}_labels"] else {}
        self._state[f"{self._name}_labels"] = offered
        self._state[self._name] = [
            {"key": key, "name": name, "label": chosen.get(key, proposed) or ""} for key, name, proposed in rows
        ]

    def choose(self, key: Any, label: str | None) -> None:
        """Let a key become another label."""
        rows = self._state[self._name]
        self._state[self._name] = [{**row, "label": label or ""} if row["key"] == key else row for row in rows]

    def build(self, caption: str, choose: Any, testid: str) -> None:
        """Write the table; ``choose`` hears of corrections with key and label."""
        with html.Table(v_if=f"{self._name}.length", classes="hlfd-table mb-3", data_testid=testid):
            with html.Thead(), html.Tr():
                html.Th(caption, scope="col")
                html.Th("Label", scope="col")
            with html.Tbody(), html.Tr(v_for=f"row in {self._name}", key="row.key"):
                html.Td("{{ row.name }}")
                with html.Td():
                    v3.VSelect(
                        model_value=("row.label",),
                        items=(f"{self._name}_labels",),
                        density="compact",
                        hide_details=True,
                        variant="plain",
                        update_modelValue=(choose, "[row.key, $event]"),
                        aria_label=("'Label of ' + row.name",),
                        data_testid=(f"'{testid}-' + row.key",),
                    )
