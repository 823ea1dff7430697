"""Sessions nobody uses: warned, expired, and forgotten by memory.

All of it goes by the clock that runs: setting the time of day changes nothing.
A start gives everybody time, and so does a while in which the machine slept or
the process stood still: nothing expires for two minutes then. Source:
docs/sessions.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from companion_ws.core.errors import CompanionError
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.parts import SessionParts
from companion_ws.sessions.undone import Undone

QUIET_S: Final = 5.0
"""A session nobody uses is forgotten by memory after this long; the disk knows it."""
GRACE_S: Final = 120.0
"""After a start, or a standstill, nothing expires for this long, or half the ttl."""
WARNING_S: Final = 60.0
"""How long before its end everybody is told that a session expires, or half the ttl."""
GRAIN_S: Final = 60.0
"""How exactly the disk knows the last activity, or a tenth of the ttl."""
STANDSTILL_S: Final = 5.0
"""Nobody looked at the clock for so long: nobody could say anything either."""
SWEEP_S: Final = 1.0
MOST_AT_ONCE: Final = 100

log = structlog.get_logger(__name__)


class Expiry:
    """Sweeps over the sessions in memory and those only the disk knows."""

    def __init__(
        self,
        parts: SessionParts,
        lives: dict[str, LiveSession],
        expire: Callable[[str], Awaitable[None]],
    ) -> None:
        ttl_s = parts.rules.ttl_s
        self._store = parts.store
        self._lives = lives
        self._ttl_ms = int(ttl_s * 1000)
        self._keep_ended_ms = int(parts.rules.keep_ended_s * 1000)
        self._warning_ms = int(min(WARNING_S, ttl_s / 2) * 1000)
        self._grain_ms = int(min(GRAIN_S, ttl_s / 10) * 1000)
        self._grace_ms = int(min(GRACE_S, ttl_s / 2) * 1000)
        self._pause_s = max(0.05, min(SWEEP_S, ttl_s / 20))
        self._expire = expire
        self._forget = parts.access.forget_session
        self._clock = parts.clock
        self._places = parts.places
        self._undone = Undone(parts.database, parts.places)
        self._patient_until_ms = 0
        self._looked_ms = parts.clock.running_ms()

    def be_patient(self) -> None:
        """Let nothing expire for a while."""
        self._looked_ms = self._clock.running_ms()
        self._patient_until_ms = self._looked_ms + self._grace_ms

    def _now_ms(self) -> int:
        """Return what time it is; whoever looks first after a standstill gives everybody time."""
        now_ms = self._clock.running_ms()
        stood_ms = now_ms - self._looked_ms
        self._looked_ms = now_ms
        if stood_ms > STANDSTILL_S * 1000:
            log.info("stood_still", seconds=round(stood_ms / 1000))
            self.be_patient()
        return now_ms

    async def watch(self) -> None:
        """Look at the clock, until cancelled, however long a sweep takes."""
        while True:
            await asyncio.sleep(self._pause_s)
            self._now_ms()

    def expires_ms(self, live: LiveSession) -> int:
        """Return when a session expires unless something happens in it, by the clock that runs."""
        return self.ends_ms(live.last_active_ms)

    def ends_ms(self, last_active_ms: int) -> int:
        """Return when a session expires in which nothing happened since then."""
        return max(last_active_ms + self._ttl_ms, self._patient_until_ms)

    def is_over(self, live: LiveSession) -> bool:
        """Whether its time is up, even if the sweep has not come by yet."""
        now_ms = self._now_ms()
        return now_ms >= self.expires_ms(live)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self._pause_s)
            try:
                await self._sweep()
            except CompanionError as error:
                log.warning("sweep_refused", code=error.code)

    def touch_all(self) -> None:
        """Let the disk know the last activities exactly; for a stop."""
        for live in self._lives.values():
            if live.last_active_ms > live.touched_ms:
                self._touch(live)

    async def _sweep(self) -> None:
        now_ms = self._now_ms()
        for live in list(self._lives.values()):
            if live.session.ended is not None:
                # Somebody reads what is kept of it; there is nothing to expire.
                self._forget_quiet(live)
            elif self.is_over(live):
                await self._expire(live.session_id)
            else:
                self._look_at(live, now_ms)
        if now_ms < self._patient_until_ms:
            return
        for session_id in await self._undone.idle_since(now_ms - self._ttl_ms, MOST_AT_ONCE):
            if session_id not in self._lives:
                await self._expire(session_id)
        before_ms = now_ms - self._keep_ended_ms
        for session_id in await self._store.ended_before(before_ms, MOST_AT_ONCE):
            await self._store.delete(session_id, self._forget(session_id))

    def _look_at(self, live: LiveSession, now_ms: int) -> None:
        expires_ms = self.expires_ms(live)
        if live.members and not live.expiry_told and now_ms >= expires_ms - self._warning_ms:
            live.expiry_told = True
            live.tell_message("session_expiring", expires_at=self._clock.shown_ms(expires_ms))
        news_ms = live.last_active_ms - live.touched_ms
        if news_ms >= self._grain_ms or (live.is_quiet and news_ms > 0):
            self._touch(live)
        if live.touched_ms >= live.last_active_ms:
            self._forget_quiet(live)

    def _forget_quiet(self, live: LiveSession) -> None:
        idle_s = asyncio.get_running_loop().time() - live.used_at_s
        if live.is_quiet and idle_s > QUIET_S:
            self._lives.pop(live.session_id, None)
            calls = live.session.unclosed.values()
            if all(call.status != "waiting" for call in calls):  # Else somebody here is at it.
                self._places.release(live.row.number, live.generation)

    def _touch(self, live: LiveSession) -> None:
        live.touched_ms = live.last_active_ms
        self._store.touch(live.session_id, live.last_active_ms)
