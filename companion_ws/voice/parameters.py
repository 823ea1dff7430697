"""What an agent's call becomes in the session: its parameters, and how long the agent waits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_NESTED: Final = frozenset({"schema", "data", "ui", "options"})
"""Parameters of the companion tools that are objects or lists of any shape."""


SHOW_MS: Final = 3_000
"""Showing asks nothing, so the agent need not wait until somebody opens the screen."""


def patience_ms(tool_name: str, longest_ms: int) -> int:
    """Return how long the agent waits for a tool, `longest_ms` at most."""
    return min(longest_ms, SHOW_MS) if tool_name == "companion_show" else longest_ms


def unfolded(tool_name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a companion tool with JSON texts read; of others as they are.

    A tool defined at ElevenLabs cannot take an object of unknown shape, so its model
    writes `schema`, `data`, `ui` or `options` as text.

    >>> unfolded("companion_show", {"title": "Rates", "data": '{"cost": 12}'})
    {'title': 'Rates', 'data': {'cost': 12}}
    """
    if not tool_name.startswith("companion_"):
        return dict(parameters)
    return {
        name: _read(value) if name in _NESTED and isinstance(value, str) else value
        for name, value in parameters.items()
    }


def _read(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text
