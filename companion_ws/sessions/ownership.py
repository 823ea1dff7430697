"""Sessions that come here and go, where several servers share a database.

What a server that has ended left undone is taken up by the next one to have the session: it is
the same as after a start. What is not this server's any more is dropped, at once and whole: its line is
refused, its runs count for nothing, whoever is in it is sent away, and whoever waits for it asks
again. Which server has a session is decided in nodes/owners.py, and seen by its `Places`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from companion_ws.core.errors import Unavailable
from companion_ws.nodes.place import Elsewhere
from companion_ws.sessions.background import Background
from companion_ws.sessions.due import Scheduler
from companion_ws.sessions.expiry import Expiry
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.parts import SessionParts
from companion_ws.sessions.questions import Questions
from companion_ws.sessions.undone import Undone
from companion_ws.sessions.waiting import Waiting

ADOPT_S: Final = 1.0
"""How often it is seen what a server that has ended left undone."""
DRAIN_S: Final = 1.5
"""How long a stop waits for what was accepted to be stored."""
GIVE_S: Final = 1.0
"""How long it then waits until its sessions are given away; else its lease runs out."""


@dataclass(frozen=True, slots=True)
class Undertakings:
    """What goes on in sessions, and has to stop or go on with them."""

    background: Background
    questions: Questions
    waiting: Waiting
    scheduler: Scheduler
    expiry: Expiry


class Ownership:
    """What is done when a session becomes this server's, and when it is that no more."""

    def __init__(
        self,
        parts: SessionParts,
        lives: dict[str, LiveSession],
        going_on: Undertakings,
        open_live: Callable[[str], Awaitable[LiveSession | None]],
    ) -> None:
        self._places = parts.places
        self._undone = Undone(parts.database, parts.places)
        self._database = parts.database
        self._connections = parts.connections
        self._lives = lives
        self._spawn = going_on.background.spawn
        self._questions = going_on.questions
        self._waiting = going_on.waiting
        self._scheduler = going_on.scheduler
        self._expiry = going_on.expiry
        self._open = open_live
        self.is_ending = False
        """Whether nothing is accepted any more: all of it is given away next."""
        parts.places.on_lost(self._lose_all)

    async def start(self) -> None:
        """Take up what was cut off, before anybody can join; and go on seeing whether there is more."""
        await self._adopt()
        if self._places.is_shared:
            self._spawn(self._adopt_on())

    async def _adopt(self) -> None:
        # On a disk that does not let us read, each call's deadline answers it later.
        with contextlib.suppress(Unavailable):
            for session_id in {*await self._undone.running(), *await self._undone.asking()}:
                with contextlib.suppress(Elsewhere, Unavailable):
                    live = await self._open(session_id)
                    if live is not None and not self._places.is_shared:
                        self.gained(live, "")  # Here a session always comes from this server.

    async def _adopt_on(self) -> None:
        while True:
            await asyncio.sleep(ADOPT_S)
            await self._adopt()
            self._scheduler.note()  # Some of what is due may be ours by now.

    def gained(self, live: LiveSession, last: str) -> None:
        """Go on with what the server `last`, or whoever gave the session away, had begun."""
        if last:
            self._expiry.be_patient()  # That one could not note who was there lately.
        for work in self._questions.go_on(live):
            self._spawn(work)

    def lost(self, live: LiveSession) -> None:
        """Drop a session that another server has."""
        self._drop(live, 1012)

    def _drop(self, live: LiveSession, code: int) -> None:
        session_id = live.session_id
        if self._lives.get(session_id) is live:
            del self._lives[session_id]
        self._questions.forget(session_id)
        live.drop(code, "The session is on another server; reconnect.")
        self._waiting.forget(session_id)

    def _lose_all(self) -> None:
        """Drop everything: the lease of this server has run out."""
        for live in list(self._lives.values()):
            self._drop(live, 1013)
        self._questions.forget()
        self._waiting.forget()
        self._connections.close(1013, "The server has lost the database; reconnect.")

    async def hand_over(self) -> None:
        """Give all sessions to whoever wants them, with what was accepted stored; for a stop."""
        if not self._places.is_shared:
            return
        self.is_ending = True
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(DRAIN_S):
                self._expiry.touch_all()
                turns = [live.turn() for live in self._lives.values()]
                await asyncio.gather(*turns, return_exceptions=True)
                await self._database.transact(())
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(GIVE_S):
                await self._places.give_away()
        # From here on others do what was under way; nobody hears of it from here.
        for live in list(self._lives.values()):
            self._drop(live, 1012)
