"""One session in memory: its tip, its line, its listeners.

Rules of this file:

1. Memory runs ahead of the disk: `submit` decides, numbers, encodes, applies
   and enqueues without an await.
2. One line per session. A record leaves it once it is durable; what rests on
   the tip (answers and refusals, by every door) waits behind what stands before it.
3. The disk has the last word. A refused commit throws memory away: the whole
   line is answered `unavailable`, the tip is read anew, nothing is undone by hand.

Source: docs/architecture.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog
from msgspec import Struct

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
    Transient,
    apply,
    decide,
    forget_calls,
    forget_rendered,
    forget_requests,
    note_rendered,
    remember,
    trim,
)
from companion_ws.database import Database
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.joined import joined_text
from companion_ws.sessions.outbox import Batch
from companion_ws.sessions.store import KEPT_REQUESTS, TRIM_RECORDS, PendingWrite, Store, Stored

TAIL_RECORDS: Final = 64
TAIL_BYTES: Final = 64 * 1024
"""Records kept in memory after they were told, so that a short absence costs no read."""

READ_ANEW_S: Final = 0.5
"""How long to wait before a session that could not be read is tried again."""

MAX_LATER: Final = 1024
"""How many may wait for a session that is being read anew."""

Answer = Callable[[bytes], None]
Refuse = Callable[[CompanionError], None]

log = structlog.get_logger(__name__)


class SessionObserver(Protocol):
    """What others do when something happened in a session; called after it was told."""

    def recorded(self, live: LiveSession, event: Event, body: bytes) -> None: ...

    def passed(
        self, live: LiveSession, kind: str, fields: dict[str, Any], sender: Sender
    ) -> None: ...

    def joined(self, live: LiveSession, connection: Connection) -> None: ...

    def spawn(self, live: LiveSession, what: Any) -> None: ...


class QueueEntry(Struct, eq=False):
    """One entry in the line.

    `seq` is 0 for what is no record. `deliver` runs when its turn comes,
    `refuse` if it never will. A record that came by a `connection` counts as
    `size_bytes` there until then.
    """

    seq: int
    body: bytes
    event: Event | None = None
    deliver: Answer | None = None
    refuse: Refuse | None = None
    connection: Connection | None = None
    request_id: str | None = None
    size_bytes: int = 0


class LiveSession:
    """A session that somebody is in, or that something is being done to."""

    def __init__(
        self,
        stored: Stored,
        database: Database,
        store: Store,
        limits: Limits,
        is_server_tool: Callable[[str], bool],
        follow: SessionObserver,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self.row = stored.row
        self._database = database
        self._store = store
        self._limits = limits
        self._is_server_tool = is_server_tool
        self._follow = follow
        self.clock = clock
        self.now_ms = clock.now_ms
        self._new_id = new_id
        self.members: dict[str, Connection] = {}
        self._queue: deque[QueueEntry] = deque()
        self._tail: deque[tuple[int, bytes]] = deque()
        self._tail_bytes = 0
        self._is_reading_anew = False
        self.last_active_ms = stored.row.last_active_at_ms
        self.touched_ms = stored.row.last_active_at_ms
        self.expiry_told = False
        self.used_at_s = 0.0
        self._set_tip(stored)
        self.delivered_seq = stored.session.seq

    def _set_tip(self, stored: Stored) -> None:
        self.session: Session = stored.session
        self._requests = stored.requests
        self._write: PendingWrite | None = None
        self._durable_seq = stored.session.seq

    @property
    def session_id(self) -> str:
        return self.session.session_id

    @property
    def is_quiet(self) -> bool:
        """Whether nothing here waits and nobody listens."""
        return not self.members and not self._queue and not self._is_reading_anew

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

    def submit(
        self,
        command: Command,
        sender: Sender,
        request_id: str | None,
        *,
        connection: Connection | None = None,
        size_bytes: int = 0,
        answer: Answer | None = None,
        refuse: Refuse | None = None,
    ) -> None:
        """Decide on a command and put what follows into the line; never awaits.

        A record goes to everybody; `answer`, where given, gets its text as
        well, once it is durable. Repeats, replies and transient messages are
        answered alone. A refusal rests on the tip as much as an answer does:
        the sender and `refuse` hear it in its turn, or that the disk would not
        take what it rests on.

        Raises:
            Unavailable: nothing can be stored at the moment; nothing has changed.
        """
        if self._is_reading_anew or (
            type(command) is commands.StateGet
            and connection is not None
            and connection.outbox.is_replaying
        ):
            self._ask_later(command, sender, request_id, connection, answer, refuse)
            return
        at_ms = self.clock.running_ms()
        if request_id is not None:
            known = self._requests.get((sender.key, request_id))
            if known is not None:
                self.active(at_ms)
                seqs = self._with_result(known, command)
                self._repeat(seqs, request_id, connection, answer, refuse)
                return
        try:
            decision = decide(
                command,
                DecisionContext(
                    self.session, sender, at_ms, self._limits, self._is_server_tool,
                    self.clock.shown_ms(at_ms) - at_ms,
                ),
            )
        except CompanionError as error:
            self._refuse(error.with_traceback(None), connection, request_id, refuse)
            return
        match decision:
            case Event():
                self._record(
                    decision, sender, request_id, at_ms, connection, size_bytes, answer, refuse
                )
                for event in decision.then:
                    # In the same unit, for nothing awaits: stored with the first, or not at all.
                    self._record(event, sender, None, at_ms, None, 0, None, None)
            case Repeat():
                seqs = dict.fromkeys(decision.seqs[:1], "client_tool_call")
                seqs |= dict.fromkeys(decision.seqs[1:], "client_tool_result")
                self._repeat(seqs, request_id, connection, answer, refuse)
            case Reply():
                body = self._message(decision.type, decision.fields, self.now_ms(), request_id)
                self._answer(body, connection, answer, request_id, refuse)
            case Transient():
                self._pass(decision, sender, self.now_ms(), request_id, connection, answer, refuse)
        self.active(at_ms)

    def _ask_later(
        self,
        command: Command,
        sender: Sender,
        request_id: str | None,
        connection: Connection | None,
        answer: Answer | None,
        refuse: Refuse | None,
    ) -> None:
        """Let what changes nothing wait until the session is read, or a replay has ended."""
        waiting = self._queue if self._is_reading_anew or connection is None else connection.asked
        if command.fate == "recorded" or len(waiting) >= MAX_LATER:
            raise Unavailable("The session is being read anew; send the same requestId again.")
        tell = _refuser(self, connection, request_id, refuse)

        def ask(_: bytes = b"") -> None:
            try:
                self.submit(
                    command, sender, request_id,
                    connection=connection, answer=answer, refuse=refuse,
                )
            except CompanionError as error:
                tell(error)

        if self._is_reading_anew or connection is None:
            self._append(QueueEntry(0, b"", deliver=ask, refuse=tell))
        else:
            connection.asked.append(ask)

    def _with_result(self, known: tuple[int, str], command: Command) -> dict[int, str]:
        """Return the seq and type of what a requestId made; of a call also its result."""
        seqs = {known[0]: known[1]}
        if isinstance(command, commands.ClientToolCall):
            call = self.session.calls.get(command.client_tool_call.tool_call_id)
            if call is not None and call.seq == known[0] and call.result_seq is not None:
                seqs[call.result_seq] = "client_tool_result"
        return seqs

    def active(self, at_ms: int) -> None:
        """Note activity, by the clock that runs: the session lives on from here."""
        self.last_active_ms = max(self.last_active_ms, at_ms)
        self.expiry_told = False

    def _record(
        self,
        event: Event,
        sender: Sender,
        request_id: str | None,
        at_ms: int,
        connection: Connection | None,
        size_bytes: int,
        answer: Answer | None,
        refuse: Refuse | None,
    ) -> None:
        write = self._open_write()
        session = self.session
        shown = sender.shown()
        if sender.role == "server":
            shown["user"] = session.user
        body = encode(
            {
                "type": event.type,
                **event.fields,
                "timestamp": self.clock.shown_ms(at_ms),
                "requestId": request_id if request_id is not None else self._new_id(),
                "session_id": session.session_id,
                "seq": session.seq + 1,
                "sender": shown,
            }
        )
        apply(session, event, body, at_ms)
        request: tuple[str | None, str | None] = (None, None)
        if request_id is not None:
            request = (sender.key, request_id)
            self._requests[sender.key, request_id] = (session.seq, event.type)
            remember(session, sender.key, request_id, session.seq)
        first_seq = session.first_seq
        trimmed = trim(session, self._limits)
        write.record(session, event, body, at_ms, request)
        if trimmed and session.first_seq // TRIM_RECORDS != first_seq // TRIM_RECORDS:
            forget_rendered(session)
            oldest = forget_requests(session, session.seq - KEPT_REQUESTS)
            write.trim(session, oldest)
            write.forget_calls(forget_calls(session, self._limits))
            self._forget_requests(oldest)
        self._database.note_bytes(write, len(body))
        if connection is not None:
            connection.ahead += 1
            connection.ahead_bytes += size_bytes
        self._queue.append(
            QueueEntry(session.seq, body, event, answer, refuse, connection, request_id, size_bytes)
        )

    def _forget_requests(self, before: int) -> None:
        """Forget requestIds as the disk does, oldest first."""
        requests = self._requests
        while requests:
            oldest = next(iter(requests))
            if requests[oldest][0] >= before:
                return
            del requests[oldest]

    def _open_write(self) -> PendingWrite:
        """Return the unit to add to: the one that waits, or a new one."""
        write = self._write
        if write is None or write.taken:
            write = PendingWrite(self.session, self._settle)
            self._database.write(write)
            self._write = write
        return write

    def _repeat(
        self,
        seqs: dict[int, str],
        request_id: str | None,
        connection: Connection | None,
        answer: Answer | None,
        refuse: Refuse | None,
    ) -> None:
        """Answer with records that stand already, to the one who asks alone."""
        waiting = {entry.seq: entry.body for entry in self._queue if entry.seq in seqs}
        stored = {seq: kind for seq, kind in seqs.items() if seq not in waiting}

        def tell(seq: int, body: bytes) -> None:
            # Over HTTP one answer is all there is room for: the record itself.
            reply = answer if seq == next(iter(seqs)) else None
            self._answer(body, connection, reply, request_id, refuse)

        async def tell_stored() -> None:
            try:
                for seq, kind in stored.items():
                    tell(seq, await self._stored_again(seq, kind, request_id))
            except CompanionError as error:
                _refuser(self, connection, request_id, refuse)(error)

        if stored:
            self._follow.spawn(self, tell_stored())
        for seq, body in waiting.items():
            tell(seq, protocol.marked(body, duplicate=True))

    async def _stored_again(self, seq: int, kind: str, request_id: str | None) -> bytes:
        """Return a record marked as a repeat, or what is known of one that was trimmed."""
        body = await self.record_text(seq)
        if body is not None:
            return protocol.marked(body, duplicate=True)
        known: dict[str, Any] = {"seq": seq, "duplicate": True}
        if kind in ("state_updated", "state_deleted"):
            known["revision"] = seq
        return self._message(kind, known, self.now_ms(), request_id)

    async def record_text(self, seq: int) -> bytes | None:
        """Return a record's text, or None where it has been trimmed."""
        for known, body in self._tail:
            if known == seq:
                return body
        rows = await self._store.records(self.session_id, seq - 1, seq, 1)
        return rows[0][1] if rows else None

    def _answer(
        self,
        body: bytes,
        connection: Connection | None,
        answer: Answer | None,
        request_id: str | None,
        refuse: Refuse | None,
    ) -> None:
        """Tell one alone, in its turn."""

        def deliver(body: bytes) -> None:
            if connection is not None:
                connection.outbox.push_text(body)
            if answer is not None:
                answer(body)

        self._append(
            QueueEntry(
                0, body, deliver=deliver,
                refuse=_refuser(self, connection, request_id, refuse),
            )
        )

    def _refuse(
        self,
        refusal: CompanionError,
        connection: Connection | None,
        request_id: str | None,
        refuse: Refuse | None,
    ) -> None:
        """Tell a sender in its turn what its command was refused for."""
        tell = _refuser(self, connection, request_id, refuse)
        self._append(QueueEntry(0, b"", deliver=lambda _: tell(refusal), refuse=tell))

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

        self._append(QueueEntry(0, b"", deliver=deliver, refuse=refuse))
        await future

    def _pass(
        self,
        transient: Transient,
        sender: Sender,
        at_ms: int,
        request_id: str | None,
        connection: Connection | None,
        answer: Answer | None,
        refuse: Refuse | None,
    ) -> None:
        if transient.type == "screen" and connection is not None:
            connection.screen = transient.fields["text"]
        body = self._message(
            transient.type, {**transient.fields, "sender": sender.shown()}, at_ms, request_id
        )
        self.tell(body, roles=transient.roles, exclude=connection)
        self._follow.passed(self, transient.type, transient.fields, sender)
        if answer is not None:
            # It has been passed on whatever the disk says.
            self._append(QueueEntry(0, body, deliver=answer, refuse=lambda _: answer(body)))

    def _message(
        self, kind: str, fields: dict[str, Any], at_ms: int, request_id: str | None
    ) -> bytes:
        message = {"type": kind, **fields, "session_id": self.session_id, "timestamp": at_ms}
        if request_id is not None:
            message["requestId"] = request_id
        return encode(message)

    def note_rendered(self, seq: int, device: str, at_ms: int, problem: str | None) -> None:
        """Note, once, that a device has shown a record; nobody waits for it."""
        if not self._is_reading_anew and note_rendered(self.session, seq, device, problem):
            self._store.note_rendered(self.session_id, seq, device, at_ms, problem)

    def tell_error(
        self, connection: Connection, error: CompanionError, request_id: str | None
    ) -> None:
        """Tell a sender of a refusal that rests on nothing in the session, in its turn."""
        body = protocol.error_message(error, request_id, self.session_id, self.now_ms())
        self.tell_one(connection, body)

    def tell_one(self, connection: Connection, body: bytes) -> None:
        """Tell one alone something that rests on no record, in its turn: after `session_joined`."""
        push = connection.outbox.push_text
        self._append(QueueEntry(0, body, deliver=push, refuse=lambda _: push(body)))

    # Who is here.

    def join(
        self, connection: Connection, after: int | None, epoch: str | None, joined: dict[str, Any]
    ) -> None:
        """Put a newcomer into the line: what it is told is of one instant, live begins there.

        `joined` holds the fields of `session_joined` that the session does not know.
        """
        if not self._is_reading_anew:
            self._append(self._newcomer(connection, after, epoch, joined))
        elif len(self._queue) >= MAX_LATER:
            raise Unavailable("The session is being read anew; come back.")
        else:
            self._append(
                QueueEntry(
                    0, b"", refuse=lambda error: _turn_away(connection),
                    deliver=lambda body: self._join_now(connection, after, epoch, joined),
                )
            )
            return
        if connection.is_announced:
            self._announce("joined", connection, self.now_ms())

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
            self._announce("joined", connection, self.now_ms())

    def _newcomer(
        self, connection: Connection, after: int | None, epoch: str | None, joined: dict[str, Any]
    ) -> QueueEntry:
        """Make somebody a member; return the entry that tells it of the session as it is now."""
        at_ms = self.clock.running_ms()
        session = self.session
        recovery = self._recovery(after, epoch)
        self.members[connection.connection_id] = connection
        connection.first_seq = session.first_seq
        self.active(at_ms)
        body = joined_text(
            session,
            at_ms,
            self.clock.shown_ms(at_ms) - at_ms,
            self.presence(),
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
                "timestamp": self.clock.shown_ms(at_ms),
            },
        )

        def deliver(body: bytes) -> None:
            connection.is_joined = True
            # Beyond the outbox's bound, and with one of its own: see joined.py.
            connection.outbox.push_text(body, is_exempt=True)
            connection.changed.set()
            if recovery != "replay" or after == self.delivered_seq:
                connection.is_subscribed = True
            else:
                connection.outbox.is_replaying = True
            connection.recovery = recovery
            self._follow.joined(self, connection)

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
            self._announce(event, connection, self.now_ms())

    def presence(self) -> list[dict[str, Any]]:
        """Return who is here, as `session_joined` shows it; observers are not announced."""
        return [member.shown() for member in self.members.values() if member.is_announced]

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

        # Presence is true whatever the disk says.
        self._append(QueueEntry(0, body, deliver=deliver, refuse=lambda error: deliver(body)))

    def tell_message(self, kind: str, **fields: Any) -> None:
        """Tell everybody a message of ours that is no record."""
        self.tell(self._message(kind, fields, self.now_ms(), None))

    def _announce(self, event: str, connection: Connection, at_ms: int) -> None:
        shown = connection.shown()
        del shown["screen"]
        body = self._message("presence", {"event": event, **shown}, at_ms, None)
        self.tell(body, exclude=connection)

    def _recovery(self, after: int | None, epoch: str | None) -> str:
        """Source: docs/protocol.md, "recovery"."""
        if after is None:
            return "none"
        if after == 0:
            return "replay"
        if epoch is not None and epoch != self._store.epoch:
            return "snapshot"
        if after > self.session.seq or after + 1 < self.session.first_seq:
            return "snapshot"
        return "replay"

    # The line.

    def _append(self, entry: QueueEntry) -> None:
        self._queue.append(entry)
        if len(self._queue) == 1 and not self._is_reading_anew:
            self._flush()

    def _settle(self, write: PendingWrite, error: Exception | None) -> None:
        if self._write is write:
            self._write = None
        if write.session is not self.session:
            return  # A unit of a tip that was thrown away; its line has been answered.
        if error is None:
            self._durable_seq = write.last_seq
            self._flush()
            return
        self._throw_away(error)

    def _flush(self) -> None:
        run: list[QueueEntry] = []
        line = self._queue
        while line:
            entry = line[0]
            if entry.seq > self._durable_seq:
                break
            line.popleft()
            if entry.seq:
                run.append(entry)
                continue
            self._tell_records(run)
            run = []
            if entry.deliver is not None:
                entry.deliver(entry.body)
        self._tell_records(run)

    def _tell_records(self, run: list[QueueEntry]) -> None:
        """Show durable records to everybody; one write per receiver."""
        if not run:
            return
        records = [(entry.seq, entry.body) for entry in run]
        self.delivered_seq = run[-1].seq
        self._keep(records)
        batch = Batch([*records])
        for member in self.members.values():
            if member.is_subscribed:
                member.outbox.push(batch)
        for entry in run:
            if entry.connection is not None:
                entry.connection.command_settled(entry.size_bytes)
            if entry.deliver is not None:
                entry.deliver(entry.body)
            if entry.event is not None:
                self._follow.recorded(self, entry.event, entry.body)

    def _keep(self, records: list[tuple[int, bytes]]) -> None:
        """Remember the newest records for those who were away for a moment."""
        tail = self._tail
        tail.extend(records)
        self._tail_bytes += sum(len(body) for _, body in records)
        while len(tail) > TAIL_RECORDS or self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(tail.popleft()[1])

    def _throw_away(self, error: Exception) -> None:
        """Rule 3 of this file."""
        if self._is_reading_anew:
            return  # The unit behind the refused one; the line was answered with that.
        line, self._queue = self._queue, deque()
        self._is_reading_anew = True
        reason = Unavailable("Not known to be stored; send the same requestId again.")
        reason.__cause__ = error
        for entry in line:
            if entry.connection is not None:
                entry.connection.command_settled(entry.size_bytes)
                _refuser(self, entry.connection, entry.request_id, None)(reason)
            if entry.refuse is not None:
                entry.refuse(reason)
        self._follow.spawn(self, self._read_anew())

    async def _read_anew(self) -> None:
        while True:
            try:
                stored = await self._store.load(self.session_id)
                if stored is None:
                    break
                found = await self._store.records(
                    self.session_id, self.delivered_seq, stored.session.seq, stored.session.seq
                )
            except Unavailable as error:
                self._refuse_waiting(error)
                await asyncio.sleep(READ_ANEW_S)
                continue
            self.row = stored.row
            self._set_tip(stored)
            self._is_reading_anew = False
            if found and found[0][0] != self.delivered_seq + 1:
                # Stored although refused, and trimmed already: who listens would miss it.
                self._send_away()
            # A commit that was refused may be there all the same: then it is told.
            self._tell_records([QueueEntry(seq, body) for seq, body in found])
            self._flush()
            return
        self._refuse_waiting(Unavailable("The session is gone; come back."))
        self._send_away()

    def _refuse_waiting(self, reason: CompanionError) -> None:
        """Answer who waits for the session to be read: what they wait for may never be."""
        line, self._queue = self._queue, deque()
        for entry in line:
            if entry.refuse is not None:
                entry.refuse(reason)

    def _send_away(self) -> None:
        """Let everybody come back with what they have."""
        self._tail.clear()
        self._tail_bytes = 0
        for member in list(self.members.values()):
            member.is_subscribed = False
            member.close(1013, "The session had to be read anew; come back.")

    # Catching up.

    def try_subscribe(self, connection: Connection, position: int) -> bool:
        """Let a connection that has everything up to `position` listen from here on.

        What it misses is taken from memory if it is there; False if it is not.
        """
        if connection.connection_id not in self.members:
            return False
        missed = [(seq, body) for seq, body in self._tail if seq > position]
        if position < self.delivered_seq and (not missed or missed[0][0] != position + 1):
            return False
        if missed:
            connection.outbox.push(Batch([*missed]), is_exempt=True)
        connection.is_subscribed = True
        return True


def _turn_away(connection: Connection) -> None:
    connection.close(1013, "The server cannot store anything at the moment; come back.")


def _refuser(
    live: LiveSession,
    connection: Connection | None,
    request_id: str | None,
    refuse: Refuse | None,
) -> Refuse:
    """Return what tells a sender that its command is not known to be stored."""

    def tell(error: CompanionError) -> None:
        if connection is not None:
            connection.hold(error)
            connection.outbox.push_text(
                protocol.error_message(error, request_id, live.session_id, live.now_ms())
            )
        if refuse is not None:
            refuse(error)

    return tell
