"""Who is connected: found, counted, told and closed by session."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from companion_ws.core.errors import CompanionError, TooManyRequests, Unavailable
from companion_ws.core.protocol import encode
from companion_ws.core.session import Role, Sender, TokenRef
from companion_ws.flag import Flag
from companion_ws.sessions.outbox import Outbox

log = structlog.get_logger(__name__)

WATCH_S: Final = 0.5
"""How often each receiver is looked at: whether it takes what is written, and lives."""
TURNS: Final = 5
"""In how many turns all of them are looked at, so that thousands are no burst."""
HEARTBEAT_S: Final = 10.0
"""A connection that has been silent for this long is asked for a sign of life."""
ANSWER_S: Final = 4.5
"""How long a peer has for it: a dead one is gone within 16 s (docs/operations.md)."""
MAX_AHEAD: Final = 256
MAX_AHEAD_BYTES: Final = 512 * 1024
"""Commands of one connection that may be accepted and not yet stored."""


class Heard(Protocol):
    """What knows when a peer was last heard, by the loop's clock, and whether it is read at all."""

    heard_s: float
    is_paused: bool


@dataclass(eq=False, slots=True)
class Connection:
    """One WebSocket or event stream, seen from the server."""

    connection_id: str
    session_id: str
    role: Role
    user: str
    """Who the token speaks for."""
    owner: str
    """Whose session it is in, and whose limits count; "" where no user's do."""
    since_ms: int
    outbox: Outbox
    heard: Heard | None = None
    """None for an event stream, which hears nothing of its reader."""
    ping_at_s: float = 0.0
    """When it is asked for a sign of life next; 0 before its first turn."""
    pinged_s: float | None = None
    """When it was asked, while it has not answered."""
    device: str = ""
    device_id: str | None = None
    token: TokenRef | None = None
    tools: frozenset[str] = frozenset()
    """Tools this screen answers; none named means any."""
    screen: str = ""
    is_announced: bool = True
    is_owner: bool = False
    """Whether its token is the owner's own; that of a phone or a page is only lent."""
    is_ordered: bool = False
    """Whether what it says after a passing refusal waits until that was said again."""
    refusal: CompanionError | None = None
    """What an ordered connection was refused with and has not gone back to yet."""
    is_joined: bool = False
    """Whether it has been told `session_joined`, which comes before all else."""
    is_subscribed: bool = False
    """Whether live records reach it; not while it catches up."""
    first_seq: int = 1
    """The oldest record when it joined, as `session_joined` told it."""
    close_code: int | None = None
    close_reason: str = ""
    recovery: str = "none"
    """How it came up to date, as `session_joined` told it."""
    ahead: int = 0
    ahead_bytes: int = 0
    lookups: int = 0
    """Its commands that the disk is asked about before they are decided on."""
    changed: Flag = field(default_factory=Flag)
    asked: list[Callable[[], None]] = field(default_factory=list)
    """Questions that wait for the end of the replay: their answers are of later than that."""
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.sender = Sender(
            self.role, self.user, self.connection_id, self.device_id, self.token
        )

    @property
    def is_screen(self) -> bool:
        return self.role == "ui"

    def answers(self, tool_name: str) -> bool:
        """Whether this is a screen that answers calls of this tool."""
        return self.is_screen and (not self.tools or tool_name in self.tools)

    def hold(self, error: CompanionError) -> None:
        """Note a refusal: what an ordered sender has on its way already must not overtake it."""
        if self.is_ordered and isinstance(error, (TooManyRequests, Unavailable)):
            passes = "retry_after_ms" in error.details or isinstance(error, Unavailable)
            if passes and self.refusal is None:
                self.refusal = error

    def check_turn(self) -> None:
        """Refuse what stands behind a refused command.

        Raises:
            TooManyRequests, Unavailable: as that command was refused.
        """
        if self.refusal is not None:
            raise type(self.refusal)(self.refusal.message, **self.refusal.details)

    def shown(self) -> dict[str, Any]:
        """Return its entry in `presence`."""
        return {
            "connection_id": self.connection_id,
            "role": self.role,
            "user": self.user,
            "device": self.device,
            "device_id": self.device_id,
            "since": self.since_ms,
            "screen": self.screen,
        }

    def end_replay(self) -> None:
        """It has everything it missed, or goes without."""
        self.outbox.is_replaying = False
        asked, self.asked = self.asked, []
        for ask in asked:
            ask()

    def close(self, code: int, reason: str) -> None:
        """Close it with our code; the first one counts."""
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        self.outbox.close(code, reason)
        self.changed.set()

    def check(self, now_s: float) -> None:
        """Notice a peer that takes nothing or answers nothing; ask a silent one whether it lives."""
        self.outbox.check(now_s)
        if self.heard is None or self.outbox.is_closed:
            return
        if self.heard.is_paused:
            self.pinged_s = None
            return
        silent_since_s = self.heard.heard_s
        if self.pinged_s is not None and silent_since_s < self.pinged_s:
            if now_s - self.pinged_s > ANSWER_S:
                self.close_code = self.close_code or 1006
                self.outbox.abort()
            return
        self.pinged_s = None
        self.ping_at_s = max(self.ping_at_s, silent_since_s + HEARTBEAT_S)
        if now_s >= self.ping_at_s:
            self.pinged_s = now_s
            self.ping_at_s = now_s + HEARTBEAT_S
            self.outbox.push_ping()

    @property
    def is_ahead(self) -> bool:
        """Whether so much of it waits for the disk that reading on must wait."""
        return (
            self.ahead >= MAX_AHEAD or self.ahead_bytes >= MAX_AHEAD_BYTES or self.lookups > 0
        )

    def command_accepted(self, size_bytes: int) -> None:
        """One of its commands waits for the disk."""
        self.ahead += 1
        self.ahead_bytes += size_bytes

    def command_settled(self, size_bytes: int) -> None:
        """One of its commands was stored or refused."""
        self.ahead -= 1
        self.ahead_bytes -= size_bytes
        self.changed.set()


class Connections:
    """All connections of this process."""

    def __init__(self, on_slow: Callable[[Connection], None]) -> None:
        self._all: dict[str, Connection] = {}
        self._by_session: defaultdict[str, dict[str, Connection]] = defaultdict(dict)
        self._by_owner: defaultdict[str, int] = defaultdict(int)
        self.elsewhere: dict[str, int] = {}
        """How many of an owner's connections other servers have, where that may matter."""
        self._on_slow = on_slow
        self._flushes: list[Callable[[], None]] = []
        self._one_less = asyncio.Event()
        self._turns: list[dict[str, Connection]] = [{} for _ in range(TURNS)]

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def soon(self, flush: Callable[[], None]) -> None:
        """Call `flush` at the end of this tick: one callback of the loop for all of them."""
        if not self._flushes:
            asyncio.get_running_loop().call_soon(self._flush)
        self._flushes.append(flush)

    def _flush(self) -> None:
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            try:
                flush()
            except Exception:  # one socket's fault must not silence the others
                log.exception("flush_failed")

    def add(self, connection: Connection) -> None:
        self._all[connection.connection_id] = connection
        self._turns[hash(connection.connection_id) % TURNS][connection.connection_id] = connection
        self._by_session[connection.session_id][connection.connection_id] = connection
        self._by_owner[connection.owner] += 1

    def remove(self, connection: Connection) -> None:
        """Forget it; a second time is nothing."""
        if self._all.pop(connection.connection_id, None) is None:
            return
        connection.outbox.let_go()
        self._turns[hash(connection.connection_id) % TURNS].pop(connection.connection_id, None)
        self._one_less.set()
        members = self._by_session[connection.session_id]
        members.pop(connection.connection_id, None)
        if not members:
            del self._by_session[connection.session_id]
        self._by_owner[connection.owner] -= 1
        if not self._by_owner[connection.owner]:
            del self._by_owner[connection.owner]

    def of_session(self, session_id: str) -> list[Connection]:
        """Return who is in a session, in order of joining."""
        members = self._by_session.get(session_id)
        return list(members.values()) if members else []

    def count_of_owner(self, owner: str) -> int:
        """Return how many an owner has, at other servers too."""
        return self._by_owner.get(owner, 0) + self.elsewhere.get(owner, 0)

    def counts_of_owners(self) -> dict[str, int]:
        """Return how many each owner has here."""
        return {owner: count for owner, count in self._by_owner.items() if owner}

    def count(self, session_id: str) -> dict[str, int]:
        """Return `{"agent": n, "ui": n, "observer": n}`."""
        counts = {"agent": 0, "ui": 0, "observer": 0}
        for connection in self.of_session(session_id):
            counts[connection.role] += 1
        return counts

    def close(self, code: int, reason: str, *, session_id: str | None = None) -> int:
        """Close all of a session, or everybody, at once; return how many."""
        matching = list(self) if session_id is None else self.of_session(session_id)
        for connection in matching:
            connection.close(code, reason)
        return len(matching)

    async def close_all(self, code: int, reason: str, patience_s: float) -> None:
        """Close everybody and wait until they are gone; cut off whoever takes too long."""
        self.close(code, reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self._all:
                    self._one_less.clear()
                    await self._one_less.wait()
        for connection in self:
            connection.outbox.abort()

    def tell_owner(
        self,
        session_id: str,
        message: dict[str, Any],
    ) -> int:
        """Send an unrecorded message to the connections of the session's owner."""
        body = encode(message)
        told = [
            connection
            for connection in self.of_session(session_id)
            # Before it has joined nothing is told; an owner who joins is told who waits.
            if connection.is_joined and connection.is_owner
        ]
        for connection in told:
            connection.outbox.push_text(body)
        return len(told)

    def slow(self, connection: Connection, why: str) -> None:
        """Cut a slow consumer off, told so if that is still possible; nobody else notices."""
        if connection.close_code is None:
            self._on_slow(connection)
        connection.close(4408, f"slow consumer: {why}; resume with after")

    async def watch(self) -> None:
        """Look after everybody, a part of them each turn, until cancelled."""
        loop = asyncio.get_running_loop()
        turn = 0
        while True:
            await asyncio.sleep(WATCH_S / TURNS)
            now_s, turn = loop.time(), (turn + 1) % TURNS
            for connection in list(self._turns[turn].values()):
                try:
                    connection.check(now_s)
                except Exception:  # one socket's fault must not end the watch over the others
                    log.exception("check_failed")
