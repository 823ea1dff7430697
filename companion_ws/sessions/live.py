"""One session in memory: its tip, its members, and the commands that change it.

Everything that happens in a session comes through `LiveSession.submit`, whatever entrance it
came by, so that all members see one order. It never awaits. Between its first line and its last
nobody else runs, which is why no lock is needed, and why its checks still hold when it acts.

    command ──► decide ──┬─ Event      seq = tip + 1, encode once, apply to the tip ──► line
                         ├─ Reply      for the caller alone ─────────────────────────► line
                         ├─ Repeat     the record that stands already, to the caller ─► line
                         ├─ Transient  for those who are here now, never stored ──────► line
                         └─ refusal    for the caller alone ─────────────────────────► line

Memory runs ahead of the disk. The tip holds what has been decided; a `PendingWrite` carries the
records to the writer, which commits many sessions at once and then calls `_settle`. Nothing
leaves before that: line.py says what leaves when.

The disk has the last word. If a commit is refused, the tip is thrown away, not mended: undoing
decisions by hand would need an inverse for each of them, and one forgotten inverse would show
people something that is not stored. So the whole line is answered `unavailable`, the session is
loaded again, and records that turn out to be stored are delivered. Meanwhile commands that
would be recorded are refused, and joins and questions wait.

Where servers share a database, another one may have taken the session. Whoever finds that out, by a
refused commit or by its own clock, drops it: all of the line is refused, and everybody is sent away.

A message must leave no reference cycle behind: garbage collection of a busy server would stop it
for a tenth of a second. Closures here name the session, so nothing the session keeps may hold one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from msgspec.structs import replace

from companion_ws.clock import Clock
from companion_ws.core import commands, protocol
from companion_ws.core.commands import EVERYBODY, Command
from companion_ws.core.errors import CompanionError, Unavailable
from companion_ws.core.protocol import encode
from companion_ws.core.session import (
    DecisionContext,
    Event,
    Limits,
    Repeat,
    Reply,
    Sender,
    Session,
    TokenRef,
    Transient,
    apply,
    decide,
    forget_calls,
    forget_rendered,
    forget_requests,
    note_rendered,
    remember,
    short_key,
    trim,
)
from companion_ws.core.trouble import of_rendering
from companion_ws.database import Database
from companion_ws.nodes.place import Elsewhere, Places
from companion_ws.sessions.caller import Caller
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.joined import joined_text, recovery_of
from companion_ws.sessions.line import Line, QueueEntry
from companion_ws.sessions.outbox import Batch
from companion_ws.sessions.requests import Key, Requests
from companion_ws.sessions.store import FOLD_RECORDS, TRIM_RECORDS, PendingWrite, Store, Stored

if TYPE_CHECKING:
    from companion_ws.sessions.call_traces import CallTraces

RELOAD_PAUSE_S: Final = 0.5
"""How long to wait before a session that could not be read is tried again."""

MAX_LATER: Final = 1024
"""How many may wait for a session that is being reloaded."""

_RELOADED: Final = "The session had to be reloaded; reconnect."
_NO_KEY: Final = (None, None)

log = structlog.get_logger(__name__)


class SessionObserver(Protocol):
    """What others do when something happened in a session; called after it was told."""

    def recorded(
        self, live: LiveSession, event: Event, body: bytes, token: TokenRef | None
    ) -> None: ...

    def passed(
        self, live: LiveSession, kind: str, fields: dict[str, Any], sender: Sender
    ) -> None: ...

    def joined(self, live: LiveSession, connection: Connection) -> None: ...


@dataclass(frozen=True, slots=True)
class LiveParts:
    """What every live session works with."""

    database: Database
    store: Store
    limits: Limits
    is_server_tool: Callable[[str], bool]
    observer: SessionObserver
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    """Does something that nobody waits for."""
    clock: Clock
    new_id: Callable[[], str]
    places: Places
    gained: Callable[[LiveSession, str], None]
    """Goes on with what the server of that name had begun in a session."""
    lost: Callable[[LiveSession], None]
    """Drops a session that another server has."""
    shows_pictures: bool = False
    """Whether pictures that records name by address are fetched."""
    traces: CallTraces | None = None


class LiveSession:
    """A session that somebody is in, or that something is being done to."""

    def __init__(self, stored: Stored, parts: LiveParts) -> None:
        self.row = stored.row
        self._parts = parts
        self._database = parts.database
        self._store = parts.store
        self._observer = parts.observer
        self.clock = parts.clock
        self.now_ms = parts.clock.now_ms
        self.members: dict[str, Connection] = {}
        self._line = Line(self.members, stored.session.seq, parts.clock.now_ms, parts.places)
        self.last_active_ms = stored.row.last_active_at_ms
        self.touched_ms = stored.row.last_active_at_ms
        self.expiry_told = False
        self.used_at_s = 0.0
        self._set_tip(stored)

    def _set_tip(self, stored: Stored) -> None:
        self.session: Session = stored.session
        self._requests = stored.requests
        self.generation = stored.generation
        self._write: PendingWrite | None = None

    @property
    def session_id(self) -> str:
        return self.session.session_id

    @property
    def delivered_seq(self) -> int:
        """Up to where records have been stored and told."""
        return self._line.delivered_seq

    @property
    def is_quiet(self) -> bool:
        """Whether nothing here waits and nobody listens."""
        return not self.members and not self._line and not self._line.is_held

    @property
    def is_asking(self) -> bool:
        """Whether a call waits here, or a question can still be answered."""
        at_ms = self.clock.running_ms()
        return any(
            call.status == "waiting" or call.is_open(at_ms)
            for call in self.session.unclosed.values()
        )

    @property
    def is_disk_behind(self) -> bool:
        """Whether so much waits for the disk that whoever has something there should wait."""
        return self._database.is_full

    # Commands.

    def submit(self, command: Command, caller: Caller, *, is_new: bool = False) -> None:
        """Decide on a command and put what follows into the line; never awaits.

        A record goes to everybody; the caller's `answer` gets its text as well, once it
        is durable. Repeats, replies and transient messages are answered alone. A refusal
        rests on the tip as much as an answer does: the caller hears it in its turn, or
        that the disk would not take what it rests on. `is_new` says that the disk does not
        know its requestId.

        Raises:
            Unavailable: nothing can be stored at the moment; nothing has changed.
        """
        connection = caller.connection
        if self._line.is_held or (
            type(command) is commands.StateGet
            and connection is not None
            and not connection.is_subscribed  # What it is told first would be older.
        ):
            self._ask_later(command, caller)
            return
        at_ms, shown_ms = self.clock.both_ms()
        self.active(at_ms)  # a refused one, too: somebody is there
        sender, request_id, key = caller.sender, caller.request_id, None
        if request_id is not None:
            key = (sender.key, short_key(request_id))
            known = self._requests.find(key)
            if known is not None:
                self._repeat(_with_result(self.session, known, command), caller)
                return
            if not is_new and self._requests.may_be_stored(key):
                caller.lookup_begun()
                self._parts.spawn(self._submit_after_lookup(command, caller, key))
                return
        try:
            decision = decide(
                command,
                DecisionContext(
                    self.session, sender, at_ms, self._parts.limits, self._parts.is_server_tool,
                    shown_ms - at_ms,
                ),
            )
        except CompanionError as error:
            self._line.append_refusal(error.with_traceback(None), caller)
            return
        match decision:
            case Event():
                self._record(decision, caller, key, at_ms, shown_ms)
                for event in decision.then:
                    # In the same unit, for nothing awaits: stored with the first, or not at all.
                    self._record(event, Caller(sender), None, at_ms, shown_ms)
            case Repeat():
                seqs = dict.fromkeys(decision.seqs[:1], "client_tool_call")
                seqs |= dict.fromkeys(decision.seqs[1:], "client_tool_result")
                self._repeat(seqs, caller)
            case Reply():
                body = self._message(decision.type, decision.fields, request_id)
                self._line.append_answer(body, caller)
            case Transient():
                self._pass(decision, caller)

    async def _submit_after_lookup(self, command: Command, caller: Caller, key: Key) -> None:
        """Ask the disk whether a requestId is known there, and go on; that caller alone waits."""
        try:
            known, asked_at_seq = None, -Requests.recent
            # What was recorded meanwhile is among the newest, unless that was too much.
            while known is None and self.session.seq - asked_at_seq >= Requests.recent:
                asked_at_seq = self.session.seq
                known = await self._store.request(self.session_id, *key)
            if known is None:
                self.submit(command, caller, is_new=True)
            else:
                self._repeat(_with_result(self.session, known, command), caller)
        except CompanionError as error:
            caller.hear_refusal(error, self.now_ms())
        finally:
            caller.lookup_ended()

    def _ask_later(self, command: Command, caller: Caller) -> None:
        """Let what changes nothing wait until the session is read, or a replay has ended."""
        connection, is_held = caller.connection, self._line.is_held
        if self._line.is_closed:
            raise Unavailable("The session is on another server; send the same requestId again.")
        waiting = self._line if is_held or connection is None else connection.asked
        if command.fate == "recorded" or len(waiting) >= MAX_LATER:
            raise Unavailable("The session is being reloaded; send the same requestId again.")

        def ask(_: bytes = b"") -> None:
            try:
                self.submit(command, caller)
            except CompanionError as error:
                caller.hear_refusal(error, self.now_ms())

        if is_held or connection is None:
            self._line.append(QueueEntry(0, b"", ask, caller=caller))
        else:
            connection.asked.append(ask)

    def active(self, at_ms: int) -> None:
        """Note activity, by the clock that runs: the session lives on from here."""
        if at_ms > self.last_active_ms:
            self.last_active_ms = at_ms
        self.expiry_told = False

    def _record(
        self, event: Event, caller: Caller, key: Key | None, at_ms: int, shown_ms: int
    ) -> None:
        """Make a record of an event; `key` is what its requestId is remembered by."""
        request_id = caller.request_id
        write = self._open_write()
        session, refuse = self.session, None
        if self._parts.traces is not None:
            event, refuse = self._parts.traces.begin(session.session_id, event)
        body = encode(
            {
                "type": event.type,
                **event.fields,
                "timestamp": shown_ms,
                "requestId": request_id if request_id is not None else self._parts.new_id(),
                "session_id": session.session_id,
                "seq": session.seq + 1,
                "sender": caller.sender.shown(session.user),
            }
        )
        apply(session, event, body, at_ms)
        if key is not None:
            self._requests.add(key, session.seq, event.type, self._line.durable_seq)
            remember(session, *key, session.seq)
        first_seq = session.first_seq
        trimmed = trim(session, self._parts.limits)
        write.record(session, event, body, at_ms, key or _NO_KEY)
        if trimmed and session.first_seq // TRIM_RECORDS != first_seq // TRIM_RECORDS:
            forget_rendered(session)
            oldest = forget_requests(session)
            write.trim(session, oldest)
            write.forget_calls(forget_calls(session, self._parts.limits))
        elif not session.seq % FOLD_RECORDS:
            write.fold(session)
        self._database.note_bytes(write, len(body))
        caller.command_accepted()
        self._line.append(QueueEntry(session.seq, body, caller.answer, refuse, caller, event))

    def _open_write(self) -> PendingWrite:
        """Return the unit to add to: the one that waits, or a new one."""
        write = self._write
        if write is None or write.taken:
            write = PendingWrite(self.row.number, self.session, self._settle, self.generation)
            self._database.write(write)
            self._write = write
        return write

    def _repeat(self, seqs: dict[int, str], caller: Caller) -> None:
        """Answer with records that stand already, to the one who asks alone."""
        waiting = self._line.waiting(seqs)
        stored = {seq: kind for seq, kind in seqs.items() if seq not in waiting}
        # Over HTTP one answer is all there is room for: the record itself.
        silent = replace(caller, answer=None)
        callers = {seq: silent if number else caller for number, seq in enumerate(seqs)}

        async def tell_stored() -> None:
            try:
                for seq, kind in stored.items():
                    body = await self._stored_again(seq, kind, caller.request_id)
                    self._line.append_answer(body, callers[seq])
            except CompanionError as error:
                caller.hear_refusal(error, self.now_ms())
            finally:
                caller.lookup_ended()

        if stored:
            caller.lookup_begun()  # What it says next must not overtake the answer.
            self._parts.spawn(tell_stored())
        for seq, body in waiting.items():
            self._line.append_answer(protocol.marked(body, duplicate=True), callers[seq])

    async def _stored_again(self, seq: int, kind: str, request_id: str | None) -> bytes:
        """Return a record marked as a repeat, or what is known of one that was trimmed."""
        body = await self.record_text(seq)
        if body is not None:
            return protocol.marked(body, duplicate=True)
        known: dict[str, Any] = {"seq": seq, "duplicate": True}
        if kind in ("state_updated", "state_deleted"):
            known["revision"] = seq
        return self._message(kind, known, request_id)

    async def record_text(self, seq: int) -> bytes | None:
        """Return a record's text, or None where it has been trimmed."""
        body = self._line.recent(seq)
        if body is not None:
            return body
        rows = await self._store.records(self.session_id, seq - 1, seq, 1)
        return rows[0][1] if rows else None

    async def turn(self) -> None:
        """Wait until all that stands in the line now is durable.

        Raises:
            Unavailable: it is not known to be stored.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def refuse(error: CompanionError) -> None:
            if not future.done():
                future.set_exception(error)

        def deliver(_: bytes) -> None:
            if not future.done():
                future.set_result(None)

        self._line.append(QueueEntry(0, b"", deliver, refuse))
        await future

    def _pass(self, transient: Transient, caller: Caller) -> None:
        connection, answer = caller.connection, caller.answer
        if transient.type == "screen" and connection is not None:
            connection.screen = transient.fields["text"]
        fields = {**transient.fields, "sender": caller.sender.shown(self.session.user)}
        body = self._message(transient.type, fields, caller.request_id)
        self.tell(body, roles=transient.roles, exclude=connection)
        self._observer.passed(self, transient.type, transient.fields, caller.sender)
        if answer is not None:

            def answer_all_the_same(error: CompanionError) -> None:
                # It has been passed on whatever the disk says.
                if self._line.is_closed:
                    caller.hear_refusal(error, self.now_ms())
                else:
                    answer(body)

            self._line.append(QueueEntry(0, body, answer, answer_all_the_same))

    def _message(self, kind: str, fields: dict[str, Any], request_id: str | None = None) -> bytes:
        message = {
            "type": kind, **fields, "session_id": self.session_id, "timestamp": self.now_ms(),
        }  # fmt: skip
        if request_id is not None:
            message["requestId"] = request_id
        return encode(message)

    def note_rendered(
        self, record: dict[str, Any], device: str, at_ms: int, problem: str | None
    ) -> None:
        """Note, once, that a device has shown a record; nobody waits for it."""
        seq = record["seq"]
        is_first = all(shown != seq for shown, _ in self.session.rendered)
        if self._line.is_held or not note_rendered(self.session, seq, device, problem):
            return
        self._store.note_rendered(self.session_id, seq, device, at_ms, problem)
        for kind in of_rendering(
            problem,
            is_question=record.get("handled_by") == "screens",
            is_first=is_first,
            after_ms=at_ms - record["timestamp"],
        ):
            tool_name = record.get("client_tool_call", {}).get("tool_name", "")
            self._store.note_trouble(self.session_id, seq, kind, tool_name)

    def tell_one(self, connection: Connection, body: bytes) -> None:
        """Tell one alone something that rests on no record, in its turn: after `session_joined`."""
        push = connection.outbox.push_text
        self._line.append(QueueEntry(0, body, push, lambda _: push(body)))

    # Who is here.

    def join(
        self, connection: Connection, after: int | None, epoch: str | None, joined: dict[str, Any]
    ) -> None:
        """Put a newcomer into the line: what it is told is of one instant, live begins there.

        `joined` holds the fields of `session_joined` that the session does not know.
        """
        if not self._line.is_held:
            self._line.append(self._newcomer(connection, after, epoch, joined))
        elif self._line.is_closed or len(self._line) >= MAX_LATER:
            raise Unavailable("The session is being reloaded; reconnect.")
        else:
            self._line.append(
                QueueEntry(
                    0, b"", refuse=lambda error: _turn_away(connection),
                    deliver=lambda body: self._join_now(connection, after, epoch, joined),
                )
            )
            return
        if connection.is_announced:
            self._announce("joined", connection)

    def _join_now(
        self, connection: Connection, after: int | None, epoch: str | None, joined: dict[str, Any]
    ) -> None:
        """Join in one's turn, before whatever else was said to this connection meanwhile."""
        if connection.outbox.is_closed:
            return
        entry = self._newcomer(connection, after, epoch, joined)
        if entry.deliver is not None:
            entry.deliver(entry.body)
        if connection.is_announced:
            self._announce("joined", connection)

    def _newcomer(
        self, connection: Connection, after: int | None, epoch: str | None, joined: dict[str, Any]
    ) -> QueueEntry:
        """Make somebody a member; return the entry that tells it of the session as it is now."""
        at_ms, shown_ms = self.clock.both_ms()
        session = self.session
        recovery = recovery_of(session, after, is_same_log=epoch in (None, self._store.epoch))
        self.members[connection.connection_id] = connection
        connection.first_seq = session.first_seq
        self.active(at_ms)
        body = joined_text(
            session,
            at_ms,
            shown_ms - at_ms,
            [member.shown() for member in self.members.values() if member.is_announced],
            {
                "type": "session_joined",
                **joined,
                "session_id": session.session_id,
                "connection_id": connection.connection_id,
                "role": connection.role,
                "user": connection.user,
                "title": self.row.title,
                "language": session.language,
                "device_id": connection.device_id,
                "seq": session.seq,
                "first_seq": session.oldest,
                "epoch": self._store.epoch,
                "recovery": recovery,
                "conversation_id": session.conversation_id,
                # None tells a screen that there will be no pictures, so it keeps no place for them.
                "media": [each.shown() for each in session.pictures.values()]
                if self._parts.shows_pictures
                else None,
                "timestamp": shown_ms,
            },
        )

        def deliver(body: bytes) -> None:
            connection.is_joined = True
            # Beyond the outbox's bound, and with one of its own: see joined.py.
            connection.outbox.push_text(body, is_exempt=True)
            connection.changed.set()
            connection.recovery = recovery
            if recovery != "replay" or after == self.delivered_seq:
                connection.is_subscribed = True
                connection.end_replay()
            else:
                connection.outbox.is_replaying = True
            self._observer.joined(self, connection)

        return QueueEntry(
            0, body, deliver=deliver, refuse=lambda error: _turn_away(connection)
        )

    def leave(self, connection: Connection, event: str) -> None:
        """Take a connection out; `event` is `left` after a close frame, else `dropped`."""
        if self.members.pop(connection.connection_id, None) is None:
            return
        connection.is_subscribed = False
        code, reason = connection.close_code, connection.close_reason
        log.info(
            "session_left",
            session_id=self.session_id,
            connection_id=connection.connection_id,
            role=connection.role,
            how=event,
            **({"code": int(code)} if code is not None else {}),
            **({"reason": reason} if reason else {}),
        )
        if connection.is_announced:
            self._announce(event, connection)

    def screens(self) -> list[Connection]:
        return [member for member in self.members.values() if member.is_screen]

    def tell(
        self,
        body: bytes,
        *,
        roles: frozenset[str] = EVERYBODY,
        exclude: Connection | None = None,
    ) -> None:
        """Tell who is here in these roles something that is no record, in its turn."""

        def deliver(body: bytes) -> None:
            batch = Batch([(None, body)])
            for member in self.members.values():
                if member.is_joined and member.role in roles and member is not exclude:
                    member.outbox.push(batch)

        def deliver_all_the_same(error: CompanionError) -> None:
            # Presence is true whatever the disk says, but not where others are meanwhile.
            if not self._line.is_closed:
                deliver(body)

        self._line.append(QueueEntry(0, body, deliver, deliver_all_the_same))

    def tell_message(self, kind: str, **fields: Any) -> None:
        """Tell everybody a message of ours that is not recorded."""
        self.tell(self._message(kind, fields))

    def _announce(self, event: str, connection: Connection) -> None:
        shown = connection.shown()
        del shown["screen"]
        body = self._message("presence", {"event": event, **shown})
        self.tell(body, exclude=connection)

    # The disk.

    def _settle(self, write: PendingWrite, error: Exception | None) -> None:
        if self._write is write:
            self._write = None
        if write.session is not self.session or self._line.is_closed:
            return  # A unit of a tip that was thrown away; its line has been answered.
        if error is not None:
            self._throw_away(error)
            return
        if self._parts.traces is not None:
            self._parts.traces.durable()
        for entry in self._line.settle(write.last_seq):
            if entry.event is not None:
                token = entry.caller.sender.token if entry.caller is not None else None
                self._observer.recorded(self, entry.event, entry.body, token)

    def _throw_away(self, error: Exception) -> None:
        """Answer the whole line, and read the tip again: nothing is undone by hand."""
        if self._line.is_held:
            return  # The unit behind the refused one; the line was answered with that.
        reason = Unavailable("Not known to be stored; send the same requestId again.")
        reason.__cause__ = error
        self._line.refuse(reason)
        self._parts.spawn(self._reload())

    def drop(self, code: int, reason: str) -> None:
        """Answer nothing from memory any more: refuse what waits, send everybody away."""
        error = Unavailable("Not known to be stored; send the same requestId again.")
        self._line.close(error)
        _send_away(self._line, self.members, code, reason)

    async def _reload(self) -> None:
        while not self._line.is_closed:
            try:
                stored = await self._store.load(self.session_id)
                if self._line.is_closed:
                    return
                if stored is None:
                    break
                last_seq = stored.session.seq
                found = await self._store.records(
                    self.session_id, self.delivered_seq, last_seq, last_seq
                )
                if self._line.is_closed:
                    return
            except Elsewhere:
                self._parts.lost(self)
                return
            except Unavailable as error:
                # Nobody waits in vain: it may be long until the session can be read.
                self._line.refuse(error)
                await asyncio.sleep(RELOAD_PAUSE_S)
                continue
            self.row = stored.row
            self._set_tip(stored)
            if found and found[0][0] != self.delivered_seq + 1:
                # Stored although refused, and trimmed already: members would miss it.
                _send_away(self._line, self.members, 1013, _RELOADED)
            self._line.release(last_seq, found)
            if stored.last is not None:
                self._parts.gained(self, stored.last)
            return
        self._line.refuse(Unavailable("The session is gone; reconnect."))
        _send_away(self._line, self.members, 1013, _RELOADED)

    # Catching up.

    def try_subscribe(self, connection: Connection, position: int) -> bool:
        """Let a connection that has everything up to `position` listen from here on.

        What it misses is taken from memory if it is there; False if it is not.
        """
        if connection.connection_id not in self.members:
            return False
        missed = self._line.missed_since(position)
        if missed is None:
            return False
        if missed:
            connection.outbox.push(Batch([*missed]), is_exempt=True)
        connection.is_subscribed = True
        return True


def _send_away(line: Line, members: dict[str, Connection], code: int, reason: str) -> None:
    """Let everybody reconnect with what they have."""
    line.forget_tail()
    for member in list(members.values()):
        member.is_subscribed = False
        member.close(code, reason)


def _turn_away(connection: Connection) -> None:
    connection.close(1013, "The server cannot store anything at the moment; reconnect.")


def _with_result(session: Session, known: tuple[int, str], command: Command) -> dict[int, str]:
    """Return the seq and type of what a requestId made; of a call also its result."""
    seqs = {known[0]: known[1]}
    if isinstance(command, commands.ClientToolCall):
        call = session.calls.get(command.client_tool_call.tool_call_id)
        if call is not None and call.seq == known[0] and call.result_seq is not None:
            seqs[call.result_seq] = "client_tool_result"
    return seqs
