"""Who is in a session and where it lives, whichever server is asked, and what is told to it alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from companion_ws.nodes.verbs import verb
from companion_ws.sessions.background import Work
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.parts import SessionParts
from companion_ws.sessions.questions import Questions
from companion_ws.sessions.store import ANSWER_BYTES

Counts = dict[str, int]
"""How many connections there are, by role."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A session as seen from outside; `node` is the server it is in the memory of, if any."""

    connections: Counts
    node: str | None = None


class Presence:
    """Asks, and answers for, those who are connected to this server."""

    def __init__(
        self,
        parts: SessionParts,
        lives: dict[str, LiveSession],
        open_live: Callable[[str], Awaitable[LiveSession | None]],
        questions: Questions,
        spawn: Callable[[Work], None],
    ) -> None:
        self.verbs = parts.verbs
        self._places = parts.places
        self._connections = parts.connections
        self._lives = lives
        self._open = open_live
        self._questions = questions
        self._spawn = spawn

    @property
    def count_here(self) -> int:
        """How many sessions this server has in memory."""
        return len(self._lives)

    async def of(self, session_ids: Collection[str]) -> dict[str, Seen]:
        """Return how each of these sessions is seen, whichever servers they live on."""
        me = self._places.me.name
        seen = {
            session_id: Seen(
                self._connections.count(session_id), me if session_id in self._lives else None
            )
            for session_id in session_ids
        }
        elsewhere = [session_id for session_id in session_ids if session_id not in self._lives]
        if elsewhere and not self.verbs.is_alone:
            for node, found in await self.verbs.ask_others(Presence.here, elsewhere):
                seen |= {of: Seen(counts, node.name) for of, counts in found.items()}
        return seen

    @verb(changes=False)
    async def here(self, session_ids: list[str]) -> dict[str, Counts]:
        """Return who is connected to those of these sessions that live here."""
        return {
            session_id: self._connections.count(session_id)
            for session_id in session_ids
            if session_id in self._lives
        }

    @verb()
    async def tell_owner(self, session_id: str, message: dict[str, Any]) -> None:
        """Send an unrecorded message to the connections of a session's owner."""
        if not self._lives.get(session_id) and not self.verbs.is_alone:
            await self._open(session_id)
        self._connections.tell_owner(session_id, message)

    @verb(changes=False)
    async def is_asking(self, session_id: str) -> bool:
        """Whether a call waits in a session, or a question can still be answered."""
        live = await self._open(session_id)
        return live is not None and live.is_asking

    @verb(changes=False)
    async def look(self, session_id: str) -> None:
        """See what becomes of the calls that wait for screens: a way in has closed."""
        await self._questions.look(session_id)

    def note_answer(self, session_id: str, size_bytes: int) -> None:
        """Count what is remembered for a request of this session with an `Idempotency-Key`."""
        live = self._lives.get(session_id)
        if live is not None:
            live.session.answers_bytes += size_bytes + ANSWER_BYTES
        elif not self.verbs.is_alone:
            self._spawn(self.count_answer(session_id, size_bytes))

    @verb()
    async def count_answer(self, session_id: str, size_bytes: int) -> None:
        """Count it where the session lives; one that is loaded later has counted it itself."""
        if await self._open(session_id) is not None:
            self.note_answer(session_id, size_bytes)
