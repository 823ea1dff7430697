"""Telephone calls under way where several servers share a database: they are counted in it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from companion_ws.core.errors import Unavailable
from companion_ws.database import Conflict, Database, Statement, Unit, one_at_a_time
from companion_ws.sessions.phone_calls import SILENCE_S, call_that_is_over, too_many_calls

NOTE_MS: Final = 30_000
"""What is heard of a call is stored no more often; so much longer may it be silent."""
ARRIVING_MS: Final = 60_000
"""How long a place is held for a call whose server dies while it finds its session."""
MOST_NOTED: Final = 10_000
"""Sessions of which it is remembered when they were heard of; the oldest makes room."""

_HEARD: Final = (
    "UPDATE phone_calls SET heard_at_ms = ? WHERE session_id = ? AND heard_at_ms BETWEEN ? AND ?"
)
_BEGIN: Final = """
    INSERT INTO phone_calls (session_id, began_at_ms, heard_at_ms)
    SELECT session_id, :began_at_ms, :now_ms FROM sessions WHERE session_id = :session_id
    ON CONFLICT (session_id) DO UPDATE
    SET began_at_ms = CASE WHEN phone_calls.heard_at_ms > :silent_ms
            THEN phone_calls.began_at_ms ELSE excluded.began_at_ms END,
        heard_at_ms = excluded.heard_at_ms"""
_PLACE: Final = """
    INSERT INTO call_places (place, until_ms) SELECT :place, :until_ms
    WHERE (SELECT count(*) FROM phone_calls) + (SELECT count(*) FROM call_places) < :most"""
_LET_GO: Final = "DELETE FROM call_places WHERE place = ?"


class SharedPhoneCalls:
    """The calls under way on all servers of a database; a call may be heard of at any of them."""

    def __init__(
        self,
        database: Database,
        limit: int,
        now_ms: Callable[[], int],
        running_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._limit = limit
        self._now_ms = now_ms
        self._running_ms = running_ms
        self._noted_ms: dict[str, int] = {}

    async def load(self) -> None:
        """Take up the calls that a server alone had when its data was moved here, as just heard of."""
        moved = "UPDATE phone_calls SET heard_at_ms = ? WHERE heard_at_ms = 0"
        await self._database.transact([Statement(moved, (self._running_ms(),))])

    async def is_live(self, session_id: str) -> bool:
        """Whether a call is under way in this session."""
        return bool(
            await self._database.read(
                "SELECT 1 FROM phone_calls WHERE session_id = ? AND heard_at_ms > ?",
                (session_id, self._silent_ms()),
            )
        )

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        """Hold a place for one more call while its session is found or made; `begin` takes it.

        Raises:
            TooManyRequests: as many are under way, on all servers, as the limit allows.
        """
        if not self._limit:
            yield ""
            return
        now, place = self._running_ms(), secrets.token_hex(8)
        wanted = {"place": place, "until_ms": now + ARRIVING_MS, "most": self._limit}
        try:
            await self._database.transact(
                [
                    one_at_a_time("telephone calls"),
                    # Over by silence: nobody may find them alive again.
                    Statement("DELETE FROM phone_calls WHERE heard_at_ms <= ?", (self._silent_ms(),)),
                    Statement("DELETE FROM call_places WHERE until_ms <= ?", (now,)),
                    Statement(_PLACE, wanted, expect=1),
                ]
            )
        except Conflict:
            raise too_many_calls(self._limit) from None
        has_failed = True
        try:
            yield place
            has_failed = False
        finally:
            if has_failed:
                with suppress(Unavailable):  # It is let go of by itself in a minute.
                    await self._database.transact([Statement(_LET_GO, (place,))])

    async def begin(self, session_id: str, place: str = "") -> None:
        """A call begins in this session, in the place held for it, or goes on; durable on return."""
        if not place and await self.is_live(session_id):
            self.heard(session_id)
            return
        now = self._running_ms()
        begun = {
            "session_id": session_id, "began_at_ms": self._now_ms(), "now_ms": now,
            "silent_ms": self._silent_ms(),
        }  # fmt: skip
        await self._database.transact([Statement(_BEGIN, begun), Statement(_LET_GO, (place,))])
        self._note(session_id, now)

    async def began_at_ms(self, session_id: str) -> int:
        """Return when the newest call of this session began; 0 where none is known."""
        rows = await self._database.read(
            "SELECT began_at_ms FROM phone_calls WHERE session_id = ?", (session_id,)
        )
        return int(rows[0][0]) if rows else 0

    def heard(self, session_id: str) -> None:
        """Something was heard in this session; without a call under way that is nothing."""
        now = self._running_ms()
        if now - self._noted_ms.get(session_id, 0) < NOTE_MS:
            return
        self._note(session_id, now)
        unit = Unit()
        unit.add(_HEARD, (now, session_id, self._silent_ms() + 1, now))
        with suppress(Unavailable):
            self._database.write(unit)

    def _note(self, session_id: str, at_ms: int) -> None:
        self._noted_ms.pop(session_id, None)
        self._noted_ms[session_id] = at_ms
        while len(self._noted_ms) > MOST_NOTED:
            del self._noted_ms[next(iter(self._noted_ms))]

    async def over(self, session_id: str, refs: Iterable[str]) -> None:
        """The call that had these ids is over; nothing where another is under way by now."""
        over = await call_that_is_over(self._database, session_id, refs)
        if over:
            await self._database.transact(over)
        self.forget(session_id)

    def forget(self, session_id: str) -> None:
        """The session is over; its row is deleted with it."""
        self._noted_ms.pop(session_id, None)

    def _silent_ms(self) -> int:
        """Return when a call that is under way was heard of at the latest."""
        return self._running_ms() - int(SILENCE_S * 1000) - NOTE_MS
