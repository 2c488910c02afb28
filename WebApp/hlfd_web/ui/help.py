"""The dialog of help: the first steps, the keys, and what this is not for."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets import vuetify3 as v3

_STEPS = (
    "Open: the sample CT, a file of the server, or one of your own.",
    "Segment: one click; a row of the table moves all views to its lesion.",
    "Edit: correct the result with brush and eraser, and keep it as a case to train on.",
    "Features: see what the networks look at, layer by layer.",
    "Train: train the model on with your own cases, and use the new version.",
)
_KEYS = (
    ("Wheel, arrow keys", "next and previous slice"),
    ("Page up, page down", "ten slices"),
    ("Home, End", "first and last slice"),
    ("Shift + move", "the other views follow the pointer"),
    ("Middle button, right button", "move, zoom"),
    ("+ and -", "larger and smaller"),
    ("1 to 5", "window: soft tissue, kidney, liver, lung, bone"),
    ("w", "drag changes window and level, or not"),
    ("c", "cross-hair"),
    ("s", "show or hide the segmentation"),
    ("v", "volume rendering"),
    ("f", "fit all views"),
    ("m", "one view alone, or all"),
    ("d", "panel at the side"),
    ("t", "light or dark"),
    ("?", "this help"),
)


def build_help() -> None:
    """Write the dialog, which ``help_open`` shows."""
    with v3.VDialog(v_model=("help_open", False), max_width=620, scrollable=True), v3.VCard(data_testid="help"):
        with v3.VCardTitle(classes="hlfd-row"):
            html.Span("Help")
            v3.VSpacer()
            v3.VBtn(icon="mdi-close", variant="text", click="help_open = false", aria_label="Close the help")
        with v3.VCardText():
            html.Div("Demonstration, not for clinical use. Look at every result.", classes="hlfd-demo")
            with html.Ol(classes="ml-5 mb-4"):
                for step in _STEPS:
                    html.Li(step)
            html.P("Keys work while the pointer or the focus is in a view.", classes="mb-2")
            with html.Table(classes="hlfd-table"), html.Tbody():
                for key, meaning in _KEYS:
                    with html.Tr():
                        with html.Td():
                            html.Span(key, classes="hlfd-kbd")
                        html.Td(meaning)
            html.P(
                "With fingers: one finger scrolls through the slices, two zoom; the buttons above choose whether a "
                "finger moves the cross-hair or the gray window instead.",
                classes="mt-4",
            )
