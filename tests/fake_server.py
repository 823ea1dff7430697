"""The other end of a client under test: a small session server that misbehaves on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

Message = dict[str, Any]


class FakeServer:
    """Keeps one session's log in memory and breaks connections when told to.

    `on_command` may return True to swallow a command, or call `drop` to break off.
    """

    def __init__(self) -> None:
        self.log: list[Message] = []
        self.by_request: dict[str, Message] = {}
        self.received: list[Message] = []
        self.joins: list[dict[str, str]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.on_command: Callable[[Message, web.WebSocketResponse], bool] = lambda *_: False
        self.on_join: Callable[[dict[str, str]], int | None] = lambda _: None
        self.joined_extra: Message = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.session_id = "3f0e0a52-5a0b-4b3f-9df9-57cf4a0f4a11"
        self.app = web.Application()
        self.app.router.add_get("/ws", self._serve)
        self.app.router.add_get("/sessions/{id}/records", self._records)
        self.app.router.add_post("/sessions/{id}/pairings", self._pairing)

    async def drop(self, code: int = 1012) -> None:
        """Close every socket with `code`."""
        for ws in self.sockets:
            await ws.close(code=code)

    def cut(self) -> None:
        """Break every connection without a word, as `kill -9` does."""
        for ws in self.sockets:
            if ws._req is not None and ws._req.transport is not None:
                ws._req.transport.abort()

    def soon(self, sending: Coroutine[Any, Any, Any]) -> None:
        """Send once the command that is being looked at is done with."""
        task = asyncio.get_running_loop().create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def append(self, record: Message) -> Message:
        record = {**record, "seq": len(self.log) + 1, "session_id": self.session_id}
        self.log.append(record)
        return record

    async def tell(self, message: Message) -> None:
        for ws in list(self.sockets):
            with suppress(ConnectionResetError):
                await ws.send_json(message)

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        query = dict(request.query)
        self.joins.append({**query, "token": _token_of(request)})
        ws = web.WebSocketResponse(protocols=("companion.v1",))
        await ws.prepare(request)
        code = self.on_join(query)
        if code is not None:
            await ws.close(code=code)
            return ws
        await ws.send_json(self._joined(query))
        if "after" in query:
            for record in self.log[int(query["after"]) :]:
                await ws.send_json(record)
        self.sockets.append(ws)
        try:
            async for frame in ws:
                if frame.type is WSMsgType.TEXT:
                    await self._take(json.loads(frame.data), ws)
        finally:
            self.sockets.remove(ws)
        return ws

    def _joined(self, query: dict[str, str]) -> Message:
        return {
            "type": "session_joined",
            "session_id": self.session_id,
            "created": "session_id" not in query,
            "reason": None,
            "epoch": "e1",
            "seq": len(self.log),
            "first_seq": 1 if self.log else None,
            "recovery": "replay" if "after" in query else "none",
            "state": {},
            "presence": [],
            **self.joined_extra,
        }

    async def _take(self, message: Message, ws: web.WebSocketResponse) -> None:
        if message["type"] == "ping":
            await ws.send_json({"type": "pong", "requestId": message.get("requestId")})
            return
        self.received.append(message)
        if self.on_command(message, ws):
            await asyncio.sleep(0)
            return
        known = self.by_request.get(message["requestId"])
        if known is not None:
            with suppress(ConnectionResetError):
                await ws.send_json({**known, "duplicate": True})
            return
        record = self.append(message)
        self.by_request[message["requestId"]] = record
        await self.tell(record)

    async def _records(self, request: web.Request) -> web.Response:
        after, limit = int(request.query["after"]), int(request.query["limit"])
        return web.json_response({"records": self.log[after : after + limit], "first_seq": 1})

    async def _pairing(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "pairing_id": "p",
                "url": "http://here/p#ticket",
                "url_expires_at": 2,
                "code": "123456789",
                "code_expires_at": 3,
                "code_url": "http://here/c",
                "later": "fields are ignored",
            },
            status=201,
        )


def _token_of(request: web.Request) -> str:
    """Programs send it in a header, browsers as a subprotocol."""
    header = request.headers.get("Authorization")
    return header[7:] if header else request.headers["Sec-WebSocket-Protocol"].split("bearer.")[1]
