"""The log's SQL: what a session is on disk."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from sys import intern
from typing import Any, Final, Literal

from companion_ws.core import trouble
from companion_ws.core.errors import Unavailable
from companion_ws.core.session import (
    Entry,
    Event,
    Session,
    fold_card_again,
    note_rendered,
    put_picture,
    remember,
)
from companion_ws.core.tool_calls import Call, content_hash, status_of
from companion_ws.core.trouble import Trouble
from companion_ws.database import Database, Params, Read, Statement, Unit, one_at_a_time, spoken
from companion_ws.nodes.place import Alone, Places
from companion_ws.sessions import pictures, troubles
from companion_ws.sessions.requests import Requests
from companion_ws.sessions.search import HOLDS_WORDS, words_in

KEPT_TRAIL: Final = 1000
"""Entries of a session's trail: a phone that comes back all day must not fill the disk."""
KEPT_REFUSED: Final = 100
"""Entries of those who were not let in: they are strangers by now, and must not push out others."""
PAGE_RECORDS: Final = 256
PAGE_BYTES: Final = 128 * 1024
"""What is read of a log at once."""

_ADVANCE: Final = (
    "UPDATE tips SET seq = ?, first_seq = ?"
    " WHERE number = ? AND seq = ? AND is_open = 1 AND generation = ?"
)
"""The fence: a unit that does not continue what is stored touches no row, and is refused.

The key of `records` could not do that: it refuses doubles, but neither gaps nor what is
written into a session that has ended, was erased, or has been taken by another server.
"""
_NUMBER: Final = "(SELECT number FROM sessions WHERE session_id = ?)"
_OF_RECORDS: Final = """
    FROM tips JOIN records USING (number)
    WHERE number = (SELECT number FROM sessions WHERE session_id = ?)
    AND records.seq > ? AND records.seq <= ? AND records.seq >= first_seq
    ORDER BY records.seq LIMIT ?"""
_FOLD: Final = """
    INSERT INTO folds (number, seq, cards, locked) VALUES (?, ?, ?, ?)
    ON CONFLICT (number) DO UPDATE SET seq = excluded.seq, cards = excluded.cards, locked = excluded.locked"""
_BIND: Final = """
    INSERT INTO bindings (kind, ref, session_id, bound_at_ms)
    SELECT ?, ?, session_id, ? FROM sessions WHERE session_id = ?
    AND (SELECT count(*) FROM bindings WHERE session_id = sessions.session_id) < ?
    AND NOT EXISTS (
        SELECT 1 FROM bindings AS other JOIN sessions AS theirs
        ON theirs.session_id = other.session_id
        WHERE other.kind = ? AND other.ref = ? AND theirs.ended_at_ms IS NULL)
    ON CONFLICT DO NOTHING"""
"""The first session that binds an id has it while it lives."""
_NAME_CONVERSATION: Final = """
    UPDATE sessions SET conversation_id = ? WHERE session_id = ? AND EXISTS (
        SELECT 1 FROM bindings WHERE kind = 'conversation' AND ref = ?
        AND bindings.session_id = sessions.session_id)"""
ABANDON: Final = (
    "UPDATE tips SET is_open = 0, node = NULL WHERE number IN (SELECT number FROM sessions WHERE user = ?)",
    "UPDATE sessions SET ended_at_ms = -1125899906842624 WHERE user = ?",
)
"""Over for longer than any of them is kept: the sweep removes what an erasing leaves behind."""
_END: Final = "UPDATE sessions SET ended_at_ms = ? WHERE number = ?"
_SHUT: Final = "UPDATE tips SET is_open = 0, node = NULL WHERE number = ?"
_RECORD: Final = """
    INSERT INTO records (number, seq, sender, request_id, type, body)
    VALUES (?, ?, ?, ?, ?, ?)"""
_KEEP_REQUESTS: Final = """
    INSERT INTO requests (number, seq, sender, request_id, type)
    SELECT number, seq, sender, request_id, type FROM records
    WHERE number = ? AND seq < ? AND request_id IS NOT NULL ON CONFLICT DO NOTHING"""
_STATE: Final = """
    INSERT INTO state (session_id, key, value, revision) VALUES (?, ?, ?, ?)
    ON CONFLICT (session_id, key) DO UPDATE SET value = excluded.value, revision = excluded.revision"""
_DELETED: Final = "DELETE FROM state WHERE session_id = ? AND key = ? AND value IS NULL"
_CALL: Final = """
    INSERT INTO calls (session_id, tool_call_id, seq, tool_name, handled_by, status,
        asked_at_ms, deadline_ms, result_seq, body, content, joins)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (session_id, tool_call_id) DO UPDATE SET seq = excluded.seq, tool_name = excluded.tool_name,
        handled_by = excluded.handled_by, deadline_ms = excluded.deadline_ms,
        content = excluded.content, joins = excluded.joins,
        status = excluded.status, asked_at_ms = excluded.asked_at_ms,
        result_seq = excluded.result_seq, body = excluded.body"""
_TRAIL: Final = """
    INSERT INTO trail (session_id, at_ms, event, details)
    SELECT session_id, ?, ?, ? FROM sessions WHERE session_id = ?"""
_TRIM_TRAIL: Final = """
    DELETE FROM trail WHERE session_id = ? AND CASE event WHEN 'refused' THEN 1 ELSE 0 END = ?
    AND number < (
        SELECT number FROM trail
        WHERE session_id = ? AND CASE event WHEN 'refused' THEN 1 ELSE 0 END = ?
        ORDER BY number DESC LIMIT 1 OFFSET ?)"""
_DUE: Final = """
    INSERT INTO due (session_id, kind, ref, at_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (session_id, kind, ref) DO UPDATE SET at_ms = excluded.at_ms"""
DONE: Final = "DELETE FROM due WHERE session_id = ? AND kind = ? AND ref = ?"
_TRIM: Final = spoken(
    "DELETE FROM records WHERE number = ? AND seq < ?"
    " AND seq NOT IN (SELECT value FROM json_each(?))",
    postgres="DELETE FROM records WHERE number = ? AND seq < ?"
    " AND seq NOT IN (SELECT json_array_elements_text(CAST(? AS json))::bigint)",
)
_CARDS: Final = spoken(
    "SELECT seq, body FROM records WHERE number = ?"
    " AND seq IN (SELECT value FROM json_each(?)) ORDER BY seq",
    postgres="SELECT seq, body FROM records WHERE number = ?"
    " AND seq IN (SELECT json_array_elements_text(CAST(? AS json))::bigint) ORDER BY seq",
)
_FORGET_CALL: Final = "DELETE FROM calls WHERE session_id = ? AND tool_call_id = ? AND seq = ?"
_TRIM_RENDERED: Final = "DELETE FROM rendered WHERE session_id = ? AND seq < ?"
_RENDERED: Final = """
    INSERT INTO rendered (session_id, seq, device, at_ms, problem)
    SELECT session_id, :seq, :device, :at_ms, :problem FROM sessions
    WHERE session_id = :session_id ON CONFLICT DO NOTHING"""
_TRIM_REQUESTS: Final = "DELETE FROM requests WHERE number = ? AND seq < ?"

_UNCALLED: Final = (
    "DELETE FROM callers WHERE session_id = ?",
    "DELETE FROM phone_calls WHERE session_id = ?",
    "DELETE FROM call_numbers WHERE session_id = ?",
    "DELETE FROM told WHERE session_id = ?",
    pictures.FORGET,
)
"""Nobody finds a session by their number, hears of it or sees its pictures once it is over."""

TRIM_RECORDS: Final = 32
"""Records beyond the limits are not shown any more, and are removed so many at a time."""
FOLD_RECORDS: Final = 128
"""How often it is noted what the records add up to: a load folds so many at most."""

ANSWER_BYTES: Final = 256
"""What a row of `answers` takes besides its memory."""
_ANSWERS_BYTES: Final = (
    "SELECT coalesce(sum(length(memory) + ?), 0) FROM answers WHERE session_id = ?"
)

_GUARDS: Final = frozenset({_ADVANCE})
BY_NUMBER: Final = ("records", "requests", "folds", "tips")
"""The tables whose rows go with a session, found by its number, or by its id."""
BY_ID: Final = (
    "rendered", "troubles", "tool_times", "pictures", "state", "calls", "due", "trail", "sessions"
)
"""The row of the session goes last: the number of the others is looked up there."""

_SUMMARY: Final = """SELECT session_id, user, service, title, language, created_at_ms,
    last_active_at_ms, ended_at_ms, seq, conversation_id, is_call, number
    FROM sessions JOIN tips USING (number)"""

_LISTED: Final = f"""
    {_SUMMARY}
    WHERE (:user IS NULL OR user = :user)
    AND (:conversation_id IS NULL OR session_id IN (
        SELECT session_id FROM bindings
        WHERE kind IN ('conversation', 'call') AND ref = :conversation_id))
    AND (:trouble IS NULL OR session_id IN (SELECT session_id FROM troubles WHERE kind = :trouble))
    AND {HOLDS_WORDS}
    AND (created_at_ms, session_id) < (:at_ms, :session_id)
    ORDER BY created_at_ms DESC, session_id DESC LIMIT :limit"""  # noqa: S608 - a constant

MAX_BOUND: Final = 1000
MAX_BOUND_CHARS: Final = 256
"""What may lead to one session: a member must not fill the disk with names."""
Kind = Literal["conversation", "call"]
"""What an id that leads to a session is of: ElevenLabs' conversation, or a telephone call's sid."""




@dataclass(frozen=True, slots=True)
class Row:
    """A session's row, without its log."""

    session_id: str
    user: str
    service: str | None
    title: str
    language: str | None
    created_at_ms: int
    last_active_at_ms: int
    """By the clock that runs, as `ended_at_ms` and what is due; `created_at_ms` is for people."""
    ended_at_ms: int | None
    seq: int
    conversation_id: str | None
    is_call: int = 0
    """1 where a telephone call opened it."""
    number: int = 0
    """What its records are found by; 0 before it is stored."""

    @property
    def account(self) -> str:
        """Whose limits its connections count for; nobody's where a telephone call opened it."""
        return "" if self.is_call else self.user


@dataclass(slots=True)
class Stored:
    """A session as loaded: what it adds up to, and the requestIds it remembers."""

    session: Session
    row: Row
    requests: Requests
    generation: int = 0
    """Which taking of the session this is; a unit of an earlier one is stale."""
    last: str | None = None
    """Where it came from, as `Load` is told."""


class PendingWrite(Unit):
    """A unit that records of one session are added to until the writer takes it."""

    __slots__ = (
        "_first", "_generation", "_id", "_number", "_records", "_told", "last_seq", "session"
    )

    def __init__(
        self,
        number: int,
        session: Session,
        told: Callable[[PendingWrite, Exception | None], None],
        generation: int = 0,
    ) -> None:
        super().__init__(guards=_GUARDS)
        self._told: Callable[[PendingWrite, Exception | None], None] | None = told
        self.session = session
        self._id = session.session_id
        self._number = self.rank = number
        self._generation = generation
        self._first = session.seq
        self._records: list[Params] = []
        self.rows[_ADVANCE] = []
        self.rows[_RECORD] = self._records
        self.last_seq = session.seq

    def settle(self, error: Exception | None) -> None:
        # Nothing is held after that, so that no cycle is left for the collector.
        told, self._told = self._told, None
        if told is not None:
            told(self, error)

    def seal(self) -> None:
        session = self.session
        self.rows[_ADVANCE] = [
            (session.seq, session.first_seq, self._number, self._first, self._generation)
        ]

    def record(
        self,
        session: Session,
        event: Event,
        body: bytes,
        at_ms: int,
        request: tuple[str | None, str | None],
    ) -> None:
        """Add a record that `session` already holds, with everything it changes."""
        seq, kind = session.seq, event.type
        self.last_seq = seq
        self._records.append((self._number, seq, *request, kind, body))
        if kind == "contextual_update":
            return  # It stands in the log, and which cards are shown follows from that.
        add = self.add
        match kind:
            case "state_updated":
                key = event.fields["key"]
                add(_STATE, (self._id, key, session.state[key].value, seq))
            case "state_deleted":
                # Set to nothing in its turn among what the unit sets, and then removed.
                add(_STATE, (self._id, event.fields["key"], None, seq))
                add(_DELETED, (self._id, event.fields["key"]))
            case "client_tool_call":
                call = session.calls[event.fields["client_tool_call"].tool_call_id]
                if call.deadline_ms is not None:
                    add(_DUE, (self._id, "deadline", call.tool_call_id, call.deadline_ms))
            case "client_tool_result" | "client_tool_cancel":
                self._add_after(_DUE, DONE, (self._id, "deadline", event.fields["tool_call_id"]))
                if kind == "client_tool_result":
                    self._ended(session, event, at_ms)
            case "agent_tool_response":
                if event.fields["agent_tool_response"].get("is_error") is True:
                    add(troubles.NOTE_TROUBLE, (self._id, seq, "failed", ""))
            case "conversation_initiation_metadata":
                event_of = event.fields["conversation_initiation_metadata_event"]
                for sql, params in _binding(
                    self._id, "conversation", event_of["conversation_id"], at_ms
                ):
                    add(sql, params)
            case "session_ended":
                add(_END, (at_ms, self._number))
                add(_SHUT, (self._number,))
        for call in session.changed.values():
            self._call(call)
        session.changed.clear()

    def _ended(self, session: Session, event: Event, at_ms: int) -> None:
        """Sum up a call that has its result."""
        call = session.calls.get(event.fields["tool_call_id"])
        if call is None:
            return
        result, took_ms = event.fields["result"], at_ms - call.asked_at_ms
        for kind in trouble.of_result(
            result,
            is_error=event.fields["is_error"],
            is_server_tool=call.handled_by == "server",
            took_ms=took_ms,
        ):
            self.add(troubles.NOTE_TROUBLE, (self._id, call.seq, kind, call.tool_name))
        is_answered = status_of(result) not in trouble.UNANSWERED
        self.add(
            troubles.NOTE_TIME,
            (self._id, call.seq, call.tool_name, took_ms if is_answered else None),
        )

    def fold(self, session: Session) -> None:
        """Note what the records add up to by now, so that a load need not fold all of them."""
        self.rows[_FOLD] = [(self._number, session.seq, _listed(session.cards), _locked(session))]

    def trim(self, session: Session, oldest_request: int) -> None:
        """Remove the records before the first one kept, but for cards, and older requestIds."""
        # What is folded from here on must not need what is removed now.
        self.fold(session)
        self.rows[_KEEP_REQUESTS] = [(self._number, session.first_seq)]
        self.rows[_TRIM] = [(self._number, session.first_seq, _listed(session.cards))]
        self.rows[pictures.TRIM] = [(self._id, session.first_seq, _listed(session.cards))]
        for trims in (_TRIM_RENDERED, troubles.TRIM_TROUBLES, troubles.TRIM_TIMES):
            self.rows[trims] = [(self._id, session.first_seq)]
        if oldest_request > 1:
            self.rows[_TRIM_REQUESTS] = [(self._number, oldest_request)]

    def forget_calls(self, calls: Iterable[Call]) -> None:
        """Remove closed calls; one of the same id that was made since then stays."""
        for call in calls:
            self._add_after(_CALL, _FORGET_CALL, (self._id, call.tool_call_id, call.seq))

    def _add_after(self, makes: str, removes: str, params: Params) -> None:
        """Add a statement that removes what another one, `makes`, may add later to this batch.

        Units of a batch are merged, and each SQL text runs once for all of its parameters, in
        the order in which the texts first came up. A removal that came up first would run
        before the row is made.
        """
        self.rows.setdefault(makes, [])
        self.add(removes, params)

    def _call(self, call: Call) -> None:
        self.add(
            _CALL,
            (
                self._id, call.tool_call_id, call.seq, call.tool_name, call.handled_by,
                call.status, call.asked_at_ms, call.deadline_ms, call.result_seq, call.body,
                call.content, call.joins,
            ),
        )


def _binding(session_id: str, kind: Kind, ref: str, at_ms: int) -> list[tuple[str, Params]]:
    if len(ref) > MAX_BOUND_CHARS:
        return []
    bound: list[tuple[str, Params]] = [
        (_BIND, (kind, ref, at_ms, session_id, MAX_BOUND, kind, ref))
    ]
    if kind == "conversation":
        bound.append((_NAME_CONVERSATION, (ref, session_id, ref)))
    return bound


def _locked(session: Session) -> str:
    """Return which cards, keys and names are locked as JSON, or the empty text."""
    if not session.locked_keys and not session.locked_cards and not session.locked_names:
        return ""
    return json.dumps(
        [sorted(session.locked_cards), [*session.locked_keys], [*session.locked_names]]
    )


def _listed(seqs: Iterable[int]) -> str:
    """Return seqs as the JSON text that `json_each` reads."""
    return f"[{','.join(map(str, seqs))}]"


class Store:
    """Reads and writes sessions; decides nothing."""

    def __init__(self, database: Database, places: Places | None = None) -> None:
        """`places` is where sessions live; without it all of them live here."""
        self._database = database
        self._places: Places = places or Alone(database)
        self.epoch = ""

    async def open(self) -> None:
        """Read what names this log."""
        [(self.epoch,)] = await self._database.read("SELECT epoch FROM log")

    async def create(self, row: Row, most: int = 0) -> Row:
        """Store a new session, and return it as stored; its creation is a row, not a record.

        Raises:
            Conflict: its user has `most` sessions already, where servers share a database.
        """
        node, made = None, creation(row)
        if self._places.is_shared:
            node = self._places.me.name
            made = creation(row, node)
            if most:
                made = [one_at_a_time(f"sessions of {row.user}"), _has_room(row.user, most), *made]
        await self._database.transact(made)
        stored = await self.row(row.session_id)
        if stored is None:
            raise Unavailable("The session was erased while it was made; make another.")
        return stored

    async def row(self, session_id: str) -> Row | None:
        """Return a session's row, ended or not."""
        rows = await self._database.read(f"{_SUMMARY} WHERE session_id = ?", (session_id,))
        return Row(*rows[0]) if rows else None

    async def load(self, session_id: str) -> Stored | None:
        """Return the session with everything a tip needs, or None if there is none.

        It lives here from now on. Of one instant, and in one visit to the thread that reads. Of
        most records only the size is read: what they add up to stands in tables of its own.

        Raises:
            Elsewhere: it lives on another server.
            Unavailable: the database does not let us read it, or have it.
        """
        return await self._places.taken(
            session_id, lambda read, last: loaded(read, session_id, last)
        )

    async def request(self, session_id: str, sender: str, request_id: str) -> tuple[int, str] | None:
        """Return seq and type of the record that a requestId made, if that is stored."""
        rows = await self._database.read(
            f"SELECT seq, type FROM records WHERE number = {_NUMBER}"  # noqa: S608 - a constant
            " AND request_id = ? AND sender = ?"
            f" UNION ALL SELECT seq, type FROM requests WHERE number = {_NUMBER}"
            " AND request_id = ? AND sender = ? LIMIT 1",
            (session_id, request_id, sender, session_id, request_id, sender),
        )
        return (rows[0][0], rows[0][1]) if rows else None

    async def records(
        self, session_id: str, after: int, up_to: int, count: int, size_bytes: int = 0
    ) -> list[tuple[int, bytes]]:
        """Return at most `count` records after `after`, about `size_bytes` of them at most."""
        if size_bytes:
            # Sizes are read without the bodies, which the disk would be asked for in vain.
            total, last = 0, after
            for seq, size in await self._database.read(
                f"SELECT records.seq, length(body) {_OF_RECORDS}",
                (session_id, after, up_to, count),
            ):
                last, total = seq, total + size
                if total >= size_bytes:
                    break
            up_to = min(up_to, last)
        return await self._database.read(
            f"SELECT records.seq, body {_OF_RECORDS}", (session_id, after, up_to, count)
        )

    async def each_record(
        self, session_id: str, after: int = 0, limit: int = 2**31
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Return records after `after`, oldest first, without ever holding many of them."""
        while limit > 0:
            page = await self.records(
                session_id, after, 2**62, min(limit, PAGE_RECORDS), PAGE_BYTES
            )
            if not page:
                return
            for seq, body in page:
                yield seq, body
            after, limit = page[-1][0], limit - len(page)

    async def first_seq(self, session_id: str) -> int | None:
        """Return the seq of the oldest record kept, or None without one."""
        rows = await self._database.read(
            "SELECT first_seq FROM sessions JOIN tips USING (number)"
            " WHERE session_id = ? AND seq >= first_seq",
            (session_id,),
        )
        return int(rows[0][0]) if rows else None

    async def listed(
        self,
        *,
        user: str | None = None,
        conversation_id: str | None = None,
        find: str | None = None,
        trouble: Trouble | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Row]:
        """Return sessions, newest first, from before `(created_at_ms, session_id)`.

        `conversation_id` may be any that the session ever had, and a telephone call's sid.
        What `find` finds is told in search.py.
        """
        at_ms, session_id = before or (2**62, "")
        return [
            Row(*columns)
            for columns in await self._database.read(
                _LISTED,
                {
                    "user": user, "conversation_id": conversation_id, "trouble": trouble,
                    "at_ms": at_ms, "session_id": session_id, "limit": limit, **words_in(find or ""),
                },
            )
        ]

    async def found(self, kind: Kind, ref: str) -> Row | None:
        """Return the session an id leads to, of those that have not ended."""
        rows = await self._database.read(
            f"{_SUMMARY} WHERE ended_at_ms IS NULL"  # noqa: S608 - a constant
            " AND session_id IN (SELECT session_id FROM bindings WHERE kind = ? AND ref = ?)"
            " ORDER BY created_at_ms DESC LIMIT 1",
            (kind, ref),
        )
        return Row(*rows[0]) if rows else None

    async def bind(self, session_id: str, kind: Kind, ref: str, at_ms: int) -> bool:
        """Let an id lead to a session; False where it leads to another one that lives."""
        statements = [Statement(*bound) for bound in _binding(session_id, kind, ref, at_ms)]
        await self._database.transact(statements)
        return (kind, ref) in await self.bound(session_id)

    async def bound(self, session_id: str, since_ms: int = 0) -> set[tuple[str, str]]:
        """Return `(kind, id)` of what leads to a session, bound then or later."""
        rows = await self._database.read(
            "SELECT kind, ref FROM bindings WHERE session_id = ? AND bound_at_ms >= ?",
            (session_id, since_ms),
        )
        return set(rows)

    async def states(self, session_ids: Iterable[str]) -> dict[str, dict[str, tuple[bytes, int]]]:
        """Return the state of several sessions: `{session_id: {key: (value, revision)}}`."""
        states: dict[str, dict[str, tuple[bytes, int]]] = {}
        for session_id in session_ids:
            states[session_id] = {
                key: (value, revision)
                for key, value, revision in await self._database.read(
                    "SELECT key, value, revision FROM state"
                    " WHERE session_id = ? AND value IS NOT NULL ORDER BY revision",
                    (session_id,),
                )
            }
        return states

    async def update(self, session_id: str, column: str, value: Any) -> None:
        """Set one of the columns a person can name a session by."""
        statements = {
            "title": "UPDATE sessions SET title = ? WHERE session_id = ?",
            "language": "UPDATE sessions SET language = ? WHERE session_id = ?",
        }
        await self._database.transact([Statement(statements[column], (value, session_id))])

    def touch(self, session_id: str, at_ms: int) -> None:
        """Note activity that is not recorded; soon durable, and nobody waits for it."""
        self._write_soon(
            "UPDATE sessions SET last_active_at_ms = ?"
            " WHERE session_id = ? AND last_active_at_ms < ?",
            (at_ms, session_id, at_ms),
        )

    def trail(self, session_id: str, at_ms: int, event: str, details: bytes) -> None:
        """Note who came, went or was refused; soon durable, and nobody waits for it.

        The last KEPT_TRAIL of a session are kept, and KEPT_REFUSED of who was refused.
        """
        self._write_soon(_TRAIL, (at_ms, event, details.decode(), session_id))
        is_refused = event == "refused"
        kept = KEPT_REFUSED if is_refused else KEPT_TRAIL
        self._write_soon(_TRIM_TRAIL, (session_id, is_refused, session_id, is_refused, kept - 1))

    def _write_soon(self, sql: str, params: Params) -> None:
        unit = Unit()
        unit.add(sql, params)
        with contextlib.suppress(Unavailable):
            self._database.write(unit)

    def note_trouble(self, session_id: str, seq: int, kind: Trouble, tool_name: str) -> None:
        """Note what was wrong with a record; soon durable, and nobody waits for it."""
        self._write_soon(troubles.NOTE_TROUBLE_LATER, (seq, kind, tool_name, session_id))

    def note_rendered(
        self, session_id: str, seq: int, device: str, at_ms: int, problem: str | None
    ) -> None:
        """Note that a device has shown a record; soon durable, and nobody waits for it."""
        self._write_soon(
            _RENDERED,
            {
                "session_id": session_id, "seq": seq, "device": device, "at_ms": at_ms,
                "problem": problem,
            },
        )  # fmt: skip

    async def rendered(self, session_id: str, first: int, last: int) -> list[dict[str, Any]]:
        """Return `{of_seq, device_id, at, problem}` of who has shown records of these seqs."""
        return [
            {"of_seq": seq, "device_id": device or None, "at": at_ms, "problem": problem}
            for seq, device, at_ms, problem in await self._database.read(
                "SELECT seq, device, at_ms, problem FROM rendered"
                " WHERE session_id = ? AND seq >= ? AND seq <= ? ORDER BY seq, at_ms",
                (session_id, first, last),
            )
        ]

    async def trail_of(self, session_id: str) -> list[tuple[int, str, str]]:
        """Return `(at_ms, event, details as JSON)`, newest first, with all that was noted by now."""
        with contextlib.suppress(Unavailable):
            # Nobody waited for those rows; an empty transaction is done after them.
            await self._database.transact(())
        return await self._database.read(
            "SELECT at_ms, event, details FROM trail WHERE session_id = ?"
            " ORDER BY number DESC LIMIT ?",
            (session_id, KEPT_TRAIL + KEPT_REFUSED),
        )

    async def last_activity_ms(self) -> int:
        """Return when something last happened in any session, 0 if nothing ever did."""
        [(at_ms,)] = await self._database.read("SELECT max(last_active_at_ms) FROM sessions")
        return int(at_ms or 0)

    async def ended_before(self, before_ms: int, limit: int) -> list[str]:
        """Return ended sessions that need not be kept any longer."""
        return [
            session_id
            for (session_id,) in await self._database.read(
                "SELECT session_id FROM sessions WHERE ended_at_ms <= ? AND ended_at_ms IS NOT NULL"
                " ORDER BY ended_at_ms LIMIT ?",
                (before_ms, limit),
            )
        ]

    async def ended_beyond(self, user: str, limit: int) -> list[str]:
        """Return a user's ended sessions that the newest `limit` leave no room for."""
        return [
            session_id
            for (session_id,) in await self._database.read(
                "SELECT session_id FROM sessions WHERE user = ? AND ended_at_ms IS NOT NULL"
                " ORDER BY ended_at_ms DESC, created_at_ms DESC LIMIT 2147483647 OFFSET ?",
                (user, limit),
            )
        ]

    async def of_user(self, user: str) -> list[tuple[str, str | None]]:
        """Return id and service of a user's sessions that have not ended, oldest first.

        Those of telephone calls are bounded by the number of calls instead.
        """
        return await self._database.read(
            "SELECT session_id, service FROM sessions WHERE user = ? AND ended_at_ms IS NULL"
            " AND is_call = 0 ORDER BY created_at_ms, session_id",
            (user,),
        )

    async def keep(self, session_id: str, extra_statements: Iterable[Statement] = ()) -> None:
        """Keep an ended session readable, and let go of its keys alone."""
        unbound = [Statement(sql, (session_id,)) for sql in _UNCALLED]
        await self._database.transact([*extra_statements, *unbound])

    async def delete(self, session_id: str, extra_statements: Iterable[Statement] = ()) -> None:
        """Remove everything of a session, with what others hold of it, in one transaction."""
        await self._database.transact([*deletion(session_id), *extra_statements])


def _has_room(user: str, most: int) -> Statement:
    """Return what goes wrong where a user has `most` sessions; of PostgreSQL, which counts what is selected."""
    return Statement(
        "SELECT 1 WHERE (SELECT count(*) FROM sessions"
        " WHERE user = ? AND ended_at_ms IS NULL AND is_call = 0) < ?",
        (user, most),
        expect=1,
    )


def creation(row: Row, node: str | None = None) -> list[Statement]:
    """Return the statements that make a session, on the server `node` where there are several."""
    return [
        Statement(
            "INSERT INTO sessions (session_id, user, service, title, language,"
            " created_at_ms, last_active_at_ms, is_call) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (row.session_id, row.user, row.service, row.title, row.language,
             row.created_at_ms, row.last_active_at_ms, row.is_call),
        ),
        Statement(
            "INSERT INTO tips (number, seq, first_seq, is_open, node)"
            " SELECT number, 0, 1, 1, ? FROM sessions WHERE session_id = ?",
            (node, row.session_id),
        ),
    ]


def deletion(session_id: str) -> list[Statement]:
    """Return the statements that remove a session."""
    by_number = [f"DELETE FROM {table} WHERE number = {_NUMBER}" for table in BY_NUMBER]  # noqa: S608
    by_id = [f"DELETE FROM {table} WHERE session_id = ?" for table in BY_ID]  # noqa: S608
    return [Statement(sql, (session_id,)) for sql in (*by_number, *by_id)]


def loaded(read: Read, session_id: str, last: str | None = None) -> Stored | None:
    """Return what `Store.load` does, read by `read`."""
    rows = read(f"{_SUMMARY} WHERE session_id = ?", (session_id,))
    if not rows:
        return None
    row = Row(*rows[0])
    [(first_seq, generation)] = read(
        "SELECT first_seq, generation FROM tips WHERE number = ?", (row.number,)
    )
    session = Session(
        session_id, row.user, row.language, first_seq=first_seq,
        conversation_id=row.conversation_id,
    )
    _load_cards(read, row.number, session)
    session.seq = row.seq
    if row.ended_at_ms is not None:
        session.ended = "ended"
    for key, value, revision in read(
        "SELECT key, value, revision FROM state"
        " WHERE session_id = ? AND value IS NOT NULL ORDER BY revision",
        (session_id,),
    ):
        session.state[key] = Entry(value, revision)
        session.state_bytes += len(json.dumps(key, ensure_ascii=False).encode()) + len(value)
    for columns in read(
        "SELECT tool_call_id, seq, tool_name, handled_by, status, asked_at_ms, deadline_ms,"
        " result_seq, body, content, joins FROM calls WHERE session_id = ? ORDER BY seq",
        (session_id,),
    ):
        session.put_call(Call(*columns))
    _compare_old_calls(read, row.number, session)
    session.changed.clear()
    requests = _load_requests(read, row.number, session)
    for seq, device, problem in read(
        "SELECT seq, device, problem FROM rendered WHERE session_id = ?", (session_id,)
    ):
        note_rendered(session, seq, device, problem)
    for picture in pictures.of_session(read, session_id):
        put_picture(session, picture)
    [(session.answers_bytes,)] = read(_ANSWERS_BYTES, (ANSWER_BYTES, session_id))
    return Stored(session, row, requests, generation, last)


def _load_cards(read: Read, number: int, session: Session) -> None:
    """Take what was noted last of cards and locks, and fold in what came after it."""
    [(folded_seq, cards, locked)] = read(
        "SELECT seq, cards, locked FROM folds WHERE number = ?", (number,)
    ) or [(0, "[]", "")]
    if locked:
        locked_cards, locked_keys, *names = json.loads(locked)
        session.locked_cards, session.locked_keys = set(locked_cards), dict.fromkeys(locked_keys)
        session.locked_names = dict.fromkeys(names[0] if names else ())
    for seq, body in read(
        _CARDS,
        (number, cards),
    ):
        session.cards[seq] = (json.loads(body).get("context_id"), body)
        session.cards_bytes += len(body)
    for seq, body in read(
        "SELECT seq, body FROM records WHERE number = ? AND seq > ?"
        " AND type = 'contextual_update' ORDER BY seq",
        (number, folded_seq),
    ):
        fold_card_again(session, seq, body)


def _load_requests(read: Read, number: int, session: Session) -> Requests:
    """Take the sizes of the records shown, and what is known of requestIds, oldest first."""
    requests = Requests()

    def known(seq: int, sender: str, request_id: str, kind: str) -> None:
        remember(session, sender, request_id, seq)
        requests.add((intern(sender), request_id), seq, intern(kind), seq)

    for columns in read(
        "SELECT seq, sender, request_id, type FROM requests WHERE number = ?"
        # A card that outlives the trimming stands in both.
        " UNION SELECT seq, sender, request_id, type FROM records"
        " WHERE number = ? AND seq < ? AND request_id IS NOT NULL ORDER BY seq",
        (number, number, session.first_seq),
    ):
        known(*columns)
    for seq, size, sender, request_id, kind in read(
        "SELECT seq, length(body), sender, request_id, type FROM records"
        " WHERE number = ? AND seq >= ? ORDER BY seq",
        (number, session.first_seq),
    ):
        session.sizes.append(size)
        session.named.append(0)
        session.log_bytes += size
        if request_id is not None:
            known(seq, sender, request_id, kind)
    return requests


def _compare_old_calls(read: Read, number: int, session: Session) -> None:
    """Let calls of before version 0.2 tell whether another of their id is the same."""
    if all(call.content for call in session.calls.values()):
        return
    for tool_call_id, body in read(
        "SELECT tool_call_id,"
        " CASE WHEN length(calls.body) > 0 THEN calls.body ELSE records.body END FROM calls"
        " LEFT JOIN records ON records.number = ? AND records.seq = calls.seq"
        " WHERE session_id = ? AND length(content) = 0",
        (number, session.session_id),
    ):
        if body is not None:
            asked = json.loads(body)["client_tool_call"]
            content = content_hash(asked["tool_name"], asked["parameters"])
            session.put_call(replace(session.calls[tool_call_id], content=content))
