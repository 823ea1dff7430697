"""What time it is: the time of day for people and records, and a clock that only runs.

The time of day steps: somebody sets it, or the network does. What runs (deadlines,
expiry, ways in) is measured by a clock that does not, and that counts the time
a machine sleeps. Both begin together, so that what was stored before the start
means something; they part where the time of day is set, and `shown_ms`
translates.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

_RUNNING: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts suspends where the system has such a clock."""
TOLERANCE_MS: Final = 20
"""How far both may be apart without the time of day having been set: they are read one by one."""
PIECE_S: Final = 5.0
"""Timers of the event loop stand still while a machine sleeps; this bounds how late one notices."""
LOOKS_KEPT: Final = 60
"""Of a clock that is followed: half a minute, in which two clocks hardly drift apart."""
STEP_MS: Final = 1000
"""A clock that is followed and moved so much at once was set; what runs goes on as it did."""

DRIFT: Final = 5e-4
"""How fast two clocks drift apart at most: so fast NTP moves one that is wrong."""
AHEAD_MS: Final = 10
"""How far a clock that follows may be ahead: what it drifts in ten times the time between two looks."""

log = structlog.get_logger(__name__)


def _time_of_day_ms() -> int:
    return time.time_ns() // 1_000_000


def _running_ms() -> int:
    return time.clock_gettime_ns(_RUNNING) // 1_000_000


def since_boot_s() -> float:
    """Return seconds by a clock that nothing sets, and that counts suspends."""
    return time.clock_gettime(_RUNNING)


class Clock:
    """Both readings, in milliseconds since 1970 (UTC)."""

    def __init__(
        self,
        time_of_day_ms: Callable[[], int] = _time_of_day_ms,
        since_boot_ms: Callable[[], int] = _running_ms,
    ) -> None:
        self._time_of_day_ms = time_of_day_ms
        self._since_boot_ms = since_boot_ms
        self._began_ms = time_of_day_ms() - since_boot_ms()
        self._ahead_ms = 0

    def begin_after(self, stored_ms: int) -> None:
        """Let what runs go on from a time that was stored: a time of day set back is no way back."""
        self._began_ms = max(self._began_ms, stored_ms - self._since_boot_ms())

    def running_ms(self) -> int:
        """Return the time by which deadlines are made and measured; it never steps."""
        return self._began_ms + self._since_boot_ms()

    def now_ms(self) -> int:
        """Return the time of day, for people and records; it may step."""
        return self.shown_ms(self.running_ms())

    def shown_ms(self, running_ms: int) -> int:
        """Return the time of day at which `running_ms` is, or was, as the clock on the wall has it now."""
        self.both_ms()
        return running_ms + self._ahead_ms

    def both_ms(self) -> tuple[int, int]:
        """Return the running time and the time of day, as `running_ms` and `shown_ms` would."""
        running_ms = self._began_ms + self._since_boot_ms()
        ahead_ms = self._time_of_day_ms() - running_ms
        if abs(ahead_ms - self._ahead_ms) > TOLERANCE_MS:
            self._ahead_ms = ahead_ms
        return running_ms, running_ms + self._ahead_ms

    def earliest_ms(self) -> int:
        """Return the earlier of both: by it, a step of the time of day lets nothing expire."""
        running_ms = self.running_ms()
        return min(running_ms, self.shown_ms(running_ms))

    def latest_ms(self) -> int:
        """Return the later of both: by it, nothing that was made before is younger than now."""
        running_ms = self.running_ms()
        return max(running_ms, self.shown_ms(running_ms))


class SharedClock(Clock):
    """A clock that keeps to another one, the database's, and so agrees with all who do.

    Each look at the other clock says between which two differences to ours it is: it showed its
    time after it was asked and before we heard. The clock goes by the least that all looks allow,
    so it is never ahead, but for what the two drift apart until the next look; and never goes back.
    """

    def __init__(
        self,
        time_of_day_ms: Callable[[], int] = _time_of_day_ms,
        since_boot_ms: Callable[[], int] = _running_ms,
    ) -> None:
        super().__init__(time_of_day_ms, since_boot_ms)
        self._looks: deque[tuple[int, int, int]] = deque(maxlen=LOOKS_KEPT)
        """When, and between which differences to ours the other clock was."""
        self._told_ms = 0
        self._is_apart = False

    def since_boot_ms(self) -> int:
        """Return what `follow` is told of when the other clock was asked."""
        return self._since_boot_ms()

    def follow(self, there_ms: int, asked_ms: int) -> None:
        """Keep to a clock that showed `there_ms` between `asked_ms` of ours and now."""
        heard_ms = self._since_boot_ms()
        least, most = there_ms - heard_ms, there_ms - asked_ms
        if not self._looks:
            self._told_ms = 0  # Until now it was our own time, which may be ahead.
        elif abs(least - self._began_ms) > STEP_MS + most - least:
            if not self._is_apart:
                log.warning("database_clock_set", by_ms=least - self._began_ms)
            self._is_apart = True
            return
        self._is_apart = False
        self._looks.append((heard_ms, least, most))
        least, most = self._bounds()
        if least > most:
            self._looks = deque([self._looks[-1]], LOOKS_KEPT)  # It was set, by very little.
            least, _ = self._bounds()
        self._began_ms = least

    def _bounds(self) -> tuple[int, int]:
        """Return between which differences to ours the other clock is, by all looks that are kept."""
        now_ms = self._since_boot_ms()
        aged = [
            (least - drift, most + drift)
            for at_ms, least, most in self._looks
            for drift in [math.ceil((now_ms - at_ms) * DRIFT)]
        ]
        return max(least for least, _ in aged), min(most for _, most in aged)

    def running_ms(self) -> int:
        """Return the time by which deadlines are made and measured; it never steps."""
        self._told_ms = max(self._told_ms, super().running_ms())
        return self._told_ms

    def both_ms(self) -> tuple[int, int]:
        """Return the running time and the time of day."""
        super().both_ms()
        running_ms = self.running_ms()
        return running_ms, running_ms + self._ahead_ms

    def latest_ms(self) -> int:
        """Return what is not before the time that anybody who keeps to the same clock tells now."""
        there_ms = self._since_boot_ms() + self._bounds()[1] if self._looks else 0
        return max(super().latest_ms(), there_ms + AHEAD_MS)


class Alarm:
    """Calls `ring` once `left_s()` is 0 or less, soon after a sleep of the machine too."""

    def __init__(self, left_s: Callable[[], float], ring: Callable[[], None]) -> None:
        self._left_s = left_s
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def cancel(self) -> None:
        """Let it never ring; afterwards this does nothing."""
        if self._timer is not None:
            self._timer.cancel()
        # It knows who would have been called, who knows it: let nobody search for that circle.
        self._timer, self._left_s, self._ring = None, lambda: 0.0, lambda: None

    def _look(self, is_later: bool = False) -> None:
        left_s = self._left_s()
        if is_later and left_s <= 0:
            self._timer = None
            self._ring()
            return
        pause_s = min(max(0.0, left_s), PIECE_S)
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._look, True)
