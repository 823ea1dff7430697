"""An agent that hears from its screens only when it asks: over the telephone, over MCP.

Rules of this file:

1. A question that is asked again while it is open is joined, and one that was answered
   meanwhile gets that answer; nobody is asked twice. Other tools are called each time.
2. What screens did is told once: each answer carries what came since the one before.
   `told` in the database remembers how far, so a restart repeats nothing.
3. An answer whose asker had gone, or was cut off by a restart, is not lost: `unheard` knows the
   question until somebody was given its answer, and it is news until then.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

import msgspec

from companion_ws.core.commands import DEFAULT_TIMEOUT_MS
from companion_ws.core.companion_tools import COMPANION_TOOLS, is_question
from companion_ws.core.errors import SessionNotFound
from companion_ws.core.phrases import phrase
from companion_ws.core.session import Sender
from companion_ws.core.tool_calls import RELEASES, Call, choice_of, content_hash, status_of
from companion_ws.database import Statement
from companion_ws.nodes.verbs import verb
from companion_ws.traces import in_trace
from companion_ws.voice.store import VoiceStore, heard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from companion_ws.sessions.live import LiveSession
    from companion_ws.sessions.sessions import Sessions

MARGIN_S: Final = 2.0
"""The deadline of a call is the session's; this much longer is waited for its result."""
SETTLE_S: Final = 2.0
"""How long the log may take to catch up with memory; a disk that takes longer is in trouble."""
JOINED: Final = frozenset(COMPANION_TOOLS)
"""What is asked or shown once, however often an agent that got no answer asks again."""
PAGE_RECORDS: Final = 200
MAX_EVENTS: Final = 50
"""Told at once; the rest comes with the next answer."""
_EVENT_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "user_message": ("text", "in_reply_to", "result"),
    "contextual_update": ("text", "data"),
    "state_updated": ("key", "value"),
    "state_deleted": ("key",),
    "ui_action": ("name", "context"),
}
"""What is news to an agent, by type, and which fields of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to; `result` is JSON text, or prose."""

    tool_call_id: str
    result: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Put:
    """A question as it was put: `answer` where one was there already."""

    tool_call_id: str
    answer: Answer | None = None
    is_again: bool = False
    """Whether the very same had been asked before, and its asker had not been answered by a person."""


def never() -> bool:
    """The caller stays."""
    return False


class PollingAgent:
    """Asks and listens in sessions on behalf of an agent that has no connection."""

    def __init__(self, sessions: Sessions, store: VoiceStore) -> None:
        self.verbs = sessions.verbs
        self.verbs.serve(self)
        self._sessions = sessions
        self._store = store
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._awaited: Counter[tuple[str, str]] = Counter()
        """Questions whose callers are still here, by session and call."""

    async def ask(
        self,
        session_id: str,
        sender: Sender,
        tool_name: str,
        parameters: Mapping[str, Any],
        *,
        tool_call_id: str | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
    ) -> Answer:
        """Call a tool and return its result, by its deadline at the latest.

        The same question (id, or name and parameters) that is still open is joined, and so
        is a card; other tools are called each time.

        Raises:
            CompanionError: the session would not take the call.
        """
        put = await self.put(
            session_id, sender, tool_name, parameters,
            tool_call_id=tool_call_id, timeout_ms=timeout_ms,
        )  # fmt: skip
        return await self.await_answer(session_id, put, timeout_ms / 1000)

    @verb()
    async def put(
        self,
        session_id: str,
        sender: Sender,
        tool_name: str,
        parameters: Mapping[str, Any],
        *,
        tool_call_id: str | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
    ) -> Put:
        """Call a tool, durable on return, and do not wait for its result; see `ask`."""
        async with self._one_at_a_time(session_id):
            live = await self._live(session_id)
            joined = None if tool_call_id else _open_like(live, tool_name, parameters)
            is_again = joined is not None
            stale = None
            if joined is not None and await self._is_stale(live, joined):
                stale, joined = joined, None
            if joined is None and tool_call_id not in live.session.calls:
                untold = await self._untold_answer(live, tool_name, parameters)
                if untold is not None:
                    return Put(untold.tool_call_id, untold, is_again=True)
            if joined is not None:
                tool_call_id = joined.tool_call_id
            tool_call_id = tool_call_id or f"call_{uuid.uuid4().hex}"
            if is_question(tool_name):
                await self._store.ask(session_id, tool_call_id)
            if joined is None:
                call = {
                    "tool_name": tool_name,
                    "tool_call_id": tool_call_id,
                    "parameters": dict(parameters),
                    "timeout_ms": timeout_ms,
                }
                command = {"type": "client_tool_call", "client_tool_call": call}
                await self._sessions.submit(session_id, in_trace(command), sender)
            if stale is not None and stale.tool_call_id not in await self._held(live):
                # A question stays on the screens: the new call has joined it.
                await self._withdraw(session_id, sender, stale)
        return Put(tool_call_id, is_again=is_again)

    @verb(changes=False)
    async def await_answer(
        self, session_id: str, put: Put, timeout_s: float, is_gone: Callable[[], bool] = never
    ) -> Answer:
        """Return what a call that was put comes to.

        Where `is_gone()` says that nobody would hear it, an answer is kept for the next time.
        """
        ends_s = _now_s() + timeout_s
        with self._awaiting(session_id, put.tool_call_id):
            answer = put.answer or await self._next_answer(session_id, put.tool_call_id, ends_s)
            if not is_gone():
                await self._hear(session_id, put.tool_call_id)
        return answer

    @verb(changes=False)
    async def answer_of(self, session_id: str, tool_call_id: str) -> Answer | None:
        """Return what a person has answered, in time or late, or who else closed it; else None."""
        live = await self._live(session_id)
        call = live.session.calls.get(tool_call_id)
        if call is None:
            return None
        await self._catch_up(live)
        if call.result_seq is not None:
            record = await self._sessions.record(session_id, call.result_seq)
            if record is not None and not _is_release(record):
                return Answer(tool_call_id, record["result"], record["is_error"])
        ids = {each.tool_call_id for each in live.session.members(live.session.question_of(call))}
        answer, _ = await self._found(session_id, ids | {tool_call_id}, call.seq)
        return answer

    @verb()
    async def news(
        self,
        session_id: str,
        exclude: str | None = None,
        also: Callable[[list[dict[str, Any]]], Iterable[Statement]] | None = None,
    ) -> list[dict[str, Any]]:
        """Return what screens did since the last time, oldest first, each once.

        `exclude` leaves out the answer to that call, because it is told otherwise. `also` gives
        what is stored in the same step, for those who keep the events.

        Raises:
            Conflict: something of `also` is not as it expects; nothing counts as told then.
        """
        async with self._one_at_a_time(session_id):
            live = await self._live(session_id)
            kept = {exclude} if exclude is not None else set()
            kept |= await self._held(live)
            told = await self._store.told(session_id)
            seq, is_left_out = told, False
            events: list[dict[str, Any]] = []
            while len(events) < MAX_EVENTS:
                page = await self._sessions.records(session_id, seq, PAGE_RECORDS)
                for record in page:
                    seq = record["seq"]
                    event = event_of(record)
                    if event is not None and _answers(record) in kept:
                        is_left_out = True
                    elif event is not None:
                        events.append(event)
                    if len(events) == MAX_EVENTS:
                        break
                if len(page) < PAGE_RECORDS:
                    break
            late, over = await self._unheard(live, kept, MAX_EVENTS - len(events))
            events += late
            also_stored = [heard(session_id, tool_call_id) for tool_call_id in over]
            if also is not None:
                also_stored += also(events)
            is_further = events or is_left_out or seq >= told + PAGE_RECORDS
            if also_stored or (seq > told and is_further):
                await self._store.tell(session_id, seq, also_stored)
            return events

    @verb(changes=False)  # What was told and lost is lost either way; who waits goes on waiting.
    async def wait(
        self, session_id: str, timeout_s: float, is_gone: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        """Return what screens did since the last time; wait for the first if there is none.

        Empty when `timeout_s` is over, or when `is_gone()` says that nobody would hear
        it: then it is kept for the next time.
        """
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        while True:
            live = await self._live(session_id)
            seq = live.delivered_seq
            events = [] if is_gone() else await self.news(session_id)
            left_s = ends_s - loop.time()
            if events or left_s <= 0 or is_gone():
                return events
            await self._sessions.waiting.beyond(session_id, seq, left_s)

    @verb(changes=False)
    async def screens(self, session_id: str) -> list[str]:
        """Return what each screen that is here says it shows."""
        live = await self._live(session_id)
        return [screen.screen for screen in live.screens()]

    def is_awaited(self, session_id: str, tool_call_id: str) -> bool:
        """Whether the caller of a question is still here for its answer."""
        return (session_id, tool_call_id) in self._awaited

    async def _is_stale(self, live: LiveSession, call: Call) -> bool:
        """Whether it was answered with a pairing code and still nobody is here: ask again."""
        if call.status != "released" or live.screens():
            return False
        answer = await self._result(live.session_id, call.tool_call_id, 0)
        return status_of(answer.result) == "no_screen"

    async def _untold_answer(
        self, live: LiveSession, tool_name: str, parameters: Mapping[str, Any]
    ) -> Answer | None:
        """Return the answer to this very question that the agent does not know of yet."""
        session_id = live.session_id
        await self._catch_up(live)
        content = content_hash(tool_name, dict(parameters))
        for tool_call_id in await self._store.unheard(session_id):
            call = live.session.calls.get(tool_call_id)
            if call is None or call.status != "closed" or call.content != content:
                continue
            if not self.is_awaited(session_id, tool_call_id):
                answer = await self.answer_of(session_id, tool_call_id)
                if answer is not None and status_of(answer.result) != "cancelled":
                    return answer
        told = await self._store.told(session_id)
        for record in await self._sessions.records(session_id, told, PAGE_RECORDS):
            call = live.session.calls.get(record.get("in_reply_to") or "")
            if _answers(record) is not None and call is not None:
                rows = await self._sessions.records(session_id, call.seq - 1, 1)
                asked = rows[0].get("client_tool_call") if rows else None
                if asked and (asked["tool_name"], asked["parameters"]) == (
                    tool_name, dict(parameters),
                ):  # fmt: skip
                    return Answer(call.tool_call_id, record["result"], False)
        return None

    async def _held(self, live: LiveSession) -> set[str]:
        """Return the calls whose answer is for whoever has the handle of a task."""
        held = await self._store.held(live.session_id, live.clock.running_ms())
        for tool_call_id in tuple(held):
            call = live.session.calls.get(tool_call_id)
            if call is not None:
                question = live.session.question_of(call)
                held |= {each.tool_call_id for each in live.session.members(question)}
        return held

    async def _unheard(
        self, live: LiveSession, kept: Collection[str], most: int
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return answers in time whose asker had gone, as news, and which questions are over."""
        session_id, events, over = live.session_id, list[dict[str, Any]](), list[str]()
        for tool_call_id in await self._store.unheard(session_id):
            call = live.session.calls.get(tool_call_id)
            is_wanted = tool_call_id in kept or self.is_awaited(session_id, tool_call_id)
            if is_wanted or len(events) >= most or (call is not None and call.status != "closed"):
                continue
            if call is not None and call.result_seq is not None:
                if call.result_seq > live.delivered_seq:
                    continue
                record = await self._sessions.record(session_id, call.result_seq)
                if record is not None and record["answered_by"] == "ui":
                    events.append(await self._late_event(live, call, record))
            over.append(tool_call_id)
        return events, over

    async def _late_event(
        self, live: LiveSession, call: Call, record: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return an answer as news, in the form of one that came too late."""
        asked = await self._sessions.record(live.session_id, call.seq)
        title = asked["client_tool_call"]["parameters"].get("title") if asked is not None else None
        text = phrase(
            live.session.language, "late",
            question=title if isinstance(title, str) and title else call.tool_name,
            answer=choice_of(record["result"]),
        )  # fmt: skip
        return {
            "type": "user_message",
            "text": text,
            "in_reply_to": call.tool_call_id,
            "result": record["result"],
            "timestamp": record["timestamp"],
        }

    async def _withdraw(self, session_id: str, sender: Sender, call: Call) -> None:
        command = {"type": "client_tool_cancel", "tool_call_id": call.tool_call_id}
        await self._sessions.submit(session_id, command, sender)

    async def _next_answer(self, session_id: str, tool_call_id: str, ends_s: float) -> Answer:
        live = await self._live(session_id)
        call = live.session.calls.get(tool_call_id)
        if call is not None and call.status == "released":
            return await self._late_answer(live, call, ends_s)
        return await self._result(session_id, tool_call_id, ends_s + MARGIN_S - _now_s())

    async def _late_answer(self, live: LiveSession, call: Call, ends_s: float) -> Answer:
        """The question is on the screens already: wait for its answer a while longer."""
        session_id, seq = live.session_id, call.seq
        while True:
            told = live.delivered_seq
            asking = live.session.members(live.session.question_of(call))
            ids = {call.tool_call_id, *(each.tool_call_id for each in asking)}
            answer, seq = await self._found(session_id, ids, seq)
            if answer is not None:
                return answer
            if _now_s() >= ends_s:
                return await self._result(session_id, call.tool_call_id, 0)
            await self._sessions.waiting.beyond(session_id, told, ends_s - _now_s())

    async def _found(
        self, session_id: str, ids: Collection[str], seq: int
    ) -> tuple[Answer | None, int]:
        """Return a person's answer to one of these calls after `seq`, and how far was looked."""
        while True:
            page = await self._sessions.records(session_id, seq, PAGE_RECORDS)
            for record in page:
                seq = record["seq"]
                of = str(record.get("in_reply_to") or record.get("tool_call_id"))
                is_answer = "result" in record and record.get("answered_by", "ui") == "ui"
                if of in ids and is_answer and not record.get("is_change"):
                    return Answer(of, record["result"], record.get("is_error", False)), seq
            if len(page) < PAGE_RECORDS:
                return None, seq

    async def _result(self, session_id: str, tool_call_id: str, timeout_s: float) -> Answer:
        record = await self._sessions.waiting.result(session_id, tool_call_id, timeout_s)
        if record is None:
            return Answer(tool_call_id, '{"status":"no_answer"}', False)
        return Answer(tool_call_id, record["result"], record["is_error"])

    async def _hear(self, session_id: str, tool_call_id: str) -> None:
        if tool_call_id in await self._store.unheard(session_id):
            await self._store.hear(session_id, tool_call_id)

    async def _catch_up(self, live: LiveSession) -> None:
        """The session in memory runs ahead of its log: let what happened be there."""
        await self._sessions.waiting.beyond(live.session_id, live.session.seq - 1, SETTLE_S)

    async def _live(self, session_id: str) -> LiveSession:
        live = await self._sessions.open(session_id)
        if live is None:
            raise SessionNotFound
        return live

    @contextmanager
    def _awaiting(self, session_id: str, tool_call_id: str) -> Iterator[None]:
        of = session_id, tool_call_id
        self._awaited[of] += 1
        try:
            yield
        finally:
            self._awaited[of] -= 1
            if not self._awaited[of]:
                del self._awaited[of]

    @asynccontextmanager
    async def _one_at_a_time(self, session_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        async with lock:
            yield


def _is_release(record: Mapping[str, Any]) -> bool:
    """Whether a result only let the agent go on, with the question still open."""
    return record["answered_by"] == "server" and status_of(record["result"]) in RELEASES


def _answers(record: Mapping[str, Any]) -> str | None:
    """Return the call that a message is the late answer to; a later change of one is none."""
    is_answer = record["type"] == "user_message" and "result" in record
    return record["in_reply_to"] if is_answer and not record.get("is_change") else None


def event_of(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an agent that asks is told of a record, or None where it is not news to it."""
    kind = record["type"]
    if kind != "user_message" and record["sender"]["role"] != "ui":
        return None
    wanted = _EVENT_FIELDS.get(kind)
    if wanted is None:
        return None
    told = {name: record[name] for name in wanted if record.get(name) is not None}
    return {"type": kind, **told, "timestamp": record["timestamp"]}


def _open_like(live: LiveSession, tool_name: str, parameters: Mapping[str, Any]) -> Call | None:
    """Return the newest call with this name and these parameters that is still open."""
    if tool_name not in JOINED:
        return None
    at_ms = live.clock.running_ms()
    for call in reversed(list(live.session.calls.values())):
        is_open = call.status == "waiting" or call.is_open(at_ms)
        if is_open and call.tool_name == tool_name and call.body:
            asked = msgspec.json.decode(call.body)["client_tool_call"]
            if asked["parameters"] == dict(parameters):
                return call
    return None


def _now_s() -> float:
    return asyncio.get_running_loop().time()
