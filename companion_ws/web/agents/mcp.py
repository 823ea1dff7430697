"""`POST /mcp`: an agent that speaks MCP and its session; one message in, one answer out.

Streamable HTTP without its options: no stream, no MCP session, nothing to resume.
Source: modelcontextprotocol.io, specifications 2024-11-05 to 2026-07-28.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Final

from aiohttp import web

from companion_ws.access.limits import Rates
from companion_ws.access.tokens import Claims
from companion_ws.core.companion_tools import SHOW
from companion_ws.core.errors import CompanionError, SessionNotFound
from companion_ws.core.protocol import encode, parse
from companion_ws.core.session import Sender
from companion_ws.sessions.sessions import Sessions
from companion_ws.voice.json_text import UNREAD, NotUnderstood, mended, read_json
from companion_ws.voice.mcp import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    NO_SESSION,
    OUT_OF_TIME,
    PARSE_ERROR,
    RpcError,
    answer_to,
    error_answer,
    question,
    tool_result,
)
from companion_ws.voice.parameters import patience_ms, understood
from companion_ws.voice.polling import PollingAgent
from companion_ws.voice.wording import refused_result
from companion_ws.web.agents import long_poll
from companion_ws.web.guard import permissions
from companion_ws.web.guard.middleware import CLAIMS
from companion_ws.web.guard.route import Route

ASK_TIMEOUT_MS: Final = 25_000
"""Below the 30 s ElevenLabs gives an MCP tool."""
MAX_BATCH: Final = 50
"""Messages of one batch; clients that send batches at all send a handful."""
BATCH_S: Final = long_poll.WAIT_MAX_S
"""How long one request may wait, all its messages together: as long as a single one may."""
META_SESSION: Final = "companion/session_id"


class McpRoute:
    """The tools `show ask get_state set_state wait_for_companion` for MCP clients."""

    def __init__(self, sessions: Sessions, polling: PollingAgent, rates: Rates) -> None:
        self._rates = rates
        self._sessions = sessions
        self._polling = polling

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

    async def take(self, request: web.Request) -> web.Response:
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
        body, status = await self._answer(request, message)
        return web.Response(status=202) if body is None else web.json_response(body, status=status)

    async def _answer_by(
        self, ends_s: float, request: web.Request, message: Any
    ) -> tuple[dict[str, Any] | None, int]:
        """Answer one message of a batch, which has until `ends_s` for all of them."""
        try:
            async with asyncio.timeout_at(ends_s):
                return await self._answer(request, message)
        except TimeoutError:
            said = f"This batch has taken its {BATCH_S:g} s; send what is left in another."
            request_id = message.get("id") if isinstance(message, dict) else None
            return error_answer(RpcError(OUT_OF_TIME, said), request_id), 200

    async def _answer(
        self, request: web.Request, message: Any
    ) -> tuple[dict[str, Any] | None, int]:
        async def call_tool(
            name: str, arguments: dict[str, Any], meta: dict[str, Any]
        ) -> dict[str, Any]:
            session_id = await self._session_id(request, meta)
            return await self._call(request, session_id, name, arguments)

        try:
            return await answer_to(message, request.headers, call_tool), 200
        except RpcError as error:
            request_id = message.get("id") if isinstance(message, dict) else None
            return error_answer(error, request_id), error.http_status

    async def _session_id(self, request: web.Request, meta: dict[str, Any]) -> str:
        """Return the session a call is about. Raises `RpcError`, the same for unknown and foreign."""
        claims: Claims = request[CLAIMS]
        named = request.headers.get("X-Companion-Session") or meta.get(META_SESSION)
        if claims.kind != "session" and (not isinstance(named, str) or not named):
            raise RpcError(
                INVALID_PARAMS,
                f"Name the session: header X-Companion-Session or _meta[{META_SESSION!r}].",
            )
        try:
            return await permissions.agents_session(self._sessions, claims, named)
        except CompanionError as error:
            raise RpcError(NO_SESSION, error.message, error.http_status) from error

    async def _call(
        self, request: web.Request, session_id: str, name: str, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        claims: Claims = request[CLAIMS]
        sender = Sender("agent", claims.user, token=claims.ref)
        try:
            self._rates.check(claims.id, session_id)
            if name == "wait_for_companion":
                value, events = await long_poll.wait(
                    self._polling, request, session_id, arguments
                )
                is_error = False
            else:
                value, is_error, call_id = await self._do(session_id, sender, name, arguments)
                events = await self._polling.news(session_id, exclude=call_id)
            screens = await self._polling.screens(session_id)
        except NotUnderstood as why:
            live = await self._sessions.live(session_id)
            language = live.session.language if live is not None else None
            value, is_error = json.loads(refused_result(language, str(why))), False
            events, screens = [], []
        except SessionNotFound as error:
            raise RpcError(NO_SESSION, error.message, error.http_status) from error
        except CompanionError as error:
            # Details may hold stored JSON text, which only our own encoder can write.
            refused = encode({"code": error.code, "message": error.message, **error.details})
            return tool_result({"error": parse(refused)}, is_error=True)
        told = {"result": value, "companion": {"events": events, "screens": screens}}
        return tool_result(told, is_error)

    async def _do(
        self, session_id: str, sender: Sender, name: str, arguments: dict[str, Any]
    ) -> tuple[Any, bool, str | None]:
        """Return the value, whether it is an error, and the call it was an answer to."""
        match name:
            case "get_state":
                key = arguments.get("key")
                return await self._sessions.get_session_state(session_id, key), False, None
            case "set_state":
                command = {**_only_state(arguments), "type": "state_update"}
                record = await self._sessions.submit(session_id, command, sender)
                return {"revision": record["revision"]}, False, None
            case "show":
                tool_name, parameters = SHOW.name, understood(SHOW.name, arguments)
            case _:
                tool_name, parameters = question(arguments)
        timeout_ms = patience_ms(tool_name, ASK_TIMEOUT_MS)
        answer = await self._polling.ask(
            session_id, sender, tool_name, parameters, timeout_ms=timeout_ms
        )
        return _value(answer.result), answer.is_error, answer.tool_call_id


def _only_state(arguments: dict[str, Any]) -> dict[str, Any]:
    if "key" not in arguments or "value" not in arguments:
        raise RpcError(INVALID_PARAMS, "`set_state` needs `key` and `value`.")
    wanted = ("key", "value", "if_revision")
    return {name: mended(arguments[name]) for name in wanted if name in arguments}


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


def _value(result: str) -> Any:
    try:
        return json.loads(result)
    except ValueError:
        return result
