"""The Model Context Protocol as far as five tools need it: messages in, messages out.

One request has one answer; nothing is kept between two. A client of `MODERN` says its version and
what it can with every request; one of `HANDSHAKE` says it once, with `initialize`, and names the
version from then on. What such a client can is written into the `Mcp-Session-Id` it gets, which
it repeats: so nothing is forgotten by a restart.

What a question takes longer than a request lives in tasks (`voice/tasks.py`), shown in the form
of whoever asks: the extension `io.modelcontextprotocol/tasks` of `MODERN`, the experiment of
2025-11-25, or, for a client of `MODERN` that can open links but knows no tasks, as state that
travels with each round of one request.

Source: modelcontextprotocol.io, specifications 2024-11-05 to 2026-07-28, and SEP-2663.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from companion_ws import __version__

from .mcp_tools import INSTRUCTIONS, TOOLS, WITH_TASKS, listed

MODERN: Final = "2026-07-28"
HANDSHAKE: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Newest first."""
TASKS: Final = "io.modelcontextprotocol/tasks"
"""The extension of `MODERN`."""
VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
SERVER_KEY: Final = "io.modelcontextprotocol/serverInfo"
RELATED_KEY: Final = "io.modelcontextprotocol/related-task"
MEANWHILE_KEY: Final = "io.modelcontextprotocol/model-immediate-response"
"""What the model is told while a task of 2025-11-25 runs."""
CACHE_MS: Final = 60_000
"""The list of tools changes with the program only."""
POLL_MS: Final = 2_000
"""How often whoever waits for a person should look."""
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
NO_SESSION: Final = -32002
OUT_OF_TIME: Final = -32003
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
URL_REQUIRED: Final = -32042
META_SESSION: Final = "companion/session_id"
META_REQUEST: Final = "companion/request_id"
"""A `requestId` for what a call records, from clients that may send the same call again."""
INPUT: Final = "screen"
"""The one thing a client is asked for: to show its user the way to the screen."""
_NAMED_BY: Final = {"tools/call": "name", "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId"}
"""Which parameter of a method its `Mcp-Name` repeats."""
_OPENS_LINKS: Final = "opens-links"


class RpcError(Exception):
    """A JSON-RPC error; `http_status` is what the answer that carries it has."""

    def __init__(self, code: int, message: str, http_status: int = 200, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status
        self.data = data


@dataclass(frozen=True, slots=True)
class McpClient:
    """What a request says of the program that sent it; `version` is "" where it says none."""

    version: str
    meta: Mapping[str, Any]
    has_tasks: bool = False
    opens_links: bool = False

    @property
    def is_modern(self) -> bool:
        """Whether it says with each request what others say once."""
        return self.version == MODERN

    @property
    def bad_status(self) -> int:
        """The HTTP status of a request that cannot be served as it is."""
        return 400 if self.is_modern else 200


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool. `task_ttl_ms` is there where a client of 2025-11-25 wants a task of it.

    `state` and `responses` come with a further round of the same request.
    """

    name: str
    arguments: dict[str, Any]
    client: McpClient
    wants_task: bool = False
    task_ttl_ms: int | None = None
    state: str | None = None
    responses: Mapping[str, Any] = field(default_factory=dict)

    @property
    def must_be_task(self) -> bool:
        """Whether its client takes nothing but a task or an error; others take a result as well."""
        return self.wants_task and not self.client.is_modern


@dataclass(frozen=True, slots=True)
class Link:
    """A page that a client shows its user, and why."""

    url: str
    message: str
    id: str


@dataclass(frozen=True, slots=True)
class TaskTold:
    """A task as its owner is told of it. Times are milliseconds since 1970 (UTC).

    `result` is that of its `tools/call`, once completed; `link` the page that would help it on.
    """

    id: str
    status: Literal["working", "completed", "cancelled", "failed"]
    words: str
    created_ms: int
    updated_ms: int
    ttl_ms: int
    result: Mapping[str, Any] | None = None
    error: RpcError | None = None
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class AnotherRound:
    """The same request is wanted again, with this state; and with the user shown this page."""

    state: str
    link: Link | None = None


class Backend(Protocol):
    """What answers, for one caller."""

    async def call(self, call: Call) -> dict[str, Any] | TaskTold | AnotherRound: ...

    async def task(self, task_id: str) -> TaskTold: ...

    async def task_ended(self, task_id: str) -> TaskTold: ...

    async def shown_in(self, task_id: str, response: Any) -> None: ...

    async def cancel(self, task_id: str) -> TaskTold: ...


# A message and its answer.


async def answer_to(
    message: Any, headers: Mapping[str, str], backend: Backend
) -> dict[str, Any] | None:
    """Return the answer to one JSON-RPC message; None where it wants none.

    `headers` are the request's, read without regard to case.

    Raises:
        RpcError: it is no JSON-RPC message, or what it asks for cannot be had.
    """
    asked = request_in(message)
    if asked is None:
        return None
    method, params = asked
    client = client_of(method, params, headers)
    result = await _result(method, params, client, backend)
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def request_in(message: Any) -> tuple[str, dict[str, Any]] | None:
    """Return method and parameters of a request; None for what wants no answer.

    Raises:
        RpcError: it is no JSON-RPC message.
    """
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, "Not a JSON-RPC 2.0 message.", 400)
    method, params = message.get("method"), message.get("params")
    params = {} if params is None else params
    if "id" not in message or (method is None and ("result" in message or "error" in message)):
        return None  # a notification, or the answer to something we never ask
    is_id = isinstance(message["id"], str | int) and not isinstance(message["id"], bool)
    if not isinstance(method, str) or not is_id:
        raise RpcError(INVALID_REQUEST, "A request has a method and an id.", 400)
    if not isinstance(params, dict) or not isinstance(params.get("_meta") or {}, dict):
        raise RpcError(INVALID_PARAMS, "`params` and `_meta` are objects.", 400)
    return method, params


def client_of(method: str, params: dict[str, Any], headers: Mapping[str, str]) -> McpClient:
    """Return what a request says of its client.

    Raises:
        RpcError: its version is not spoken here, or it contradicts itself.
    """
    meta = params.get("_meta") or {}
    version = headers.get("MCP-Protocol-Version")
    if VERSION_KEY in meta or version == MODERN:
        _check_modern(method, params, meta, headers)
        capabilities = meta[CAPABILITIES_KEY]
        extensions = _object_in(capabilities, "extensions")
        opens = "url" in _object_in(capabilities, "elicitation")
        return McpClient(MODERN, meta, has_tasks=TASKS in extensions, opens_links=opens)
    if version is not None and version not in HANDSHAKE:
        raise _unsupported(version)
    opens = _OPENS_LINKS in headers.get("Mcp-Session-Id", "")
    return McpClient(version or "", meta, has_tasks=version == WITH_TASKS, opens_links=opens)


def session_id_for(message: Any) -> str | None:
    """Return the `Mcp-Session-Id` that remembers what the client of an `initialize` can, if anything.

    It is not a secret and opens nothing: it is what the client said of itself.
    """
    if not isinstance(message, dict) or message.get("method") != "initialize":
        return None
    capabilities = _object_in(message.get("params"), "capabilities")
    return _OPENS_LINKS if "url" in _object_in(capabilities, "elicitation") else None


def headers_of(message: Any) -> dict[str, str]:
    """Return the headers that a request of `MODERN` has over HTTP; none for any other message.

    >>> meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    >>> headers_of({"method": "tools/call", "params": {"name": "ask", "_meta": meta}})
    {'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': 'tools/call', 'Mcp-Name': 'ask'}
    """
    params = message.get("params") if isinstance(message, dict) else None
    version, method = _object_in(params, "_meta").get(VERSION_KEY), message.get("method") if params else None
    if not isinstance(version, str) or not isinstance(method, str) or not isinstance(params, dict):
        return {}
    headers = {"MCP-Protocol-Version": version, "Mcp-Method": method}
    name = params.get(_NAMED_BY.get(method, ""))
    if isinstance(name, str):
        headers["Mcp-Name"] = name
    return {key: _header(value) for key, value in headers.items()}


def _object_in(value: Any, key: str) -> Mapping[str, Any]:
    """Return the object under a key; an empty one where there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _header(value: str) -> str:
    """Return text as a header carries it: what is not plain is Base64 between marks."""
    if value.isascii() and value.isprintable() and value == value.strip():
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'replace')).decode()}?="


def _header_value(header: str | None) -> str | None:
    if header is None or not (header.startswith("=?base64?") and header.endswith("?=")):
        return header
    try:
        return base64.b64decode(header[9:-2], validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _check_modern(
    method: str, params: dict[str, Any], meta: Mapping[str, Any], headers: Mapping[str, str]
) -> None:
    """A request that contradicts itself is refused before what it asks for is looked at."""
    for key in (VERSION_KEY, CAPABILITIES_KEY):
        if key not in meta:
            raise RpcError(INVALID_PARAMS, f"`_meta` needs {key!r}.", 400)
    if not isinstance(meta[CAPABILITIES_KEY], dict):
        raise RpcError(INVALID_PARAMS, f"`_meta[{CAPABILITIES_KEY!r}]` is an object.", 400)
    said = {"MCP-Protocol-Version": meta[VERSION_KEY], "Mcp-Method": method}
    if method in _NAMED_BY and (method == "tools/call" or "Mcp-Name" in headers):
        # Some clients of the extension leave the name out.
        said["Mcp-Name"] = params.get(_NAMED_BY[method])
    for header, value in said.items():
        if _header_value(headers.get(header)) != value:
            raise RpcError(HEADER_MISMATCH, f"{header} does not match the body.", 400)
    if meta[VERSION_KEY] != MODERN:
        raise _unsupported(meta[VERSION_KEY])


def _unsupported(version: Any) -> RpcError:
    data = {"supported": [MODERN, *HANDSHAKE], "requested": version}
    return RpcError(UNSUPPORTED_VERSION, "This protocol version is not supported.", 400, data)


# Methods.


async def _result(
    method: str, params: dict[str, Any], client: McpClient, backend: Backend
) -> dict[str, Any]:
    is_modern = client.is_modern
    match method:
        case "server/discover" if is_modern:
            described = _described({"extensions": {TASKS: {}}})
            return _complete(
                {**described, "supportedVersions": [MODERN, *HANDSHAKE], **_CACHE}
            )
        case "initialize" if not is_modern:
            wanted = params.get("protocolVersion")
            version = wanted if wanted in HANDSHAKE else HANDSHAKE[0]
            described = _described(_OLD_TASKS if version == WITH_TASKS else {})
            return {**described, "protocolVersion": version, "serverInfo": _SERVER}
        case "ping":
            return _complete({}) if is_modern else {}
        case "tools/list":
            tools = {"tools": listed(client.version)}
            return _complete({**tools, **_CACHE}) if is_modern else tools
        case "tools/call":
            return _told(await backend.call(_call_in(params, client)), client)
        case "tasks/get" | "tasks/update" | "tasks/cancel" if is_modern:
            return _complete(await _of_extension(method, params, client, backend))
        case "tasks/get" | "tasks/result" | "tasks/cancel" if client.has_tasks:
            return await _of_experiment(method, params, client, backend)
    raise RpcError(
        METHOD_NOT_FOUND, f"There is no method {method[:80]}.", 404 if is_modern else 200
    )


def _call_in(params: dict[str, Any], client: McpClient) -> Call:
    name, arguments = params.get("name"), params.get("arguments")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "`arguments` is an object.", client.bad_status)
    if not any(tool["name"] == name for tool in TOOLS):
        raise RpcError(INVALID_PARAMS, f"There is no tool {name!r:.80}.", client.bad_status)
    if not client.is_modern:
        task = params.get("task") if client.has_tasks else None
        if task is not None and name != "ask":
            raise RpcError(METHOD_NOT_FOUND, f"`{name}` is not called as a task; call it as it is.")
        if task is not None and not isinstance(task, dict):
            raise RpcError(INVALID_PARAMS, "`task` is an object.")
        ttl = _object_in(params, "task").get("ttl")
        ttl_ms = None
        if isinstance(ttl, int | float) and not isinstance(ttl, bool) and ttl > 0:
            ttl_ms = int(min(ttl, 2**53))
        return Call(
            str(name), arguments, client, wants_task=task is not None, task_ttl_ms=ttl_ms
        )
    state, responses = params.get("requestState"), params.get("inputResponses")
    if not isinstance(state, str | None) or not isinstance(responses, dict | None):
        raise RpcError(
            INVALID_PARAMS, "`requestState` is text and `inputResponses` an object.", 400
        )
    return Call(
        str(name), arguments, client, wants_task=client.has_tasks, state=state,
        responses=responses or {},
    )  # fmt: skip


async def _of_extension(
    method: str, params: dict[str, Any], client: McpClient, backend: Backend
) -> dict[str, Any]:
    if not client.has_tasks:
        needed: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        said = f"Declare the extension {TASKS} with the request."
        raise RpcError(MISSING_CAPABILITY, said, 400, needed)
    task_id = _task_id(params, client)
    if method == "tasks/get":
        return _modern_task(await backend.task(task_id), client)
    if method == "tasks/cancel":
        await backend.cancel(task_id)
        return {}
    responses = params.get("inputResponses")
    if not isinstance(responses, dict):
        raise RpcError(INVALID_PARAMS, "`inputResponses` is an object.", 400)
    await backend.shown_in(task_id, responses.get(INPUT))
    return {}


async def _of_experiment(
    method: str, params: dict[str, Any], client: McpClient, backend: Backend
) -> dict[str, Any]:
    task_id = _task_id(params, client)
    if method == "tasks/get":
        return _old_task(await backend.task(task_id))
    if method == "tasks/cancel":
        if (await backend.task(task_id)).status != "working":
            raise RpcError(INVALID_PARAMS, "The task is over; there is nothing to cancel.")
        return _old_task(await backend.cancel(task_id))
    task = await backend.task_ended(task_id)
    if task.error is not None:
        raise task.error
    if task.result is None:
        raise RpcError(INVALID_PARAMS, "The task was cancelled; it has no result.")
    return {**task.result, "_meta": {RELATED_KEY: {"taskId": task.id}}}


def _task_id(params: dict[str, Any], client: McpClient) -> str:
    task_id = params.get("taskId")
    if not isinstance(task_id, str):
        raise RpcError(INVALID_PARAMS, "`taskId` is text.", client.bad_status)
    return task_id


# What is told.

_SERVER: Final = {"name": "companion-ws", "title": "Companion", "version": __version__}
_OLD_TASKS: Final[dict[str, Any]] = {
    "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}
}
_CACHE: Final = {"ttlMs": CACHE_MS, "cacheScope": "public"}


def _described(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    tools = {"tools": {"listChanged": False}}
    return {"capabilities": {**tools, **capabilities}, "instructions": INSTRUCTIONS}


def _complete(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "resultType": "complete", "_meta": {SERVER_KEY: _SERVER}}


def _told(result: dict[str, Any] | TaskTold | AnotherRound, client: McpClient) -> dict[str, Any]:
    """Return what a call came to in the form of the client's version."""
    if isinstance(result, TaskTold) and client.is_modern:
        return {**_complete(_task(result)), "resultType": "task"}
    if isinstance(result, TaskTold):
        return {"task": _old_task(result), "_meta": {MEANWHILE_KEY: result.words}}
    if isinstance(result, AnotherRound):
        wanted = _input(result.link)
        round_ = {"requestState": result.state, **({"inputRequests": wanted} if wanted else {})}
        return {**_complete(round_), "resultType": "input_required"}
    return _complete(result) if client.is_modern else result


def _task(task: TaskTold) -> dict[str, Any]:
    return {
        "taskId": task.id,
        "status": task.status,
        "statusMessage": task.words,
        "createdAt": _iso(task.created_ms),
        "lastUpdatedAt": _iso(task.updated_ms),
        "ttlMs": task.ttl_ms,
        "pollIntervalMs": POLL_MS,
    }


def _modern_task(task: TaskTold, client: McpClient) -> dict[str, Any]:
    told = _task(task)
    if task.result is not None:
        return {**told, "result": dict(task.result)}
    if task.error is not None:
        return {**told, "error": _error(task.error)}
    if task.link is not None and client.opens_links:
        return {**told, "status": "input_required", "inputRequests": _input(task.link)}
    return told


def _old_task(task: TaskTold) -> dict[str, Any]:
    told = _task(task)
    told["ttl"], told["pollInterval"] = told.pop("ttlMs"), told.pop("pollIntervalMs")
    if task.result is not None and task.result.get("isError"):
        told["status"] = "failed"
    return told


def _input(link: Link | None) -> dict[str, Any]:
    if link is None:
        return {}
    params = {"mode": "url", "url": link.url, "message": link.message}
    return {INPUT: {"method": "elicitation/create", "params": params}}


def url_required(link: Link) -> RpcError:
    """Return what a client of 2025-11-25 is told that can open links: one is needed first."""
    wanted = {"mode": "url", "elicitationId": link.id, "url": link.url, "message": link.message}
    return RpcError(URL_REQUIRED, link.message, 200, {"elicitations": [wanted]})


def progress(token: str | int, seconds: float, words: str) -> dict[str, Any]:
    """Return the notification that a request is still waited for."""
    params = {"progressToken": token, "progress": seconds, "message": words}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


def error_answer(error: RpcError, request_id: Any) -> dict[str, Any]:
    """Return the JSON-RPC message that says what went wrong."""
    is_id = isinstance(request_id, str | int) and not isinstance(request_id, bool)
    return {"jsonrpc": "2.0", "id": request_id if is_id else None, "error": _error(error)}


def _error(error: RpcError) -> dict[str, Any]:
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    return told if error.data is None else {**told, "data": error.data}


def tool_result(value: dict[str, Any], is_error: bool = False) -> dict[str, Any]:
    """Return the result of `tools/call`: the value as text for the model and as it is."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": value,
        "isError": is_error,
    }


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
