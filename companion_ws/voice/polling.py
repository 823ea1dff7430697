"""An agent that hears from its screens only when it asks: over the telephone, over MCP.

Rules of this file:

1. A question that is asked again while it is open is joined, and one that was answered
   meanwhile gets that answer; nobody is asked twice. Other tools are called each time.
2. What screens did is told once: each answer carries what came since the one before.
   `told` in the database remembers how far, so a restart repeats nothing.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

import msgspec

from companion_ws.core.commands import DEFAULT_TIMEOUT_MS
from companion_ws.core.companion_tools import COMPANION_TOOLS
from companion_ws.core.errors import SessionNotFound
from companion_ws.core.session import Sender
from companion_ws.core.tool_calls import Call, status_of
from companion_ws.voice.store import VoiceStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


class PollingAgent:
    """Asks and listens in sessions on behalf of an agent that has no connection."""

    def __init__(self, sessions: Sessions, store: VoiceStore) -> None:
        self._sessions = sessions
        self._store = store
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

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
        ends_s = _now_s() + timeout_ms / 1000
        async with self._one_at_a_time(session_id):
            live = await self._live(session_id)
            joined = None if tool_call_id else _open_like(live, tool_name, parameters)
            if joined is not None and await self._is_stale(live, joined):
                await self._withdraw(session_id, sender, joined)
                joined = None
            if joined is None and tool_call_id not in live.session.calls:
                untold = await self._untold_answer(live, tool_name, parameters)
                if untold is not None:
                    return untold
            if joined is None:
                tool_call_id = tool_call_id or f"call_{uuid.uuid4().hex}"
                call = {
                    "tool_name": tool_name,
                    "tool_call_id": tool_call_id,
                    "parameters": dict(parameters),
                    "timeout_ms": timeout_ms,
                }
                command = {"type": "client_tool_call", "client_tool_call": call}
                await self._sessions.submit(session_id, command, sender)
            else:
                tool_call_id = joined.tool_call_id
        if joined is not None and joined.status == "released":
            return await self._late_answer(live, joined, ends_s)
        return await self._result(session_id, tool_call_id, ends_s + MARGIN_S - _now_s())

    async def news(self, session_id: str, exclude: str | None = None) -> list[dict[str, Any]]:
        """Return what screens did since the last time, oldest first, each once.

        `exclude` leaves out the late answer to that call, because it is told otherwise.
        """
        async with self._one_at_a_time(session_id):
            told = await self._store.told(session_id)
            seq = told
            events: list[dict[str, Any]] = []
            while len(events) < MAX_EVENTS:
                page = await self._sessions.records(session_id, seq, PAGE_RECORDS)
                for record in page:
                    seq = record["seq"]
                    event = event_of(record)
                    if event is not None and (exclude is None or event.get("in_reply_to") != exclude):
                        events.append(event)
                    if len(events) == MAX_EVENTS:
                        break
                if len(page) < PAGE_RECORDS:
                    break
            if seq > told and (events or seq >= told + PAGE_RECORDS):
                await self._store.tell(session_id, seq)
            return events

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

    async def screens(self, session_id: str) -> list[str]:
        """Return what each screen that is here says it shows."""
        live = await self._live(session_id)
        return [screen.screen for screen in live.screens()]

    async def _is_stale(self, live: LiveSession, call: Call) -> bool:
        """Whether it was answered with a pairing code and still nobody is here: ask again."""
        if call.status != "released" or live.screens():
            return False
        answer = await self._result(live.session_id, call.tool_call_id, 0)
        return status_of(answer.result) == "no_screen"

    async def _untold_answer(
        self, live: LiveSession, tool_name: str, parameters: Mapping[str, Any]
    ) -> Answer | None:
        """Return the late answer to this very question that the agent does not know of yet."""
        session_id = live.session_id
        # The session in memory runs ahead of its log: what closed the question must be there.
        await self._sessions.waiting.beyond(session_id, live.session.seq - 1, SETTLE_S)
        told = await self._store.told(session_id)
        for record in await self._sessions.records(session_id, told, PAGE_RECORDS):
            call = live.session.calls.get(record.get("in_reply_to") or "")
            if record["type"] != "user_message" or "result" not in record or call is None:
                continue
            rows = await self._sessions.records(session_id, call.seq - 1, 1)
            asked = rows[0].get("client_tool_call") if rows else None
            if asked and (asked["tool_name"], asked["parameters"]) == (tool_name, dict(parameters)):
                return Answer(call.tool_call_id, record["result"], False)
        return None

    async def _withdraw(self, session_id: str, sender: Sender, call: Call) -> None:
        command = {"type": "client_tool_cancel", "tool_call_id": call.tool_call_id}
        await self._sessions.submit(session_id, command, sender)

    async def _late_answer(self, live: LiveSession, call: Call, ends_s: float) -> Answer:
        """The question is on the screens already: wait for its answer a while longer."""
        session_id, seq = live.session_id, call.seq
        while True:
            told = live.delivered_seq
            for record in await self._sessions.records(session_id, seq, PAGE_RECORDS):
                seq = record["seq"]
                if record["type"] == "user_message" and (
                    record.get("in_reply_to") == call.tool_call_id and "result" in record
                ):
                    return Answer(call.tool_call_id, record["result"], False)
            if _now_s() >= ends_s:
                return await self._result(session_id, call.tool_call_id, 0)
            await self._sessions.waiting.beyond(session_id, told, ends_s - _now_s())

    async def _result(self, session_id: str, tool_call_id: str, timeout_s: float) -> Answer:
        record = await self._sessions.waiting.result(session_id, tool_call_id, timeout_s)
        if record is None:
            return Answer(tool_call_id, '{"status":"no_answer"}', False)
        return Answer(tool_call_id, record["result"], record["is_error"])

    async def _live(self, session_id: str) -> LiveSession:
        live = await self._sessions.open(session_id)
        if live is None:
            raise SessionNotFound
        return live

    @asynccontextmanager
    async def _one_at_a_time(self, session_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        async with lock:
            yield


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
