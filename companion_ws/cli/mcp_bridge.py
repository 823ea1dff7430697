"""Messages of a host on stdin, answered by `POST /mcp`; with the way to the screen where nobody is.

A host that starts a program shows its user nothing of ours but answers. So an answer that says
that nobody is at a screen carries a link and a QR code. Server and bridge may each go
away: a request whose server is gone is sent again once there is one, and what it asks is stored.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import structlog

from companion_ws import qr
from companion_ws.addresses import is_loopback
from companion_ws.cli.mcp_home import Home
from companion_ws.cli.terminal import grouped
from companion_ws.control import Reached
from companion_ws.core.errors import CompanionError
from companion_ws.core.text import label
from companion_ws.data_folder import DataInUse, StartRefused
from companion_ws.voice.mcp import (
    CAPABILITIES_KEY,
    HANDSHAKE,
    INTERNAL_ERROR,
    META_REQUEST,
    META_SESSION,
    MODERN,
    NO_SESSION,
    RpcError,
    error_answer,
    headers_of,
)

TOKEN_S: Final = 3600.0
"""A token is made for each request, and no request lives longer."""
LINK_S: Final = 900
"""As long as a link that is sent may live."""
UNTITLED: Final = "MCP"
WITH_LINKS: Final = (MODERN, *HANDSHAKE[:2])
"""The versions that know links among what a tool answers."""

Message = dict[str, Any]

log = structlog.get_logger(__name__)


class _ServerGone(Exception):
    """The server went away before it had answered."""


class McpBridge:
    """Takes the host's messages and writes the answers, each when it is there."""

    def __init__(
        self,
        home: Home,
        http: aiohttp.ClientSession,
        write: Callable[[bytes], None],
        session_name: str | None,
    ) -> None:
        self._home = home
        self._http = http
        self._write = write
        self._name = label(session_name) if session_name else None
        self._session_id: str | None = None
        self._opening = asyncio.Lock()
        self._title = UNTITLED
        self._version = ""
        self._remembered: dict[str, str] = {}
        self._asked: dict[Any, asyncio.Task[None]] = {}
        self._has_shown_way = False
        """Whether the host has been given the way to the screen, or somebody was there."""

    def take(self, line: bytes) -> None:
        """Begin to answer a line; one that wants no answer is done with at once."""
        if not line.strip():
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict) and "id" not in message:
            self._notice(message)
            return
        key = _key(message) or uuid.uuid4().hex
        task = asyncio.create_task(self._answer(line, message), name="answer")
        self._asked[key] = task
        task.add_done_callback(lambda done: self._forget(key, done))

    async def end(self, patience_s: float) -> None:
        """Let what was asked end within `patience_s`, and give up the rest."""
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=patience_s)
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _notice(self, message: Message) -> None:
        if message.get("method") == "notifications/cancelled":
            params = message.get("params")
            cancelled = params.get("requestId") if isinstance(params, dict) else None
            task = self._asked.get(_key({"id": cancelled}))
            if task is not None:
                task.cancel()

    def _forget(self, key: Any, task: asyncio.Task[None]) -> None:
        if self._asked.get(key) is task:
            del self._asked[key]

    async def _answer(self, line: bytes, message: Any) -> None:
        request_id = message.get("id") if isinstance(message, dict) else None
        try:
            await self._sent(line, message)
        except (StartRefused, DataInUse) as error:
            self._say(error_answer(RpcError(INTERNAL_ERROR, str(error)), request_id))
        except CompanionError as error:
            self._say(error_answer(RpcError(INTERNAL_ERROR, error.message), request_id))
        except Exception:
            # The outermost edge of a message: a host that gets no answer waits without an end.
            log.exception("answer_failed")
            said = "Something went wrong here; stderr says what."
            self._say(error_answer(RpcError(INTERNAL_ERROR, said), request_id))

    async def _sent(self, line: bytes, message: Any) -> None:
        """Send a message until a server has answered it; say what it answers."""
        self._learn(message)
        if isinstance(message, dict) and message.get("method") == "tools/call":
            # Sent again, it is the same call.
            message = _numbered(message)
            if not self._has_shown_way:
                # A host that opens links would be shown one by itself, and no picture to scan.
                message = _without_links(message)
            line = json.dumps(message).encode()
        while True:
            reached = await self._home.reached()
            try:
                headers = await self._headers(reached, message)
                if await self._relayed(reached, line, message, headers):
                    return
            except _ServerGone:
                self._home.lost(reached)

    async def _relayed(
        self, reached: Reached, line: bytes, message: Any, headers: dict[str, str]
    ) -> bool:
        """Say what the server answers; False where the session is over and another one begins."""
        session_id = headers.get("X-Companion-Session")
        async with aclosing(self._posted(reached, line, headers)) as answers:
            async for answer in answers:
                if session_id is not None and _error_code(answer) == NO_SESSION:
                    if self._session_id == session_id:
                        self._session_id = None
                    return False
                self._say(await self._told(reached, message, answer))
        return True

    async def _posted(
        self, reached: Reached, line: bytes, headers: dict[str, str]
    ) -> AsyncGenerator[Message]:
        """Yield what the server says to a message: notifications, and the answer at last."""
        given = {
            "Authorization": f"Bearer {reached.token('user', ttl_s=TOKEN_S)}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **headers,
        }
        try:
            async with self._http.post(
                f"{reached.url}/mcp", data=line, headers=given, ssl=reached.ssl
            ) as response:
                self._keep(response)
                if response.content_type == "text/event-stream":
                    unread = b""
                    async for part in response.content.iter_any():
                        *events, unread = (unread + part).split(b"\n\n")
                        for event in events:
                            yield json.loads(event.split(b"data: ", 1)[1])
                    return
                text = await response.text()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise _ServerGone from error
        if response.status == 202:
            return
        if response.status == 401:
            self._home.lost(reached)  # Its key has changed; the next request reads it.
        answer = json.loads(text) if text else {}
        if isinstance(answer, dict) and "jsonrpc" not in answer:
            # Not said by MCP but before it: too large, too fast, a key that was changed.
            said = answer.get("detail") or f"The server answers {response.status}."
            answer = error_answer(RpcError(INTERNAL_ERROR, said), _id_in(line))
        yield answer

    async def _headers(self, reached: Reached, message: Any) -> dict[str, str]:
        remembered = self._remembered if self._has_shown_way else {}
        headers = {**remembered, **headers_of(message)}
        if self._version and "MCP-Protocol-Version" not in headers:
            headers["MCP-Protocol-Version"] = self._version
        params = message.get("params") if isinstance(message, dict) else None
        if isinstance(params, dict) and message.get("method") == "tools/call":
            meta = params.get("_meta")
            if not isinstance(meta, dict) or META_SESSION not in meta:
                headers["X-Companion-Session"] = await self._session(reached)
        return headers

    def _learn(self, message: Any) -> None:
        """Take over what a host calls itself."""
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict):
            return
        if message.get("method") == "initialize":
            self._version, self._remembered = "", {}
        meta = params.get("_meta")
        modern = meta.get("io.modelcontextprotocol/clientInfo") if isinstance(meta, dict) else None
        about = params.get("clientInfo") or modern
        if isinstance(about, dict):
            names = (about.get("title"), about.get("name"))
            self._title = next((name for name in names if isinstance(name, str) and name), UNTITLED)

    def _keep(self, response: aiohttp.ClientResponse) -> None:
        remembered = response.headers.get("Mcp-Session-Id")
        if remembered is not None:
            self._remembered = {"Mcp-Session-Id": remembered}

    async def _session(self, reached: Reached) -> str:
        """Return the session of this start, or the one that goes by the name that was given."""
        async with self._opening:
            if self._session_id is None:
                self._session_id = await self._named(reached) or await self._opened(reached)
            return self._session_id

    async def _named(self, reached: Reached) -> str | None:
        if self._name is None:
            return None
        cursor: str | None = ""
        while cursor is not None:
            mine = await _ask(reached, "GET", f"/me/sessions?cursor={quote(cursor)}")
            for session in mine["sessions"]:
                if session["title"] == self._name and session["ended_at"] is None:
                    return str(session["session_id"])
            cursor = mine["next"]
        return None

    async def _opened(self, reached: Reached) -> str:
        title = {"title": self._name or label(self._title)}
        return str((await _ask(reached, "POST", "/sessions", title))["session_id"])

    async def _told(self, reached: Reached, message: Any, answer: Any) -> Any:
        """Return an answer as the host gets it."""
        result = answer.get("result") if isinstance(answer, dict) else None
        if not isinstance(result, dict) or not isinstance(message, dict):
            return answer
        if message.get("method") == "initialize" and isinstance(result.get("protocolVersion"), str):
            self._version = result["protocolVersion"]
        structured = result.get("structuredContent")
        value = structured.get("result") if isinstance(structured, dict) else None
        if not isinstance(value, dict) or value.get("status") != "no_screen":
            self._has_shown_way |= _names_one_of(message, ("ask", "show"))
            return answer
        if self._session_id is None:
            return answer
        version = headers_of(message).get("MCP-Protocol-Version", self._version)
        with suppress(CompanionError, _ServerGone):
            way_in = await _way_in(reached, self._session_id, value, version)
            self._has_shown_way = True
            return {**answer, "result": {**result, "content": [*result["content"], *way_in]}}
        return answer

    def _say(self, message: Any) -> None:
        self._write(json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode())


async def _way_in(
    reached: Reached, session_id: str, value: Message, version: str
) -> list[Message]:
    """Return the way to the screen as a host shows it: words, a link, a picture to scan."""
    asked = {"ttl_s": LINK_S}
    url = (await _ask(reached, "POST", f"/sessions/{session_id}/pairings", asked))["url"]
    words = f"Nobody is at a screen. Show the user this link (good for 15 minutes): {url}"
    if value.get("pairing_code"):
        words += f"\nOr they open {value['pairing_url']} and type {grouped(value['pairing_code'])}."
    if is_loopback(urlsplit(url).hostname or ""):
        words += (
            "\nIt opens on this computer only. For a phone, the server needs --lan:"
            " companion-ws mcp --lan"
        )
    content: list[Message] = [{"type": "text", "text": words}]
    if version in WITH_LINKS:
        content.append(
            {
                "type": "resource_link",
                "uri": url,
                "name": "companion-screen",
                "title": "Open the companion screen",
                "mimeType": "text/html",
            }
        )
    picture = base64.b64encode(qr.png(url)).decode()
    return [*content, {"type": "image", "data": picture, "mimeType": "image/png"}]


async def _ask(reached: Reached, method: str, path: str, body: Any = None) -> Any:
    try:
        return await reached.ask(method, path, body, token=reached.token("user", ttl_s=TOKEN_S))
    except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
        raise _ServerGone from error


def _numbered(message: Message) -> Message:
    """Return a call with an id of its own, by which what it records is recorded once."""
    params = message.get("params")
    meta = params.get("_meta") or {} if isinstance(params, dict) else None
    if not isinstance(params, dict) or not isinstance(meta, dict):
        return message
    return {**message, "params": {**params, "_meta": {META_REQUEST: uuid.uuid4().hex, **meta}}}


def _without_links(message: Message) -> Message:
    """Return a call as of a client of `MODERN` that opens no links."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    able = meta.get(CAPABILITIES_KEY) if isinstance(meta, dict) else None
    if not isinstance(params, dict) or not isinstance(meta, dict) or not isinstance(able, dict):
        return message
    able = {name: value for name, value in able.items() if name != "elicitation"}
    return {**message, "params": {**params, "_meta": {**meta, CAPABILITIES_KEY: able}}}


def _names_one_of(message: Message, tools: tuple[str, ...]) -> bool:
    params = message.get("params")
    return isinstance(params, dict) and params.get("name") in tools


def _key(message: Any) -> Any:
    """Return what a request is known by: 1 and "1" are two, and so are 1 and true."""
    request_id = message.get("id") if isinstance(message, dict) else None
    return (type(request_id), request_id) if isinstance(request_id, str | int) else None


def _id_in(line: bytes) -> Any:
    with suppress(ValueError, AttributeError, RecursionError):
        return json.loads(line).get("id")
    return None


def _error_code(answer: Any) -> Any:
    error = answer.get("error") if isinstance(answer, dict) else None
    return error.get("code") if isinstance(error, dict) else None
