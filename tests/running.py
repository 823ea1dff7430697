"""A real server on a real socket, and what stands outside of it: sockets and HTTP requests."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import aiohttp
from postgres_server import place

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.testing.server import CompanionServer

WAIT_S = 20.0
"""Longer than anything a test waits for that happens at all."""

Message = dict[str, Any]


class Closed(Exception):
    """The server closed the socket; `code` and `reason` are its own words."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"closed with {code}: {reason}")
        self.code, self.reason = code, reason


def free_port() -> int:
    """A port that a server can have again after it was killed."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Socket:
    """One WebSocket of a test; everything it was told stays in `heard`."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.heard: list[Message] = []
        self.joined: Message = {}
        self._numbers = itertools.count(1)
        self._closed: Closed | None = None

    @property
    def session_id(self) -> str:
        return str(self.joined["session_id"])

    @property
    def connection_id(self) -> str:
        return str(self.joined["connection_id"])

    async def send(self, type_: str, **fields: Any) -> None:
        """Send a message and wait for nothing."""
        await self.ws.send_str(json.dumps({"type": type_, **fields}))

    async def next(self, timeout_s: float = WAIT_S) -> Message:
        """Return the next message. Raises `Closed` where the socket was closed instead."""
        if self._closed is not None:
            raise self._closed
        async with asyncio.timeout(timeout_s):
            frame = await self.ws.receive()
        if frame.type is aiohttp.WSMsgType.TEXT:
            message: Message = json.loads(frame.data)
            self.heard.append(message)
            return message
        code = frame.data if frame.type is aiohttp.WSMsgType.CLOSE else self.ws.close_code
        self._closed = Closed(code, frame.extra or "")
        raise self._closed

    async def next_of(self, *types: str, timeout_s: float = WAIT_S, **fields: Any) -> Message:
        """Return the next message of these types that has these fields, passing over others."""
        async with asyncio.timeout(timeout_s):
            while True:
                message = await self.next(timeout_s)
                if message["type"] in types and fields.items() <= message.items():
                    return message

    async def say(self, type_: str, **fields: Any) -> Message:
        """Send a command; return its record, answer or error, known by its requestId."""
        request_id = fields.setdefault("requestId", f"{id(self)}-{next(self._numbers)}")
        await self.send(type_, **fields)
        while True:
            message = await self.next()
            if message.get("requestId") == request_id:
                return message

    async def refused(self, type_: str, **fields: Any) -> str:
        """Send a command and return the code it was refused with."""
        answer = await self.say(type_, **fields)
        assert answer["type"] == "error", answer
        assert answer["message"], "a sentence a developer can act on"
        return str(answer["code"])

    async def call(
        self, tool_call_id: str, tool_name: str = "companion_choose", **fields: Any
    ) -> Message:
        """Call a tool, return the call's record."""
        call = {"tool_name": tool_name, "tool_call_id": tool_call_id, "parameters": {}, **fields}
        return await self.say("client_tool_call", client_tool_call=call)

    async def result(self, tool_call_id: str) -> Message:
        """Return the result of a call once it comes, its text read as JSON under `said`."""
        message = await self.next_of("client_tool_result", tool_call_id=tool_call_id)
        assert isinstance(message["result"], str)
        return {**message, "said": json.loads(message["result"])}

    async def quiet(self) -> list[Message]:
        """Return what comes before a snapshot asked for now: all the server had to say."""
        before = len(self.heard)
        request_id = f"{id(self)}-{next(self._numbers)}"
        await self.send("state_get", key="-", requestId=request_id)
        await self.next_of("state_snapshot", requestId=request_id)
        return self.heard[before:-1]

    async def close_code(self) -> int | None:
        """Read to the end and return the code the server closed with."""
        return (await self.end()).code

    async def end(self) -> Closed:
        """Read to the end and return the server's last words."""
        try:
            while True:
                await self.next()
        except Closed as closed:
            return closed

    async def leave(self) -> None:
        """Close as a tab does."""
        await self.ws.close()

    def vanish(self) -> None:
        """Break off without a close frame, as a phone in a tunnel does."""
        transport = self.ws._response.connection
        assert transport is not None
        assert transport.transport is not None
        transport.transport.abort()


@dataclass(frozen=True, slots=True)
class Answer:
    """What HTTP answered; `body` is JSON read, or None where there is none."""

    status: int
    headers: Any
    body: Any

    @property
    def code(self) -> str:
        """Of a problem."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self
        assert self.body["status"] == self.status
        assert "instance" not in self.body
        return str(self.body["code"])


class Running(CompanionServer):
    """A server with settings of its own; it may be stopped and started on the same data."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        where = place(self.config.database_path)
        if isinstance(where, str) and self.config.database is None:
            self.config = replace(self.config, database=where)
        self._sockets: list[Socket] = []
        self._responses: WeakSet[aiohttp.ClientResponse] = WeakSet()

    async def __aenter__(self) -> Self:
        noting = aiohttp.TraceConfig()
        noting.on_request_end.append(self._note)
        self.http_session = aiohttp.ClientSession(trace_configs=[noting])
        await super().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.gather(*(socket.leave() for socket in self._sockets))
        # What was not read to its end would be found unclosed in whichever test comes later.
        for response in list(self._responses):
            response.close()
        await self.http_session.close()
        await super().__aexit__(kind, error, traceback)

    async def _note(self, session: Any, context: Any, ended: aiohttp.TraceRequestEndParams) -> None:
        self._responses.add(ended.response)

    async def halt(self) -> None:
        """Stop while every socket reads on, as browsers do by themselves."""
        async with asyncio.TaskGroup() as reading:
            for socket in self._sockets:
                reading.create_task(socket.end())
            await self.stop()
        self._sockets.clear()

    async def restart(self, **changes: Any) -> None:
        """Stop and start again with the same data, and these settings changed."""
        await self.halt()
        self.config = replace(self.config, **changes)
        await self.start()

    def made(
        self, kind: Any = "user", user: str = "alice", ttl_s: float = 3600, **more: Any
    ) -> str:
        """Return a signed token of any kind."""
        keys = Keys.load(self.config.data, self.config.secret_key)
        return Tokens(keys).issue(kind, user, ttl_s, **more)[0]

    async def socket(
        self,
        token: str | None = "",
        *,
        protocols: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
        path: str = "/ws",
        query: list[tuple[str, str]] | None = None,
        **params: Any,
    ) -> Socket:
        """Open a socket; nothing is read. An empty token means alice's, None none at all."""
        pairs = [(name, str(value)) for name, value in params.items() if value is not None]
        if token is not None:
            pairs.append(("token", token or self.token()))
        ws = await self.http_session.ws_connect(
            f"{self.url}{path}",
            params=[*pairs, *(query or [])],
            protocols=protocols,
            headers=headers or {},
            max_msg_size=0,
            autoclose=True,
        )
        socket = Socket(ws)
        self._sockets.append(socket)
        return socket

    async def join(self, token: str | None = "", **params: Any) -> Socket:
        """Join, and return the socket once `session_joined` came."""
        socket = await self.socket(token, **params)
        socket.joined = await socket.next()
        assert socket.joined["type"] == "session_joined", socket.joined
        return socket

    async def refusal(self, token: str | None = "", **params: Any) -> Closed:
        """Try to join, and return the words it was refused with."""
        socket = await self.socket(token, **params)
        closed = await socket.end()
        assert socket.heard == [], "nothing is told to who may not join"
        assert closed.reason, "a browser sees why"
        return closed

    async def pair_of(self, **ui: Any) -> tuple[Socket, Socket]:
        """Return an agent and a screen in a new session of alice's."""
        agent = await self.join()
        screen = await self.join(session_id=agent.session_id, role="ui", **ui)
        await agent.next_of("presence", event="joined")
        return agent, screen

    async def http(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answer:
        """Ask over HTTP; an empty token means alice's, None none at all."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.token()}"
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        async with (
            asyncio.timeout(WAIT_S),
            self.http_session.request(
                method, f"{self.url}{path}", data=data, headers=sent, allow_redirects=False
            ) as response,
        ):
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(
                response.status, response.headers, json.loads(text) if is_json and text else None
            )

    async def new_session(self, token: str | None = "", **body: Any) -> str:
        """Make a session over HTTP and return its id."""
        answer = await self.http("POST", "/sessions", body, token=token)
        assert answer.status == 201, answer
        return str(answer.body["session_id"])
