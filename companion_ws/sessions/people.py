"""Everything that is stored of a person: shown, and erased."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Final

import structlog

from companion_ws.database import Statement
from companion_ws.sessions.crowds import FORGET_CROWD
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.parts import SessionParts
from companion_ws.sessions.store import ABANDON, deletion
from companion_ws.sessions.summaries import Summaries, Summary

DELETED_AT_ONCE: Final = 4
"""Sessions that one transaction deletes: others wait for the writer meanwhile."""

ERASED: Final = "erased"
"""Why a socket is closed whose session leaves nothing behind: a screen forgets it, too."""
GONE: Final = "gone"
"""News of sessions that leave nothing behind; of whom is told to nobody."""

log = structlog.get_logger(__name__)


class People:
    """The sessions of one user, taken together."""

    def __init__(
        self, parts: SessionParts, lives: dict[str, LiveSession], summaries: Summaries
    ) -> None:
        self._database = parts.database
        self._news = parts.news
        self._news.on(GONE, self._hear_gone)
        self._store = parts.store
        self._access = parts.access
        self._connections = parts.connections
        self._calls = parts.calls
        self._lives = lives
        self._summaries = summaries

    def sessions_of(self, user: str) -> AsyncIterator[Summary]:
        """Return all sessions of a user, newest first."""
        return self._summaries.each_of(user)

    async def erase(self, user: str, extra_statements: list[Statement]) -> int:
        """Remove everything of a user's sessions in one step with `extra_statements`.

        Durable, and gone from the files too, on return. Returns how many sessions there were.
        """
        # What the user did a moment ago may still wait for the disk.
        await self._database.transact(())
        rows = await self._store.listed(user=user, limit=2**31)
        forgets = (*ABANDON, FORGET_CROWD) if self._news.is_shared else ABANDON
        over = [*extra_statements, *(Statement(sql, (user,)) for sql in forgets)]
        self._let_go(row.session_id for row in rows)
        for row in rows:
            over += self._access.forget_session(row.session_id)
        for live in self._lives.values():
            if live.row.service == user:  # What it opened belongs to somebody else, and stays.
                live.row = replace(live.row, service=None)
        # In one step nobody gets at any of it; what is left goes little by little, so that
        # others are stored meanwhile, and after a crash by the sweep.
        await self._news.tell(GONE, "", json.dumps([row.session_id for row in rows]), over)
        for start in range(0, len(rows), DELETED_AT_ONCE):
            await self._database.transact(
                statement
                for row in rows[start : start + DELETED_AT_ONCE]
                for statement in deletion(row.session_id)
            )
        for row in rows:
            # Not of whom: the log would remember who had asked to be forgotten.
            log.info("session_ended", session_id=row.session_id, reason=ERASED)
        await self._database.purge()
        return len(rows)

    def _let_go(self, session_ids: Iterable[str]) -> None:
        """Forget what leaves nothing behind, and send away whoever is in it."""
        for session_id in session_ids:
            self._lives.pop(session_id, None)
            self._calls.forget(session_id)
            self._connections.close(4510, ERASED, session_id=session_id)

    async def _hear_gone(self, ref: str, body: str) -> None:
        """Another server has erased somebody: let go of it here, too."""
        self._let_go(json.loads(body))
        for live in list(self._lives.values()):
            if live.row.service is not None:  # It may be a service that is gone.
                live.row = await self._store.row(live.session_id) or live.row
