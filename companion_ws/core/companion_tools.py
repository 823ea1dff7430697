"""The tools the CompanionUI answers with no code of the agent's author: one list for all.

Python, JavaScript (static/js/core/protocol.js) and docs/protocol.md are held to it by
tests/wire/companion_tools/list.json. Source: docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

COMPANION_TOOLS: Final[dict[str, tuple[str, ...]]] = {
    "companion_show": ("title", "data", "ui"),
    "companion_choose": ("title", "options", "multiple", "min", "max"),
    "companion_form": ("title", "schema"),
    "companion_confirm": (
        "title", "text", "amount", "currency", "items", "merchant", "confirm_label",
        "cancel_label",
    ),
}  # fmt: skip
"""Each tool with the parameters it understands."""

OPTION_FIELDS: Final = ("id", "label", "description", "price", "currency", "image", "badge")
"""Of each entry of `options`."""


def is_companion_ui(tools: Set[str]) -> bool:
    """Whether a screen that names these tools is the CompanionUI.

    It may name more: pages of another version, or with tools of their own.
    """
    return COMPANION_TOOLS.keys() <= tools
