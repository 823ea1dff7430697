"""When a client comes back after its connection ended, and how long it waits first."""

from __future__ import annotations

import math
from typing import Final

FIRST_DELAY_S: Final = 0.25
"""The longest wait before the first attempt: a restarted server is back in well under a second."""
LONGEST_DELAY_S: Final = 8.0
"""No wait is longer: a person is looking at the screen."""

_IN_TALK: Final = ((10.0, 1.0), (30.0, 2.0))
"""For so many seconds no wait is longer than so many; phones do the same (static/js/net/connection.js)."""
_PASSING: Final = frozenset({1001, 1005, 1006, 1009, 1011, 1012, 1013})


def may_return(close_code: int | None) -> bool:
    """Return whether the same attempt may succeed later; None means no close frame came.

    The server's own codes say it by their range: 4000 to 4499 "come back",
    4500 to 4999 "do not". A message that was too large (1009) costs no seat.

    >>> [may_return(code) for code in (None, 1012, 4408, 4501, 1000)]
    [True, True, True, False, False]
    """
    if close_code is None:
        return True
    return close_code in _PASSING or 4000 <= close_code <= 4499


def delay_s(attempt: int, chance: float, lost_for_s: float = math.inf) -> float:
    """Return the wait before attempt number `attempt` (0 is the first), full jitter.

    A connection that worked until `lost_for_s` seconds ago is likely in the middle of a
    conversation, so its waits stay short for a while.

    `chance` is a number from 0 to 1; all clients of a server that restarted
    draw their own, so they do not come back in one wave.

    >>> [delay_s(attempt, 1.0) for attempt in (0, 1, 5, 5000)]
    [0.25, 0.5, 8.0, 8.0]
    >>> [delay_s(5, 1.0, lost_for_s) for lost_for_s in (3.0, 20.0, 60.0)]
    [1.0, 2.0, 8.0]
    """
    longest_s = next((most for within, most in _IN_TALK if lost_for_s < within), LONGEST_DELAY_S)
    doublings = min(attempt, 16)
    return chance * min(longest_s, FIRST_DELAY_S * 2.0**doublings)
