"""The end of a token in use: told in time, and met when it has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from companion_ws.access.tokens import Claims
from companion_ws.clock import Alarm

EXPIRING_S: Final = 300.0
"""How long before its end a session token is told to renew. Source: docs/protocol.md."""


def watch(
    claims: Claims,
    left_s: Callable[[Claims], float],
    *,
    expiring: Callable[[], None],
    expired: Callable[[], None],
) -> list[Alarm]:
    """Return the alarms of a token: `expiring` rings for one that can be renewed."""
    alarms = [Alarm(lambda: left_s(claims), expired)]
    if claims.kind == "session":
        now_left_s = left_s(claims)
        warn_s = EXPIRING_S if now_left_s > EXPIRING_S else now_left_s / 2
        alarms.append(Alarm(lambda: left_s(claims) - warn_s, expiring))
    return alarms
