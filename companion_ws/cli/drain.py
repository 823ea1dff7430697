"""How `connect` ends: with a last question, when everything asked before it has its answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import aiohttp

from companion_ws.core import commands, protocol
from companion_ws.core.errors import CompanionError

SETTLE_S: Final = 10.0
"""How long a server may be silent before it has answered everything."""
REPEAT_S: Final = 1.0
"""How long the answers to repeats may take, which are read from the log beside the others."""


class Drain:
    """Knows what was sent and what of it is answered; leaves when that is all.

    `is_ours`: we have left. `complaint`: what stayed without its answer, None where nothing did.
    """

    REQUEST_ID: Final = f"connect-{os.getpid()}-end"

    def __init__(self) -> None:
        self.is_ours = False
        self.complaint: str | None = None
        self._is_answered = False
        self._history_until = 0
        self._seq = 0
        self._unanswered: set[str] = set()
        self._calls: dict[str, float | None] = {}
        """Tool calls without a result, and until when there is one (in the loop's time)."""
        self._news = asyncio.Event()

    def sends(self, line: str) -> None:
        """Take note of what is sent: what will have an answer, and what a result, too."""
        with suppress(CompanionError):
            message = protocol.parse(line)
            request_id = protocol.request_id_of(message)
            if request_id is not None:
                self._unanswered.add(request_id)
            command, _ = protocol.decode(message)
            if isinstance(command, commands.ClientToolCall):
                call = command.client_tool_call
                if call.expects_response:
                    self._calls[call.tool_call_id] = None

    def hears(self, message: dict[str, Any]) -> bool:
        """Take note of a message; True for the answer to the last question, which is ours alone."""
        kind = message.get("type")
        if kind == "session_joined":
            # A replay is sent beside the answers: what was asked for comes whole.
            is_replay = message.get("recovery") == "replay"
            self._history_until = message["seq"] if is_replay else 0
        elif "seq" in message and "duplicate" not in message:
            self._seq = message["seq"]
        if kind == "client_tool_call":
            self._is_called(message)
        elif kind == "client_tool_result":
            self._calls.pop(message.get("tool_call_id", ""), None)
        request_id = message.get("requestId")
        is_last = request_id == self.REQUEST_ID
        self._is_answered = self._is_answered or is_last
        self._unanswered.discard(request_id or "")
        self._news.set()
        return is_last

    def now(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Leave without waiting."""
        self.is_ours = True
        self._closing = asyncio.ensure_future(ws.close())

    async def after_answers(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Leave once the server has answered what was sent, calls of tools with their results."""
        await ws.send_json({"type": "state_get", "requestId": self.REQUEST_ID})
        await self._settle()
        # What the server only passes on has no answer: this is for repeats alone.
        await self._until(
            lambda: not self._unanswered and None not in self._calls.values(), REPEAT_S
        )
        await self._results()
        if not ws.closed:
            self.is_ours = True
            await ws.close()

    def _is_called(self, record: dict[str, Any]) -> None:
        call_id = record.get("client_tool_call", {}).get("tool_call_id")
        if call_id not in self._calls:
            return
        if record.get("deadline_at") is None:
            del self._calls[call_id]
            return
        wait_s = (record["deadline_at"] - record["timestamp"]) / 1000
        self._calls[call_id] = asyncio.get_running_loop().time() + wait_s + SETTLE_S

    async def _settle(self) -> None:
        """Wait for the answer to the last question, and for what is still sent of the history."""
        while not (self._is_answered and self._seq >= self._history_until):
            self._news.clear()
            try:
                async with asyncio.timeout(SETTLE_S):
                    await self._news.wait()
            except TimeoutError:
                self.complaint = f"the server has not answered within {SETTLE_S:.0f} s"
                return

    async def _results(self) -> None:
        """Wait for the results of those calls that were made; refused ones have none."""
        made = [until_s for until_s in self._calls.values() if until_s is not None]
        self._calls = {
            call: until_s for call, until_s in self._calls.items() if until_s is not None
        }
        if made:
            left_s = max(made) - asyncio.get_running_loop().time()
            if not await self._until(lambda: not self._calls, left_s):
                self.complaint = f"no result came of {', '.join(self._calls)}"

    async def _until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `holds()`, asked after every message; False where it never did."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        return holds()
