"""Tickets that open one event stream: a browser's `EventSource` can send no token.

A ticket stands for the token it was made with, which is looked at again when the
ticket is used and as long as the stream goes on. It is kept in memory alone, of the server that
made it: it lives for a minute, and a client that finds it gone after a restart asks for another.
It is signed as well, so that what a stranger invents makes no server ask the others.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from companion_ws.access.keys import Keys
from companion_ws.core.errors import Unauthenticated
from companion_ws.nodes.verbs import Verbs, verb

TICKET_S: Final = 60.0
PURPOSE: Final = "stream ticket"
NAME_CHARS: Final = 22
"""Of 16 random bytes."""
MOST_PER_SESSION: Final = 100
MOST: Final = 10_000
"""Tickets that may be unused; the oldest makes room."""


@dataclass(frozen=True, slots=True)
class _Ticket:
    session_id: str
    token: str
    expires_ms: int


class StreamTickets:
    """Unused tickets, by the hash of their text."""

    def __init__(self, running_ms: Callable[[], int], verbs: Verbs, keys: Keys) -> None:
        self._running_ms = running_ms
        self._keys = keys
        self.verbs = verbs
        verbs.serve(self)
        self._tickets: dict[bytes, _Ticket] = {}

    def make(self, session_id: str, token: str) -> tuple[str, int]:
        """Return a ticket for one stream of this session, and when it expires."""
        now_ms = self._running_ms()
        for key in [key for key, each in self._tickets.items() if each.expires_ms <= now_ms]:
            del self._tickets[key]
        own = [key for key, each in self._tickets.items() if each.session_id == session_id]
        if len(own) >= MOST_PER_SESSION:
            del self._tickets[own[0]]
        elif len(self._tickets) >= MOST:
            del self._tickets[next(iter(self._tickets))]
        name = secrets.token_urlsafe(16)
        text = name + _mark(self._keys.derive(PURPOSE), session_id, name)
        expires_ms = now_ms + int(TICKET_S * 1000)
        self._tickets[_key(text)] = _Ticket(session_id, token, expires_ms)
        return text, expires_ms

    async def redeem(self, session_id: str, text: str) -> str:
        """Return the token that a ticket stands for, once.

        Raises:
            Unauthenticated: used, expired, of another session, or never made: nobody learns which.
        """
        token = await self.taken(session_id, text)
        if token is None and not self.verbs.is_alone and self._is_ours(session_id, text):
            # Each server knows those that it made.
            found = await self.verbs.ask_others(StreamTickets.taken, session_id, text)
            token = next((token for _, token in found if token is not None), None)
        if token is None:
            raise Unauthenticated("This ticket is not valid; ask for another.")
        return token

    def _is_ours(self, session_id: str, text: str) -> bool:
        """Whether one of the servers with our key has made this text."""
        name, mark = text[:NAME_CHARS], text[NAME_CHARS:]
        return any(
            hmac.compare_digest(_mark(key, session_id, name).encode(), mark.encode("utf-8", "replace"))
            for key in self._keys.derive_all(PURPOSE)
        )

    @verb()
    async def taken(self, session_id: str, text: str) -> str | None:
        """Use up a ticket that was made here; None where it is not valid."""
        ticket = self._tickets.get(_key(text))
        if ticket is None or ticket.session_id != session_id:
            return None
        del self._tickets[_key(text)]
        return ticket.token if ticket.expires_ms > self._running_ms() else None


def _mark(key: bytes, session_id: str, name: str) -> str:
    return hmac.digest(key, f"{session_id} {name}".encode("utf-8", "replace"), sha256).hex()[:32]


def _key(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
