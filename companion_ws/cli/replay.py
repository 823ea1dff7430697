"""Plays a session's records again, so that a call that failed becomes a test."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import Fingerprint

from companion_ws.client import CompanionClient
from companion_ws.core.commands import COMMANDS, RECORDS
from companion_ws.core.errors import CompanionError, ToolClosed

RESULT_WAIT_S: Final = 130.0
"""A server tool has 120 s at most."""

Record = dict[str, Any]

_OTHERWISE: Final = {
    "client_tool_call", "client_tool_result", "conversation_initiation_metadata",
}  # fmt: skip
_KEEPS: Final = {
    name: kind.__struct_fields__
    for name, kind in COMMANDS.items()
    if name in RECORDS and name not in _OTHERWISE
}
"""What of a record was its command. The conversation's id is not bound a second time."""


class Replay:
    """An agent and a screen that do what others did before them.

    What the server did by itself it does again: server tools run, deadlines pass. Where
    a server tool answers otherwise than it did, `differences` holds
    `(tool, result before, result now)`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        session_id: str | None = None,
        *,
        ssl: SSLContext | Fingerprint | None = None,
    ) -> None:
        self.differences: list[tuple[str, str, str]] = []
        self._url = url
        self._token = token
        self._ssl = ssl
        self._asked_session_id = session_id
        self._run = uuid.uuid4().hex[:8]
        self._stack = AsyncExitStack()
        self._results: dict[str, asyncio.Task[Record]] = {}
        self._asked: dict[str, Record] = {}
        self._ran: set[str] = set()

    async def __aenter__(self) -> Self:
        self._agent = await self._member("agent", self._asked_session_id)
        self._screen = await self._member("ui", self._agent.session_id)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._results.values():
            task.cancel()
        await self._stack.aclose()

    @property
    def session_id(self) -> str:
        """The session it is played in."""
        return self._agent.session_id

    async def play(
        self, records: list[Record], speed: float, told: Callable[[int], None] = lambda done: None
    ) -> AsyncIterator[Record]:
        """Play the records in order, `speed` times as fast (0: without a pause); yield each.

        `told` hears how many are done.
        """
        self._ran = {
            record["client_tool_call"]["tool_call_id"]
            for record in records
            if record["type"] == "client_tool_call" and record.get("handled_by") == "server"
        }
        before_ms = None
        for done, record in enumerate(records, 1):
            at_ms = record.get("timestamp")
            if speed and before_ms is not None and at_ms is not None:
                await asyncio.sleep(max(0, at_ms - before_ms) / 1000 / speed)
            before_ms = at_ms if at_ms is not None else before_ms
            played = await self._play(record)
            told(done)
            if played is not None:
                yield played

    async def _member(self, role: Any, session_id: str | None) -> CompanionClient:
        client = CompanionClient(
            self._url,
            token=self._token,
            session_id=session_id,
            role=role,
            device="replay",
            ssl=self._ssl,
        )
        return await self._stack.enter_async_context(client)

    async def _play(self, record: Record) -> Record | None:
        kind = record["type"]
        if kind == "client_tool_call":
            return self._call(record["client_tool_call"])
        if kind == "client_tool_result" or (
            kind == "user_message" and "result" in record and not record.get("is_change")
        ):
            return await self._result(record)
        if record.get("sender", {}).get("role") == "server" and self._ran:
            return None  # a server tool says it again
        command = _command(record)
        if command is None:
            return None
        for name in ("tool_call_id", "in_reply_to"):
            if name in command:
                command[name] = self._id(command[name])
        try:
            return await self._member_of(record).send(command)
        except CompanionError as error:
            return {"type": "error", "of": kind, "code": error.code, "message": error.message}

    def _call(self, asked: Record) -> Record:
        call_id = self._id(asked["tool_call_id"])
        self._asked[asked["tool_call_id"]] = asked
        waiting = self._agent.call(asked["tool_name"], asked["parameters"], tool_call_id=call_id)
        if asked.get("expects_response", True):
            self._results[call_id] = asyncio.create_task(waiting)
            return {
                "type": "client_tool_call",
                "client_tool_call": {**asked, "tool_call_id": call_id},
            }
        waiting.close()
        command = {
            "type": "client_tool_call",
            "client_tool_call": {**asked, "tool_call_id": call_id},
        }
        self._results[call_id] = asyncio.create_task(self._send(command))
        return command

    async def _send(self, command: Record) -> Record:
        return await self._agent.send(command) or {}

    async def _result(self, record: Record) -> Record | None:
        old_id = record.get("in_reply_to") or record["tool_call_id"]
        call_id = self._id(old_id)
        if record.get("answered_by", "ui") == "ui":
            await self._known(call_id)
            try:
                is_error = bool(record.get("is_error"))
                return await self._screen.answer_tool(call_id, record["result"], is_error)
            except ToolClosed as closed:
                return {"type": "error", "of": "client_tool_result", "message": closed.message}
        if old_id in self._ran and call_id in self._results:
            async with asyncio.timeout(RESULT_WAIT_S):
                now = await self._results[call_id]
            if now["result"] != record["result"]:
                name = self._asked[old_id]["tool_name"]
                self.differences.append((name, record["result"], now["result"]))
            return now
        return None  # the server says so again when it is time

    async def _known(self, call_id: str) -> None:
        """Wait until the screen has seen the question it answers."""
        async for seen in self._screen.records():
            asked = seen.get("client_tool_call")
            if isinstance(asked, dict) and asked["tool_call_id"] == call_id:
                return

    def _member_of(self, record: Record) -> CompanionClient:
        return self._screen if record.get("sender", {}).get("role") == "ui" else self._agent

    def _id(self, call_id: str) -> str:
        """A call stays one call; played again it is another."""
        return f"{call_id[:240]}~{self._run}"


def _command(record: Record) -> Record | None:
    kind = record["type"]
    if kind == "state_updated":
        return {"type": "state_update", "key": record["key"], "value": record["value"]}
    if kind == "state_deleted":
        return {"type": "state_delete", "key": record["key"]}
    if kind not in _KEEPS:
        return None
    fields = {name: record[name] for name in _KEEPS[kind] if record.get(name) is not None}
    return {"type": kind, **fields}
