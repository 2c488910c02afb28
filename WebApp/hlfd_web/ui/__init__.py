"""The page: its frame, what lies over the views, and small widgets that panels share.

Importing it lets every widget take the attributes that tests and screen readers need, such as ``data_testid`` and
``aria_label``; a tuple binds an expression, as with all attributes.
"""

from __future__ import annotations

from trame_client.widgets.core import AbstractElement

ATTRIBUTES = (
    *("data_testid", "data_view", "data_slice", "data_hlfd_upload", "data_hlfd_purpose", "data_hlfd_choose"),
    "data_hlfd_cancel",
    *("role", "for", "scope", "webkitdirectory"),
    *("aria_label", "aria_labelledby", "aria_describedby", "aria_live", "aria_atomic", "aria_hidden", "aria_busy"),
    *("aria_expanded", "aria_controls", "aria_haspopup", "aria_current", "aria_modal", "aria_keyshortcuts"),
    *("aria_pressed", "aria_selected", "aria_checked", "aria_valuenow", "aria_valuemin", "aria_valuemax"),
)

for _name in ATTRIBUTES:
    AbstractElement.register_directive(_name, _name.replace("_", "-"))
