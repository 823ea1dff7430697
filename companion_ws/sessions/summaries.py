"""Sessions without their logs: one, a list, all of a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from companion_ws.clock import Clock
from companion_ws.core.trouble import Trouble
from companion_ws.sessions.expiry import Expiry
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.store import Row, Store

LISTED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Summary:
    """What lists and owners' checks need of a session."""

    session_id: str
    user: str
    service: str | None
    title: str
    language: str | None
    created_at_ms: int
    last_active_at_ms: int
    expires_at_ms: int
    ended_at_ms: int | None
    seq: int
    conversation_id: str | None
    is_call: bool = False
    """Whether a telephone call opened it."""


class Summaries:
    """What the disk knows, with what memory knows better."""

    def __init__(
        self,
        store: Store,
        lives: dict[str, LiveSession],
        expiry: Expiry,
        clock: Clock,
        *,
        keeps_ended: bool,
    ) -> None:
        self._store = store
        self._lives = lives
        self._expiry = expiry
        self._clock = clock
        self._keeps_ended = keeps_ended

    async def find(self, session_id: str) -> Summary | None:
        """Return a session, ended ones included while they are kept."""
        row = await self._store.row(session_id)
        return None if row is None or self._is_gone(row) else self.of(row)

    async def listed(
        self,
        *,
        user: str | None = None,
        conversation_id: str | None = None,
        find: str | None = None,
        trouble: Trouble | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Summary]:
        """Return sessions, newest first, from before `(created_at_ms, session_id)`."""
        rows = await self._store.listed(
            user=user, conversation_id=conversation_id, find=find, trouble=trouble,
            before=before, limit=limit,
        )  # fmt: skip
        return [self.of(row) for row in rows if not self._is_gone(row)]

    async def each_of(self, user: str) -> AsyncIterator[Summary]:
        """Return all sessions of a user, newest first, some at a time."""
        before = None
        while page := await self._store.listed(user=user, before=before, limit=LISTED_AT_ONCE):
            for row in page:
                if not self._is_gone(row):
                    yield self.of(row)
            before = (page[-1].created_at_ms, page[-1].session_id)

    def of(self, row: Row) -> Summary:
        live = self._lives.get(row.session_id)
        active_ms = max(row.last_active_at_ms, live.last_active_ms if live is not None else 0)
        shown_ms = self._clock.shown_ms
        return Summary(
            session_id=row.session_id,
            user=row.user,
            service=row.service,
            title=row.title,
            language=row.language,
            created_at_ms=row.created_at_ms,
            last_active_at_ms=shown_ms(active_ms),
            expires_at_ms=shown_ms(self._expiry.ends_ms(active_ms)),
            ended_at_ms=None if row.ended_at_ms is None else shown_ms(row.ended_at_ms),
            seq=row.seq,
            conversation_id=row.conversation_id,
            is_call=bool(row.is_call),
        )

    def _is_gone(self, row: Row) -> bool:
        # Its sockets are closed before its rows are deleted; nobody should see the difference.
        return row.ended_at_ms is not None and not self._keeps_ended
