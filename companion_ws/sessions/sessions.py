"""The one way to open, change, find and end sessions."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec
import structlog

from companion_ws.core import protocol
from companion_ws.core.commands import AnswerCall, Command, EndSession
from companion_ws.core.errors import (
    CompanionError,
    InvalidMessage,
    SessionEnded,
    SessionNotFound,
    TooManyConnections,
    Unavailable,
)
from companion_ws.core.session import (
    SERVER,
    Sender,
    Session,
)
from companion_ws.core.text import label
from companion_ws.core.trouble import Trouble
from companion_ws.database import Conflict, outlive
from companion_ws.nodes.place import Elsewhere
from companion_ws.nodes.verbs import verb
from companion_ws.sessions.background import Background
from companion_ws.sessions.caller import Caller
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.conversations import Conversations
from companion_ws.sessions.due import Scheduler
from companion_ws.sessions.expiry import Expiry
from companion_ws.sessions.live import LiveParts, LiveSession
from companion_ws.sessions.ownership import Ownership, Undertakings
from companion_ws.sessions.parts import SessionParts
from companion_ws.sessions.people import ERASED, People
from companion_ws.sessions.presence import Presence
from companion_ws.sessions.questions import Questions, WaysIn
from companion_ws.sessions.reactions import Reactions
from companion_ws.sessions.requests import Requests
from companion_ws.sessions.runs import ToolRunner
from companion_ws.sessions.showing import Showing
from companion_ws.sessions.store import Kind, Row, Stored
from companion_ws.sessions.summaries import Summaries, Summary
from companion_ws.sessions.troubles import Troubles
from companion_ws.sessions.undone import Undone
from companion_ws.sessions.waiting import Waiting

MOST_KEPT: Final = 200
"""Ended sessions of a user that are kept; the one that ended first makes room."""
TRIES: Final = 5
"""How often room is made for a session, where other servers make sessions of its user too."""
EXPIRED: Final = "expired"
"""Why a session ended that nobody ended."""

log = structlog.get_logger(__name__)


class Sessions:
    """All sessions: those in memory, and those only the disk knows."""

    def __init__(self, parts: SessionParts) -> None:
        store, clock, rules = parts.store, parts.clock, parts.rules
        self.connections = parts.connections
        self.verbs = parts.verbs
        self.calls = parts.calls
        self.store = store
        self.troubles = Troubles(parts.database)
        self.rules = rules
        self.clock = clock
        self.now_ms = clock.now_ms
        self.places = parts.places
        self._database = parts.database
        self._access = parts.access
        self._counted = parts.counted
        self._new_id = parts.new_id
        self._lives: dict[str, LiveSession] = {}
        self._loading: dict[str, asyncio.Task[LiveSession | None]] = {}
        # Weak: a lock is gone once nobody creates a session for that user.
        self._creating: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._background = Background()
        self.waiting = Waiting(self.live, parts.verbs)
        self.conversations = Conversations(store, self.live, clock.now_ms, self.rename, parts.verbs)
        self.questions = Questions(
            parts.tools, WaysIn(parts.pairing, parts.is_link_out), self.live,
            self._answer_call, self._speak,
            ToolRunner(
                names_places=rules.is_development, result_bytes=rules.made_bytes, traces=parts.traces
            ),
        )
        self._undone = Undone(parts.database, parts.places)
        self._scheduler = Scheduler(self._undone, self._do, clock)
        self.showing = Showing(parts, self.live, self._background.spawn)
        self._reactions = Reactions(
            parts, self._background, self.questions, self.waiting, self._scheduler,
            self.conversations, self.showing,
        )
        self._expiry = Expiry(parts, self._lives, self._expire)
        self.ownership = Ownership(
            parts,
            self._lives,
            Undertakings(
                self._background, self.questions, self.waiting, self._scheduler, self._expiry
            ),
            self.live,
        )
        self._live_parts = LiveParts(
            parts.database, store, rules.limits, self.questions.is_server_tool, self._reactions,
            self._background.spawn, clock, parts.new_id, parts.places, self.ownership.gained,
            self.ownership.lost, parts.fetch is not None, parts.traces,
        )
        self._summaries = Summaries(
            store, self._lives, self._expiry, clock, keeps_ended=bool(rules.keep_ended_s)
        )
        self.people = People(parts, self._lives, self._summaries)
        self.presence = Presence(
            parts, self._lives, self.live, self.questions, self._background.spawn
        )
        for room in (self, self.waiting, self.conversations, self.presence):
            parts.verbs.serve(room)

    # Start and stop.

    async def start(self) -> None:
        """Begin to do what is due, to expire what is idle, and to resume what was cut off."""
        await self.store.open()
        self.clock.begin_after(await self.store.last_activity_ms())
        await self.calls.load()
        self._expiry.be_patient()
        await self._background.start(
            {
                "due": self._scheduler.run(),
                "sweep": self._expiry.run(),
                "clock": self._expiry.watch(),
                "watch": self.connections.watch(),
                "questions": self.questions.watch(),
            }
        )
        await self.ownership.start()

    async def stop(self) -> None:
        """End the work of this room; what was accepted is stored by the database's close."""
        self._expiry.touch_all()
        await self._background.stop()
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        await self.questions.end()

    # Sessions.

    async def live(self, session_id: str) -> LiveSession | None:
        """Return a session in memory, loading it if need be; None if there is none.

        Use it before the next await: a quiet session may be forgotten after that.

        Raises:
            Elsewhere: it lives on another server of the same database.
            Unavailable: this server cannot read it, or may have none.
        """
        live = self._lives.get(session_id)
        if live is not None and not self.places.is_good:
            raise Unavailable("This server has lost the database, or is stopping; try again.")
        if live is None:
            task = self._loading.get(session_id)
            if task is None:
                task = asyncio.create_task(self._load(session_id))
                self._loading[session_id] = task
                task.add_done_callback(lambda done: self._loaded(session_id, done))
            live = await asyncio.shield(task)
        if live is not None:
            live.used_at_s = asyncio.get_running_loop().time()
        return live

    def _loaded(self, session_id: str, task: asyncio.Task[LiveSession | None]) -> None:
        self._loading.pop(session_id, None)
        outlive(task)  # Who waited for it may have given up.

    async def _load(self, session_id: str) -> LiveSession | None:
        stored = await self.store.load(session_id)
        if stored is None:
            return None
        live = self._lives.setdefault(session_id, self._brought_to_life(stored))
        if stored.last is not None:
            self.ownership.gained(live, stored.last)
        return live

    def _brought_to_life(self, stored: Stored) -> LiveSession:
        live = LiveSession(stored, self._live_parts)
        live.used_at_s = asyncio.get_running_loop().time()
        return live

    async def open(self, session_id: str) -> LiveSession | None:
        """Return a session that can be joined: there, not ended, not expired."""
        live = await self.live(session_id)
        if live is not None and live.session.ended is not None:
            await live.turn()  # Its end may never be stored; then it has none.
        if live is None or live.session.ended is not None or self._expiry.is_over(live):
            return None
        return live

    async def create(
        self,
        user: str,
        *,
        service: str | None = None,
        title: str = "",
        language: str | None = None,
        is_call: bool = False,
    ) -> Summary:
        """Make a new session, durable on return.

        At the limit the oldest session that the same party opened (the user, or that
        service) makes room, if it has no connection, device, open question or telephone
        call under way. One that a telephone call opens (`is_call`) is bounded by the
        number of calls instead.

        Raises:
            TooManyConnections: none of the user's sessions may make room.
        """
        async with self._creating.setdefault(user, asyncio.Lock()):
            row = Row(
                self._new_id(), user, service, label(title), language, self.now_ms(),
                self.clock.running_ms(), None, 0, None, int(is_call),
            )
            me = self.places.me
            row = await self._stored(row, 0 if is_call else self.rules.sessions_per_user)
        by = {} if service is None else {"service": service}
        log.info("session_created", session_id=row.session_id, user=user, **by)
        stored = Stored(Session(row.session_id, user, language), row, Requests())
        if self.places.me is me and self.places.is_good:
            self._lives[row.session_id] = self._brought_to_life(stored)
        return self._summaries.of(row)

    async def _stored(self, row: Row, most: int) -> Row:
        """Store a new session, with as many of its user as `most` allows, 0 for any number."""
        for _ in range(TRIES):
            if most:
                await self._make_room(row.user, row.service, most)
            # Another server may have filled the room that was made; then more is made.
            with contextlib.suppress(Conflict):
                return await self.store.create(row, most)
        raise _no_room(most)

    async def _make_room(self, user: str, service: str | None, limit: int) -> None:
        opened = await self.store.of_user(user)
        left = len(opened)
        for session_id, by in opened:
            if left < limit:
                return
            # One party never ends what another has opened.
            if by == service and not await self.is_used(session_id):
                await self.end(session_id, "made room for a newer session")
                left -= 1
        if left >= limit:
            raise _no_room(limit)

    @verb(changes=False)
    async def is_used(self, session_id: str) -> bool:
        """Whether somebody is in a session, may come back to it, or is asked something there."""
        if self.connections.of_session(session_id) or await self.calls.is_live(session_id):
            return True
        if await self._access.has_device(session_id):
            return True
        live = await self.live(session_id)
        # Somebody may have come while the disk was asked; from here on nothing awaits.
        return live is None or live.is_asking or bool(self.connections.of_session(session_id))

    def summary_of_live(self, session_id: str) -> Summary | None:
        """Return a session that is in memory without asking the disk."""
        live = self._lives.get(session_id)
        if live is None or live.session.ended or not self.places.is_good:
            return None
        return self._summaries.of(live.row)

    async def summary(self, session_id: str) -> Summary | None:
        """Return a session without its log, ended ones included while they are kept."""
        return await self._summaries.find(session_id)

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
        """Return sessions, newest first, from before `(created_at_ms, session_id)`.

        `find` and `trouble` narrow them as `Store.listed` has it.
        """
        return await self._summaries.listed(
            user=user, conversation_id=conversation_id, find=find, trouble=trouble,
            before=before, limit=limit,
        )  # fmt: skip

    async def find(
        self, *, conversation_id: str | None = None, call_sid: str | None = None
    ) -> Summary | None:
        """Return the session that has not ended of a conversation, or of a telephone call.

        Every id a session ever had leads to it.
        """
        wanted: list[tuple[Kind, str | None]] = [
            ("conversation", conversation_id), ("call", call_sid),
        ]  # fmt: skip
        for kind, ref in wanted:
            row = await self.store.found(kind, ref) if ref is not None else None
            if row is not None:
                return self._summaries.of(row)
        return None

    @verb()
    async def rename(self, session_id: str, title: str | None, language: str | None) -> None:
        """Set what a person calls a session, None to leave that, and the language it speaks."""
        if title is not None:
            await self.store.update(session_id, "title", label(title))
        await self.store.update(session_id, "language", language)
        row = await self.store.row(session_id)
        live = await self.live(session_id)
        if live is not None and row is not None:
            live.row = row
            live.session.language = row.language

    @verb()
    async def end(self, session_id: str, reason: str, *, erase: bool = False) -> None:
        """End a session: recorded, told, its sockets closed 4510.

        Its owner and admins can read it for as long as ended sessions are kept, then
        everything of it is deleted; at once with `erase`.

        Raises:
            SessionNotFound: there is none, or it has ended already.
        """
        await self._end(session_id, reason, erase=erase)

    async def _end(self, session_id: str, reason: str, *, erase: bool = False) -> None:
        """End a session that lives here."""
        live = await self.live(session_id)
        if live is not None and live.session.ended is not None:
            await live.turn()
        if live is None or live.session.ended is not None:
            raise SessionNotFound
        await self._submit(session_id, EndSession(reason=reason), SERVER, None)
        event = "session_expired" if reason == EXPIRED else "session_ended"
        log.info(event, session_id=session_id, user=live.row.user, reason=reason)
        self._lives.pop(session_id, None)
        self.calls.forget(session_id)
        is_erased = erase or not self.rules.keep_ended_s
        # A screen that is told so keeps nothing of it either.
        self.connections.close(4510, ERASED if is_erased else reason, session_id=session_id)
        forgotten = self._access.forget_session(session_id)
        if is_erased:
            await self.store.delete(session_id, forgotten)
        else:
            await self.store.keep(session_id, forgotten)
            for oldest in await self.store.ended_beyond(live.row.user, MOST_KEPT):
                await self.store.delete(oldest, self._access.forget_session(oldest))

    async def erase(self, session_id: str) -> None:
        """Delete everything of a session that has ended."""
        self._lives.pop(session_id, None)
        await self.store.delete(session_id, self._access.forget_session(session_id))
        await self._database.purge()

    # Commands.

    @verb()
    async def submit(
        self, session_id: str, message: dict[str, Any], sender: Sender
    ) -> dict[str, Any]:
        """Submit a command in wire form; return its record, or its answer, once durable.

        Cancelling the caller does not undo it.

        Raises:
            CompanionError: what the command was refused for.
        """
        if sender.role == "server":
            message = self._as_sent(message)
        command, request_id = protocol.decode(message)
        return await self._submit(session_id, command, sender, request_id)

    def _as_sent(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message of ours as if it had come over a socket: the same rules hold.

        What no outbox could take is refused: it would cut off everybody in the session.
        """
        try:
            body, limit = protocol.encode(message), self.rules.made_bytes
        except UnicodeEncodeError:
            raise InvalidMessage("The text holds a lone surrogate; send valid Unicode.") from None
        if limit and len(body) > limit:
            raise InvalidMessage(f"The message has {len(body)} bytes, more than {limit}.")
        parsed: dict[str, Any] = protocol.parse(body)
        return parsed

    async def _submit(
        self, session_id: str, command: Command, sender: Sender, request_id: str | None
    ) -> dict[str, Any]:
        if self.ownership.is_ending:
            raise Unavailable("The server is stopping; send the same requestId again.")
        if self._database.is_full:
            raise Unavailable("Too much waits for the disk; try again.")
        live = await self.live(session_id)
        if live is None:
            raise SessionNotFound
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        future.add_done_callback(outlive)
        caller = Caller(
            sender,
            request_id,
            answer=lambda body: _set(future, body, None),
            refuse=lambda error: _set(future, b"", error),
        )
        live.submit(command, caller)
        answer: dict[str, Any] = msgspec.json.decode(await asyncio.shield(future))
        return answer

    async def broadcast_to_session(
        self, session_id: str, message: dict[str, Any]
    ) -> dict[str, Any]:
        """Tell everybody in a session something; any command of the protocol, from the server.

        Source: guide, "Broadcasting".
        """
        return await self.submit(session_id, message, SERVER)

    async def update_session_state(self, session_id: str, key: str, value: Any) -> dict[str, Any]:
        """Set a state key and tell everybody; return the record. Source: guide, "State"."""
        return await self.submit(
            session_id, {"type": "state_update", "key": key, "value": value}, SERVER
        )

    async def get_session_state(self, session_id: str, key: str | None = None) -> Any:
        """Return the value of a key, None if it is absent; without a key all values."""
        if await self.store.row(session_id) is None:
            raise SessionNotFound
        # What is stored, not the tip: that runs ahead of what anybody may be told.
        states = await self.store.states([session_id])
        values = {
            name: msgspec.json.decode(value) for name, (value, _) in states[session_id].items()
        }
        return values if key is None else values.get(key)

    async def record(self, session_id: str, seq: int) -> dict[str, Any] | None:
        """Return a stored record, or None where it has been trimmed."""
        live = self._lives.get(session_id)
        if live is not None:
            body = await live.record_text(seq)
        else:
            rows = await self.store.records(session_id, seq - 1, seq, 1)
            body = rows[0][1] if rows else None
        if body is None:
            return None
        record: dict[str, Any] = msgspec.json.decode(body)
        return record

    async def records(self, session_id: str, after: int, limit: int) -> list[dict[str, Any]]:
        """Return stored records after `after`, oldest first."""
        rows = await self.store.records(session_id, after, 2**62, limit)
        return [msgspec.json.decode(body) for _, body in rows]

    def left(self, live: LiveSession, connection: Connection) -> None:
        """A connection is gone; calls that waited for it may be left with nobody."""
        self._reactions.left(live, connection)

    async def _answer_call(self, session_id: str, command: AnswerCall) -> None:
        await self._submit(session_id, command, SERVER, None)

    async def _speak(
        self, session_id: str, message: dict[str, Any], sender: Sender, request_id: str
    ) -> dict[str, Any]:
        return await self.submit(session_id, {**message, "requestId": request_id}, sender)

    # Time.

    async def _expire(self, session_id: str) -> None:
        try:
            await self._end(session_id, EXPIRED)
        except (SessionNotFound, SessionEnded, Conflict, Elsewhere):
            return
        self._counted.expired()

    async def _do(self, session_id: str, kind: str, ref: str) -> None:
        await self.questions.deadline(session_id, ref)
        await self._undone.done(session_id, kind, ref)


def _no_room(limit: int) -> TooManyConnections:
    return TooManyConnections(f"This user has {limit} sessions, and none that may make room.")


def shown_state(state: dict[str, tuple[bytes, int]]) -> dict[str, dict[str, Any]]:
    """Return stored state as `{key: {"value": …, "revision": int}}`."""
    return {
        key: {"value": msgspec.json.decode(value), "revision": revision}
        for key, (value, revision) in state.items()
    }


def _set(future: asyncio.Future[bytes], body: bytes, error: CompanionError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(body)
    else:
        future.set_exception(error)


