"""Telephone calls that are under way: how many, in which sessions, and until when.

A call is under way from its initiation to its post-call webhook, the end of its session,
or SILENCE_S without a tool call, a transcript or a poll. A session has one at most. Its
sessions and connections are bounded by the number of calls, not by their owner's limits.
Source: docs/operations.md.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final, Protocol

from companion_ws.core.errors import TooManyRequests, Unavailable
from companion_ws.database import Database, Statement, Unit

SILENCE_S: Final = 15 * 60.0
"""A call nothing is heard of for so long is over: not every end is told."""
RETRY_MS: Final = 60_000
HEARD_IN: Final = frozenset(
    {
        "client_tool_call",
        "user_transcript",
        "agent_response",
        "agent_response_correction",
        "interruption",
    }
)
"""Records that show that somebody is on the line."""


def _clock_s() -> float:
    """Return a time that no step of the system's clock moves, and that counts suspend."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Calls(Protocol):
    """The telephone calls under way."""

    async def load(self) -> None: ...

    async def is_live(self, session_id: str) -> bool: ...

    def place(self) -> AbstractAsyncContextManager[str]: ...

    async def begin(self, session_id: str, place: str = "") -> None: ...

    async def began_at_ms(self, session_id: str) -> int: ...

    def heard(self, session_id: str) -> None: ...

    async def over(self, session_id: str, refs: Iterable[str]) -> None: ...

    def forget(self, session_id: str) -> None: ...


class PhoneCalls:
    """The calls under way at a server alone, in memory; `phone_calls` keeps them across a restart."""

    def __init__(
        self,
        database: Database,
        limit: int,
        now_ms: Callable[[], int],
        clock_s: Callable[[], float] = _clock_s,
    ) -> None:
        self.clock_s = clock_s
        self._database = database
        self._limit = limit
        self._now_ms = now_ms
        self._heard_s: dict[str, float] = {}
        self._arriving = 0

    async def load(self) -> None:
        """Take up the calls that were under way when the process ended, as just heard of."""
        for (session_id,) in await self._database.read("SELECT session_id FROM phone_calls"):
            self.heard_first(session_id)

    @property
    def count(self) -> int:
        """How many calls are under way."""
        return sum(map(self._is_live, self._heard_s)) + self._arriving

    async def is_live(self, session_id: str) -> bool:
        """Whether a call is under way in this session."""
        return self._is_live(session_id)

    def _is_live(self, session_id: str) -> bool:
        heard_s = self._heard_s.get(session_id)
        return heard_s is not None and self.clock_s() - heard_s < SILENCE_S

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        """Hold a place for one more call while its session is found or made; `begin` takes it.

        Raises:
            TooManyRequests: as many are under way as the limit allows.
        """
        self._let_go_of_silent()
        if self._limit and self.count >= self._limit:
            raise too_many_calls(self._limit)
        self._arriving += 1
        try:
            yield ""
        finally:
            self._arriving -= 1

    async def begin(self, session_id: str, place: str = "") -> None:
        """A call begins in this session, or goes on; durable on return."""
        goes_on = self._is_live(session_id)
        self.heard_first(session_id)
        if goes_on:
            return
        begun = Statement(
            "INSERT INTO phone_calls (session_id, began_at_ms)"
            " SELECT session_id, ? FROM sessions WHERE session_id = ?"
            " ON CONFLICT (session_id) DO UPDATE SET began_at_ms = excluded.began_at_ms",
            (self._now_ms(), session_id),
        )
        try:
            await self._database.transact([begun])
        except BaseException:
            self.forget(session_id)  # nobody was told of it, so it holds no place
            raise

    async def began_at_ms(self, session_id: str) -> int:
        """Return when the newest call of this session began; 0 where none is known."""
        rows = await self._database.read(
            "SELECT began_at_ms FROM phone_calls WHERE session_id = ?", (session_id,)
        )
        return int(rows[0][0]) if rows else 0

    def heard_first(self, session_id: str) -> None:
        """Something of this call was heard, which may be the first."""
        self._heard_s[session_id] = self.clock_s()

    def heard(self, session_id: str) -> None:
        """Something was heard in this session; without a call under way that is nothing."""
        if self._is_live(session_id):
            self.heard_first(session_id)

    async def over(self, session_id: str, refs: Iterable[str]) -> None:
        """The call that had these ids is over; nothing where another is under way by now."""
        over = await call_that_is_over(self._database, session_id, refs)
        if over:
            self.forget(session_id)
            await self._database.transact(over)

    def _let_go_of_silent(self) -> None:
        """Forget calls that are over by silence, on the disk too: a restart must not revive them."""
        silent = [session_id for session_id in self._heard_s if not self._is_live(session_id)]
        for session_id in silent:
            self.forget(session_id)
            unit = Unit()
            unit.add("DELETE FROM phone_calls WHERE session_id = ?", (session_id,))
            with suppress(Unavailable):
                self._database.write(unit)

    def forget(self, session_id: str) -> None:
        """The session is over, and a call in it."""
        self._heard_s.pop(session_id, None)


def too_many_calls(limit: int) -> TooManyRequests:
    """Return what a call is refused with that is one too many."""
    return TooManyRequests(
        f"{limit} telephone calls are under way, which is the limit.", retry_after_ms=RETRY_MS
    )


async def call_that_is_over(
    database: Database, session_id: str, refs: Iterable[str]
) -> list[Statement]:
    """Return what ends the call that had these ids; nothing where another is under way by now."""
    bound = {
        ref
        for (ref,) in await database.read(
            "SELECT bindings.ref FROM bindings JOIN phone_calls USING (session_id)"
            " WHERE session_id = ? AND bound_at_ms >= began_at_ms",
            (session_id,),
        )
    }
    if bound and bound.isdisjoint(refs):
        return []
    return [Statement("DELETE FROM phone_calls WHERE session_id = ?", (session_id,))]
