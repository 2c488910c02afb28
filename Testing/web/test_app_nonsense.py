"""A page can write anything into its state and call anything it knows the name of: the session goes on."""

from __future__ import annotations

import contextlib

PREFIXES = ("open_", "seg_", "view_", "model_", "volume_name", "drawer_open", "theme", "notice")
NONSENSE = [None, "x", -1, 1e308, True, [], {}, [None], {"state": "done", "path": ["/etc"]}, {"state": 7}]


def test_nonsense_in_the_state_of_a_page_does_no_harm(panels, context, ct_node):
    names = [name for name in context.state.to_dict() if name.startswith(PREFIXES)]
    assert len(names) > 50
    for value in NONSENSE:
        with context.state:
            context.state.update(dict.fromkeys(names, value))
        context.tick()
        for panel in panels.values():
            with context.notices.shown():
                panel.enter()
        context.tick()
    assert context.volume_node is ct_node
    assert not list(context.data_root.results.iterdir())


def test_calls_with_nonsense_leave_the_views_as_they_are(panels, context, ct_node):
    before = [view.get_slice_value() for view in context.views.slice_views()]
    for name in ("hlfd_step", "hlfd_zoom", "hlfd_key"):
        for given in ([], ["Red"], ["Red", "x"], [None, None], [{}, []], ["Red", 1e400], ["x", 1]):
            with contextlib.suppress(TypeError, ValueError, OverflowError):  # the page gets the error as its answer
                context.server.controller.trigger_fn(name)(*given)
    assert [view.get_slice_value() for view in context.views.slice_views()] == before
