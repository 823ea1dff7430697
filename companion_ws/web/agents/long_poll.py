"""`wait_for_companion`: a request that stays open until a screen does something."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from companion_ws.voice.polling import PollingAgent

WAIT_DEFAULT_S: Final = 18.0
"""Below the 20 s a webhook tool waits by default."""
WAIT_MAX_S: Final = 280.0
"""Below the 300 s a webhook tool waits at most."""


async def wait(
    polling: PollingAgent, request: web.Request, session_id: str, parameters: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the tool's result, and what screens did since the agent asked last."""
    seconds = _wait_s(parameters.get("seconds"))
    events = await polling.wait(session_id, seconds, lambda: is_gone(request))
    return {"status": "news" if events else "waiting"}, events


def is_gone(request: web.Request) -> bool:
    """Whether the caller has hung up, so that an answer would be lost."""
    return request.transport is None or request.transport.is_closing()


def _wait_s(seconds: Any) -> float:
    """Return how long to wait, within reason, for what a model wrote as `seconds`."""
    if isinstance(seconds, str):
        with contextlib.suppress(ValueError):
            seconds = float(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return WAIT_DEFAULT_S
    # Written so, what is not a number waits not at all.
    return max(0.0, min(float(seconds), WAIT_MAX_S))
