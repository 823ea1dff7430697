"""The `traceparent` of a message: which trace a tool call belongs to, in W3C's words.

Source: https://www.w3.org/TR/trace-context/, and docs/protocol.md.
"""

from __future__ import annotations

import re
from typing import Final

from companion_ws.core.commands import Json

_FORM: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)
_KNOWN_FLAGS: Final = 0b11
"""Sampled, and that the trace id is random; what other bits mean is not said yet."""


def passed_on(value: Json) -> str | None:
    """Return a `traceparent` as it is passed on, None for what is none.

    One of a later version is passed on as the first one's, with what that knows of it.

    >>> passed_on("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-later")
    '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    """
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["more"]):
        return None
    if not int(match["trace"], 16) or not int(match["parent"], 16):
        return None
    return f"00-{match['trace']}-{match['parent']}-{int(match['flags'], 16) & _KNOWN_FLAGS:02x}"


def is_same_trace(one: str | None, other: str | None) -> bool:
    """Whether two of them, as they are passed on, belong to one trace."""
    return one is not None and other is not None and one[:35] == other[:35]
