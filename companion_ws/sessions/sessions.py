"""The one way to open, change, find and end sessions."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from companion_ws.clock import Clock
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
    Event,
    Limits,
    Sender,
    Session,
    TokenRef,
)
from companion_ws.core.text import label
from companion_ws.database import Conflict, Database, Statement, outlive
from companion_ws.sessions.caller import Caller
from companion_ws.sessions.connections import Connection, Connections
from companion_ws.sessions.due import Scheduler
from companion_ws.sessions.expiry import Expiry
from companion_ws.sessions.live import LiveParts, LiveSession
from companion_ws.sessions.phone_calls import HEARD_IN, PhoneCalls
from companion_ws.sessions.questions import RELOAD_S, RETURN_S, PairingAccess, Questions
from companion_ws.sessions.store import (
    ABANDON,
    ANSWER_BYTES,
    Kind,
    Row,
    Store,
    Stored,
    deletion,
)
from companion_ws.sessions.tools import ServerTool

LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}")
"""The shape of a BCP 47 tag."""
MOST_KEPT: Final = 200
"""Ended sessions of a user that are kept; the one that ended first makes room."""
LISTED_AT_ONCE: Final = 100
DELETED_AT_ONCE: Final = 4
"""Sessions that one transaction deletes: others wait for the writer meanwhile."""
MAX_AUDITED: Final = 1000
"""Refused bindings that are remembered, so that each is audited once."""
RESTARTING: Final = 1012
"""The close code of a server that stops and will be back."""

EXPIRED: Final = "expired"
"""Why a session ended that nobody ended."""

log = structlog.get_logger(__name__)


class SessionAccess(Protocol):
    """What else is known of a session, and goes with it."""

    async def has_device(self, session_id: str) -> bool: ...

    def forget_session(self, session_id: str) -> list[Statement]: ...


class Counted(Protocol):
    """Figures of what happens to sessions; see metrics.py."""

    def recorded(self, kind: str) -> None: ...

    def expired(self) -> None: ...

    def joined(self, role: str, recovery: str) -> None: ...

    def rendered(self, latency_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What a session may hold, and how long it lives."""

    ttl_s: float
    keep_ended_s: float
    sessions_per_user: int
    limits: Limits
    is_development: bool = False
    """Whether errors of server tools name file and line to the agent."""
    made_bytes: int = 0
    """The most that a tool or an embedding program may say at once; 0 means no limit."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A session without its log: what lists and owners' checks need."""

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


class Sessions:
    """All sessions: those in memory, and those only the disk knows."""

    def __init__(
        self,
        database: Database,
        store: Store,
        rules: Rules,
        connections: Connections,
        tools: dict[str, ServerTool],
        pairing: PairingAccess,
        access: SessionAccess,
        counted: Counted,
        calls: PhoneCalls,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self.connections = connections
        self.calls = calls
        self.store = store
        self.rules = rules
        self.clock = clock
        self.now_ms = clock.now_ms
        self._database = database
        self._access = access
        self._counted = counted
        self._new_id = new_id
        self._lives: dict[str, LiveSession] = {}
        self._loading: dict[str, asyncio.Task[LiveSession | None]] = {}
        self._results: defaultdict[tuple[str, str], list[asyncio.Future[dict[str, Any]]]] = (
            defaultdict(list)
        )
        self._audited: dict[tuple[str, Kind, str], None] = {}
        """Who asked in vain for whose conversation, newest last."""
        self._news: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        # Weak: a lock is gone once nobody creates a session for that user.
        self._creating: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._questions = Questions(
            tools, pairing, self.live, self._answer_call, self._speak,
            names_places=rules.is_development, result_bytes=rules.made_bytes,
        )
        self._live_parts = LiveParts(
            database, store, rules.limits, self._questions.is_server_tool, self, clock, new_id
        )
        self._scheduler = Scheduler(store, self._do, clock)
        self._tasks: asyncio.TaskGroup | None = None
        self._children: set[asyncio.Task[None]] = set()
        self._root: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._expiry = Expiry(
            store, self._lives, rules.ttl_s, rules.keep_ended_s, self._expire, access.forget_session,
            clock,
        )

    # Start and stop.

    async def start(self) -> None:
        """Begin to do what is due, to expire what is idle, and to resume what was cut off."""
        await self.store.open()
        self.clock.begin_after(await self.store.last_activity_ms())
        await self.calls.load()
        self._expiry.be_patient()
        ready = asyncio.Event()
        self._root = asyncio.create_task(self._run(ready), name="sessions")
        await ready.wait()
        await self._resume()

    async def stop(self) -> None:
        """End the work of this room; what was accepted is stored by the database's close."""
        self._expiry.touch_all()
        self._stopping.set()
        if self._root is not None:
            await self._root
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        await self._questions.end()

    async def _run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            forever = [
                tasks.create_task(work, name=name)
                for name, work in (
                    ("due", self._scheduler.run()),
                    ("sweep", self._expiry.run()),
                    ("clock", self._expiry.watch()),
                    ("watch", self.connections.watch()),
                    ("questions", self._questions.watch()),
                )
            ]
            ready.set()
            await self._stopping.wait()
            self._tasks = None
            for task in [*forever, *self._children]:
                task.cancel()

    def spawn(self, live: LiveSession | None, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for; it ends with the server, and failing is logged."""
        if self._tasks is None:
            work.close()
            return
        task = self._tasks.create_task(self._guarded(work))
        self._children.add(task)
        task.add_done_callback(self._children.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except CompanionError as error:
            log.warning("work_refused", code=error.code, reason=error.message)
        except Exception:
            log.exception("work_failed")

    async def _resume(self) -> None:
        """Take up the calls that waited when the process ended, before anybody can join."""
        # On a disk that does not let us read, each call's deadline answers it later.
        with contextlib.suppress(Unavailable):
            for session_id in await self.store.running():
                self.spawn(None, self._questions.resume(session_id))
            for session_id in await self.store.asking():
                self.spawn(None, self._questions.look_later(session_id, RETURN_S))

    # Sessions.

    async def live(self, session_id: str) -> LiveSession | None:
        """Return a session in memory, loading it if need be; None if there is none.

        Use it before the next await: a quiet session may be forgotten after that.
        """
        live = self._lives.get(session_id)
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
        return self._lives.setdefault(session_id, self._brought_to_life(stored))

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
            if not is_call:
                await self._make_room(user, service)
            row = Row(
                self._new_id(), user, service, label(title), language, self.now_ms(),
                self.clock.running_ms(), None, 0, None, int(is_call),
            )
            await self.store.create(row)
        by = {} if service is None else {"service": service}
        log.info("session_created", session_id=row.session_id, user=user, **by)
        stored = Stored(Session(row.session_id, user, language), row, {})
        self._lives[row.session_id] = self._brought_to_life(stored)
        return self._summary(row)

    async def _make_room(self, user: str, service: str | None) -> None:
        limit = self.rules.sessions_per_user
        if not limit:
            return
        opened = await self.store.of_user(user)
        left = len(opened)
        for session_id, by in opened:
            if left < limit:
                return
            # One party never ends what another has opened.
            if by == service and not await self._is_used(session_id):
                await self.end(session_id, "made room for a newer session")
                left -= 1
        if left >= limit:
            raise TooManyConnections(
                f"This user has {limit} sessions, and none that may make room."
            )

    async def _is_used(self, session_id: str) -> bool:
        """Whether somebody is in a session, may come back to it, or is asked something there."""
        if self.connections.of_session(session_id) or self.calls.is_live(session_id):
            return True
        if await self._access.has_device(session_id):
            return True
        live = await self.live(session_id)
        # Somebody may have come while the disk was asked; from here on nothing awaits.
        return live is None or live.is_asking or bool(self.connections.of_session(session_id))

    async def summary(self, session_id: str) -> Summary | None:
        """Return a session without its log, ended ones included while they are kept."""
        row = await self.store.row(session_id)
        return None if row is None or self._is_gone(row) else self._summary(row)

    def _is_gone(self, row: Row) -> bool:
        # Its sockets are closed before its rows are deleted; nobody should see the difference.
        return row.ended_at_ms is not None and not self.rules.keep_ended_s

    def _summary(self, row: Row) -> Summary:
        live = self._lives.get(row.session_id)
        active_ms = max(row.last_active_at_ms, live.last_active_ms if live is not None else 0)
        return Summary(
            session_id=row.session_id,
            user=row.user,
            service=row.service,
            title=row.title,
            language=row.language,
            created_at_ms=row.created_at_ms,
            last_active_at_ms=self.clock.shown_ms(active_ms),
            expires_at_ms=self.clock.shown_ms(self._expiry.ends_ms(active_ms)),
            ended_at_ms=None if row.ended_at_ms is None else self.clock.shown_ms(row.ended_at_ms),
            seq=row.seq,
            conversation_id=row.conversation_id,
            is_call=bool(row.is_call),
        )

    async def listed(
        self,
        *,
        user: str | None = None,
        conversation_id: str | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Summary]:
        """Return sessions, newest first, from before `(created_at_ms, session_id)`."""
        rows = await self.store.listed(
            user=user, conversation_id=conversation_id, before=before, limit=limit
        )
        return [self._summary(row) for row in rows if not self._is_gone(row)]

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
                return self._summary(row)
        return None

    async def bind(
        self,
        session_id: str,
        *,
        conversation_id: str | None = None,
        call_sid: str | None = None,
    ) -> None:
        """Let a conversation's or a telephone call's id lead to a session from now on.

        The first session that binds an id has it while it lives; a later one changes
        nothing, and stands in the trails of both.
        """
        at_ms = self.now_ms()
        if conversation_id is not None:
            is_ours = await self.store.bind(session_id, "conversation", conversation_id, at_ms)
            await self._bound(session_id, "conversation", conversation_id, is_ours)
        if call_sid is not None:
            is_ours = await self.store.bind(session_id, "call", call_sid, at_ms)
            await self._bound(session_id, "call", call_sid, is_ours)

    async def leads_to(self, session_id: str, since_ms: int = 0) -> set[tuple[str, str]]:
        """Return `(kind, id)` of every conversation and call of a session, bound since then."""
        return await self.store.bound(session_id, since_ms)

    async def _bound(self, session_id: str, kind: Kind, ref: str, is_ours: bool) -> None:
        """An id was bound, or leads to another session already: remember it, or audit it."""
        live = await self.live(session_id)
        if live is not None and kind == "conversation":
            row = await self.store.row(session_id)
            live.session.conversation_id = None if row is None else row.conversation_id
        theirs = None if is_ours else await self.store.found(kind, ref)
        if live is None or theirs is None or theirs.session_id == session_id:
            return
        asked = (session_id, kind, ref)
        if asked in self._audited:
            return  # Asking again must not push everything else out of the trail.
        self._audited[asked] = None
        if len(self._audited) > MAX_AUDITED:
            del self._audited[next(iter(self._audited))]
        reason = f"this {kind} belongs to another session"
        log.warning("binding_refused", session_id=session_id, user=live.row.user, reason=reason)
        self._audit(session_id, live.row.user, reason)
        reason = f"another session asked for this one's {kind}"
        self._audit(theirs.session_id, live.row.user, reason)

    def _audit(self, session_id: str, user: str, reason: str) -> None:
        details = {
            "role": "agent", "user": user, "device": "", "device_id": None,
            "code": None, "reason": reason,
        }  # fmt: skip
        self.store.trail(session_id, self.now_ms(), "refused", protocol.encode(details))

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

    async def end(self, session_id: str, reason: str, *, erase: bool = False) -> None:
        """End a session: recorded, told, its sockets closed 4510.

        Its owner and admins can read it for as long as ended sessions are kept, then
        everything of it is deleted; at once with `erase`.

        Raises:
            SessionNotFound: there is none, or it has ended already.
        """
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
        self.connections.close(4510, reason, session_id=session_id)
        forgotten = self._access.forget_session(session_id)
        if erase or not self.rules.keep_ended_s:
            await self.store.delete(session_id, forgotten)
        else:
            await self.store.keep(session_id, forgotten)
            for oldest in await self.store.ended_beyond(live.row.user, MOST_KEPT):
                await self.store.delete(oldest, self._access.forget_session(oldest))

    async def erase(self, session_id: str) -> None:
        """Delete everything of a session that has ended."""
        self._lives.pop(session_id, None)
        await self.store.delete(session_id, self._access.forget_session(session_id))
        await self._database.checkpoint()

    # Commands.

    async def submit(
        self, session_id: str, message: dict[str, Any], sender: Sender
    ) -> dict[str, Any]:
        """Submit a command in wire form; return its record, or its answer, once durable.

        Cancelling the caller does not undo it.

        Raises:
            CompanionError: what the command was refused for.
        """
        if sender.role == "server":
            self._check_made(message)
        command, request_id = protocol.decode(message)
        return await self._submit(session_id, command, sender, request_id)

    def _check_made(self, message: dict[str, Any]) -> None:
        """Refuse what no outbox could take: it would cut off everybody in the session."""
        size, limit = len(protocol.encode(message)), self.rules.made_bytes
        if limit and size > limit:
            raise InvalidMessage(f"The message has {size} bytes, more than {limit}.")

    async def _submit(
        self, session_id: str, command: Command, sender: Sender, request_id: str | None
    ) -> dict[str, Any]:
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
        live = await self.live(session_id)
        body = await live.record_text(seq) if live is not None else None
        if body is None:
            return None
        record: dict[str, Any] = msgspec.json.decode(body)
        return record

    def note_answer(self, session_id: str, size_bytes: int) -> None:
        """Count what is remembered for a request of this session with an `Idempotency-Key`."""
        live = self._lives.get(session_id)
        if live is not None:
            live.session.answers_bytes += size_bytes + ANSWER_BYTES

    async def wait_result(
        self, session_id: str, tool_call_id: str, timeout_s: float
    ) -> dict[str, Any] | None:
        """Wait for the result of a call; None if it takes longer.

        Raises:
            Unavailable: the call itself is not known to be stored.
        """
        live = await self.live(session_id)
        call = live.session.calls.get(tool_call_id) if live is not None else None
        if live is None or call is None:
            return None
        if call.seq > live.delivered_seq:
            await live.turn()
            call = live.session.calls.get(tool_call_id, call)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        waiting = self._results[session_id, tool_call_id]
        waiting.append(future)
        try:
            if call.result_seq is not None and call.result_seq <= live.delivered_seq:
                body = await live.record_text(call.result_seq)
                if body is not None:
                    record: dict[str, Any] = msgspec.json.decode(body)
                    return record
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return None
        finally:
            waiting.remove(future)
            if not waiting:
                self._results.pop((session_id, tool_call_id), None)

    async def wait_beyond(self, session_id: str, seq: int, timeout_s: float) -> bool:
        """Wait until a record after `seq` has been told; False if it takes longer."""
        live = await self.live(session_id)
        if live is None or live.delivered_seq > seq:
            return live is not None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news[session_id].add(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._news[session_id].discard(future)
            if not self._news[session_id]:
                del self._news[session_id]
        return True

    def stop_waiting(self) -> None:
        """Let go of who waits for what is still to come: it takes longer than this server lives."""
        results = [future for waiting in self._results.values() for future in waiting]
        news = [future for waiting in self._news.values() for future in waiting]
        everybody: list[asyncio.Future[Any]] = [*results, *news]
        for future in everybody:
            if not future.done():
                future.set_exception(TimeoutError())

    async def records(self, session_id: str, after: int, limit: int) -> list[dict[str, Any]]:
        """Return stored records after `after`, oldest first."""
        rows = await self.store.records(session_id, after, 2**62, limit)
        return [msgspec.json.decode(body) for _, body in rows]

    async def look_at_questions(self, session_id: str) -> None:
        """See what becomes of waiting calls; for when a device has gone for good."""
        await self._questions.look(session_id)

    async def erase_user(self, user: str, extra_statements: list[Statement]) -> int:
        """Remove everything of a user's sessions, and what `extra_statements` names; return how many.

        Durable, and gone from the files too, on return.
        """
        # What the user did a moment ago may still wait for the disk.
        await self._database.transact(())
        rows = await self.store.listed(user=user, limit=2**31)
        over = [*extra_statements, Statement(ABANDON, (user,))]
        for row in rows:
            self._lives.pop(row.session_id, None)
            self.calls.forget(row.session_id)
            self.connections.close(4510, "erased", session_id=row.session_id)
            over += self._access.forget_session(row.session_id)
        for live in self._lives.values():
            if live.row.service == user:  # What it opened belongs to somebody else, and stays.
                live.row = replace(live.row, service=None)
        # In one step nobody gets at any of it; what is left goes little by little, so that
        # others are stored meanwhile, and after a crash by the sweep.
        await self._database.transact(over)
        for start in range(0, len(rows), DELETED_AT_ONCE):
            await self._database.transact(
                statement
                for row in rows[start : start + DELETED_AT_ONCE]
                for statement in deletion(row.session_id)
            )
        for row in rows:
            # Not of whom: the log would remember who had asked to be forgotten.
            log.info("session_ended", session_id=row.session_id, reason="erased")
        await self._database.checkpoint()
        return len(rows)

    async def each_of(self, user: str) -> AsyncIterator[Summary]:
        """Return all sessions of a user, newest first, some at a time."""
        before = None
        while page := await self.store.listed(user=user, before=before, limit=LISTED_AT_ONCE):
            for row in page:
                if not self._is_gone(row):
                    yield self._summary(row)
            before = (page[-1].created_at_ms, page[-1].session_id)

    # What the lives tell (SessionObserver).

    def recorded(
        self, live: LiveSession, event: Event, body: bytes, token: TokenRef | None
    ) -> None:
        self._counted.recorded(event.type)
        if event.type in HEARD_IN:
            self.calls.heard(live.session_id)
        for waiting in self._news.get(live.session_id, ()):
            if not waiting.done():
                waiting.set_result(None)
        match event.type:
            case "client_tool_call":
                asked = event.fields["client_tool_call"]
                if event.fields["deadline_at"] is not None:
                    self._scheduler.note()
                self.spawn(
                    live, self._questions.asked(live, asked.tool_call_id, asked.parameters, token)
                )
            case "client_tool_result":
                key = (live.session_id, event.fields["tool_call_id"])
                self._questions.answered(*key)
                if key in self._results:
                    record = msgspec.json.decode(body)
                    for future in self._results[key]:
                        if not future.done():
                            future.set_result(record)

            case "conversation_initiation_metadata":
                conversation_id = event.fields["conversation_initiation_metadata_event"][
                    "conversation_id"
                ]
                self.spawn(live, self._look_at_binding(live.session_id, conversation_id))
                self._began(live, event.fields)

    def passed(self, live: LiveSession, kind: str, fields: dict[str, Any], sender: Sender) -> None:
        """Something went by that is not recorded; a conversation's id is bound all the same."""
        if kind == "rendered":
            self.spawn(live, self._rendered(live, fields, sender, self.now_ms()))
        if kind == "conversation_initiation_metadata":
            conversation_id = fields["conversation_initiation_metadata_event"]["conversation_id"]
            self.spawn(live, self.bind(live.session_id, conversation_id=conversation_id))
            self._began(live, fields)
        if kind in HEARD_IN:
            self.calls.heard(live.session_id)

    async def _rendered(
        self, live: LiveSession, fields: dict[str, Any], sender: Sender, at_ms: int
    ) -> None:
        """Measure how long a record took to a screen; note it of questions, and what went wrong."""
        body = await live.record_text(fields["of_seq"])
        if body is None:
            return
        record = msgspec.json.decode(body)
        self._counted.rendered(max(0, at_ms - record["timestamp"]) / 1000)
        problem = fields.get("problem")
        if record["type"] == "client_tool_call" or problem is not None:
            live.note_rendered(fields["of_seq"], sender.device_id or "", at_ms, problem)

    async def _look_at_binding(self, session_id: str, conversation_id: str) -> None:
        """See whether the id that a record named was free; it was bound with the record if so."""
        if ("conversation", conversation_id) not in await self.store.bound(session_id):
            await self._bound(session_id, "conversation", conversation_id, is_ours=False)

    def _began(self, live: LiveSession, fields: dict[str, Any]) -> None:
        language = fields["conversation_initiation_metadata_event"].get("language")
        if isinstance(language, str) and LANGUAGE.fullmatch(language):
            self.spawn(live, self.rename(live.session_id, None, language))

    def joined(self, live: LiveSession, connection: Connection) -> None:
        self._counted.joined(connection.role, connection.recovery)
        phone = {} if connection.device_id is None else {"device_id": connection.device_id}
        log.info(
            "session_joined",
            session_id=live.session_id,
            connection_id=connection.connection_id,
            role=connection.role,
            user=connection.user,
            recovery=connection.recovery,
            **phone,
        )
        if connection.is_screen:
            self.spawn(live, self._questions.look(live.session_id))

    def left(self, live: LiveSession, connection: Connection) -> None:
        """A connection is gone; calls that waited for it may be left with nobody."""
        if connection.close_code == RESTARTING:
            return  # The server sent it away and will be back; so will it.
        if connection.is_screen:
            # Who was in it long enough has not asked for it lately: keep it until it is looked at.
            live.used_at_s = asyncio.get_running_loop().time()
            self.spawn(live, self._questions.look_later(live.session_id, RELOAD_S))

    async def _answer_call(self, session_id: str, command: AnswerCall) -> None:
        await self._submit(session_id, command, SERVER, None)

    async def _speak(
        self, session_id: str, message: dict[str, Any], sender: Sender, request_id: str
    ) -> dict[str, Any]:
        return await self.submit(session_id, {**message, "requestId": request_id}, sender)

    # Time.

    async def _expire(self, session_id: str) -> None:
        try:
            await self.end(session_id, EXPIRED)
        except (SessionNotFound, SessionEnded, Conflict):
            return
        self._counted.expired()

    async def _do(self, session_id: str, kind: str, ref: str) -> None:
        await self._questions.deadline(session_id, ref)
        await self.store.done(session_id, kind, ref)


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


