"""`POST /mcp`: the Model Context Protocol over HTTP, one answer for each request.

Streamable HTTP without its options: no stream that outlives a request, nothing to resume. A
request that names a `progressToken` is answered by a stream that says now and then that it is
waited for, until the answer ends it.
Source: modelcontextprotocol.io, specifications 2024-11-05 to 2026-07-28.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any, Final

from aiohttp import web

from companion_ws.core.errors import CompanionError
from companion_ws.core.protocol import encode, parse
from companion_ws.voice.json_text import UNREAD, NotUnderstood, read_json
from companion_ws.voice.mcp import (
    INVALID_REQUEST,
    OUT_OF_TIME,
    PARSE_ERROR,
    RpcError,
    answer_to,
    error_answer,
    progress,
    session_id_for,
)
from companion_ws.web.agents import long_poll
from companion_ws.web.agents.mcp_caller import McpCaller, McpParts
from companion_ws.web.guard.route import Route

MAX_BATCH: Final = 50
"""Messages of one batch; clients that send batches at all send a handful."""
BATCH_S: Final = long_poll.WAIT_MAX_S
"""How long one request may wait, all its messages together: as long as a single one may."""
WAITING: Final = ("ask", "show", "wait_for_companion")
"""The tools that wait for somebody."""
PROGRESS_S: Final = 5.0
"""How often a waiting request says so; clients that reset their clock by it wait for minutes."""
LOOK_S: Final = 0.5
"""How often it is seen whether there is something new to say."""


class McpRoute:
    """The tools `show ask get_state set_state wait_for_companion`, and tasks, for MCP clients."""

    def __init__(self, parts: McpParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the routes of this file."""
        who = frozenset({"user", "admin", "session"})
        return [
            Route(
                "POST",
                "/mcp",
                who,
                self.take,
                summary="Model Context Protocol, five tools.",
                answer=dict[str, Any],
                refusals=("application/problem+json", "application/json"),
            ),
        ]

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one JSON-RPC message, or a batch of them as old clients send."""
        try:
            message = _parsed(await request.read())
        except RpcError as error:
            return web.json_response(error_answer(error, None), status=error.http_status)
        if isinstance(message, list) and len(message) > MAX_BATCH:
            refusal = RpcError(INVALID_REQUEST, f"A batch has at most {MAX_BATCH} messages.", 400)
            return web.json_response(error_answer(refusal, None), status=400)
        if isinstance(message, list) and message:
            answers = []
            ends_s = asyncio.get_running_loop().time() + BATCH_S
            for one in message:
                answers.append(await self._answer_by(ends_s, request, one))
            told = [body for body, _ in answers if body is not None]
            return web.json_response(told) if told else web.Response(status=202)
        caller = McpCaller(self._parts, request)
        token = _progress_token(message)
        if token is not None and "text/event-stream" in request.headers.get("Accept", ""):
            return await self._stream(request, message, caller, token)
        body, status = await self._answer(request, message, caller)
        if body is None:
            return web.Response(status=202)
        remembered = session_id_for(message)
        headers = {"Mcp-Session-Id": f"{remembered}.{uuid.uuid4().hex}"} if remembered else None
        return web.json_response(body, status=status, headers=headers)

    async def _answer_by(
        self, ends_s: float, request: web.Request, message: Any
    ) -> tuple[dict[str, Any] | None, int]:
        """Answer one message of a batch, which has until `ends_s` for all of them."""
        try:
            async with asyncio.timeout_at(ends_s):
                return await self._answer(request, message, McpCaller(self._parts, request))
        except TimeoutError:
            said = f"This batch has taken its {BATCH_S:g} s; send what is left in another."
            request_id = message.get("id") if isinstance(message, dict) else None
            return error_answer(RpcError(OUT_OF_TIME, said), request_id), 200

    async def _answer(
        self, request: web.Request, message: Any, caller: McpCaller
    ) -> tuple[dict[str, Any] | None, int]:
        try:
            return await answer_to(message, request.headers, caller), 200
        except RpcError as error:
            request_id = message.get("id") if isinstance(message, dict) else None
            return error_answer(error, request_id), error.http_status

    async def _stream(
        self, request: web.Request, message: Any, caller: McpCaller, token: str | int
    ) -> web.StreamResponse:
        """Answer by a stream: what the request waits for, as long as it does, then the answer."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        answering = asyncio.create_task(self._answer(request, message, caller))
        try:
            await asyncio.wait({answering}, timeout=LOOK_S)
            if answering.done():
                body, status = answering.result()
                return web.json_response(body, status=status)
            await response.prepare(request)
            began_s = asyncio.get_running_loop().time()
            said, said_s = "", began_s - PROGRESS_S
            while not answering.done():
                words, now_s = await caller.words(), asyncio.get_running_loop().time()
                if words and (words != said or now_s - said_s >= PROGRESS_S):
                    said, said_s = words, now_s
                    seconds = round(now_s - began_s + LOOK_S, 3)
                    await response.write(_event(progress(token, seconds, words)))
                if long_poll.is_gone(request):
                    return response
                await asyncio.wait({answering}, timeout=LOOK_S)
            body, _ = answering.result()
            await response.write(_event(body))
        finally:
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering
        return response


def _progress_token(message: Any) -> str | int | None:
    """Return what a call that may wait wants its progress told by, None where it does not ask."""
    params = message.get("params") if isinstance(message, dict) else None
    if not isinstance(params, dict) or not isinstance(params.get("_meta"), dict):
        return None
    if message.get("method") != "tools/call" or "id" not in message:
        return None
    token = params["_meta"].get("progressToken")
    is_token = isinstance(token, str | int) and not isinstance(token, bool)
    return token if is_token and params.get("name") in WAITING else None


def _event(message: Any) -> bytes:
    return b"event: message\ndata: " + encode(message) + b"\n\n"


def _parsed(raw: bytes) -> Any:
    try:
        return parse(raw)
    except CompanionError as error:
        # Half characters and endless numbers are a model's; its client would hide the refusal.
        with contextlib.suppress(NotUnderstood, UnicodeDecodeError):
            value = read_json(raw.decode())
            if value is not UNREAD:
                return value
        raise RpcError(PARSE_ERROR, error.message, 400) from error
