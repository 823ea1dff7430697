"""The Model Context Protocol as far as five tools need it: messages in, messages out.

One request has one answer; nothing is kept between two. A client of `MODERN` says its
version with every request and asks `server/discover`; one of `HANDSHAKE` says it
once, with `initialize`. Both are answered.

Source: modelcontextprotocol.io, specifications 2024-11-05 to 2026-07-28.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from companion_ws import __version__
from companion_ws.core.companion_tools import CHOOSE, CONFIRM, FORM, Schema

from .parameters import NotUnderstood, understood

MODERN: Final = "2026-07-28"
HANDSHAKE: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Newest first."""
VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
SERVER_KEY: Final = "io.modelcontextprotocol/serverInfo"
CACHE_MS: Final = 60_000
"""The list of tools changes with the program only."""
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
NO_SESSION: Final = -32002
OUT_OF_TIME: Final = -32003
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

INSTRUCTIONS: Final = (
    "The user may have a companion screen, usually a phone, that shows the same session. "
    "Use `show` to put something on it, `ask` to let the user choose, fill in or confirm "
    "there, and `wait_for_companion` after saying that you wait. Every answer carries "
    "`companion.events`: what the user did on the screen since the last one. A result with "
    "`say` holds a sentence for the user; say it."
)

_QUESTIONS: Final = (CHOOSE, FORM, CONFIRM)
"""The first whose parameter of `_TELLING` is given is what is asked."""
_TELLING: Final = {CHOOSE.name: "options", FORM.name: "schema", CONFIRM.name: "title"}


def _asked() -> Schema:
    """Return what `ask` takes: the parameters of every question, an object where one is meant."""
    properties: Schema = {
        name: schema for tool in _QUESTIONS for name, schema in tool.schema["properties"].items()
    }
    as_object = FORM.schema["properties"]["schema"]["description"].replace(", as JSON text", "")
    return {
        **properties,
        "options": {**properties["options"], "minItems": 1},
        "schema": {"type": "object", "description": as_object},
    }


TOOLS: Final[list[dict[str, Any]]] = [
    {
        "name": "show",
        "title": "Show on the screen",
        "description": "Shows a card on the user's companion screen.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "title": {"type": "string", "description": "Heading of the card."},
                "data": {"type": "object", "description": "Rows of the card: name to value."},
                "labels": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "What names in `data` are called in the user's language.",
                },
                "ui": {"type": "object", "description": "An A2UI card instead of rows."},
            },
        },
    },
    {
        "name": "ask",
        "title": "Ask on the screen",
        "description": "Asks on the user's companion screen and returns the answer: with "
        "`options` a choice, with `schema` a form, with neither a yes or no. "
        + " ".join(tool.how for tool in _QUESTIONS),
        "inputSchema": {
            "type": "object",
            "properties": _asked(),
            "required": ["title"],
        },
    },
    {
        "name": "get_state",
        "title": "Read the session's state",
        "description": "Returns the value of a key of the shared state, or all of it.",
        "inputSchema": {"type": "object", "properties": {"key": {"type": "string"}}},
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "set_state",
        "title": "Set the session's state",
        "description": "Sets a key of the state that agent and screens share.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "key": {"type": "string"},
                "value": {"description": "Any JSON value."},
                "if_revision": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "Only if the key still has this revision; 0: only if absent.",
                },
            },
            "required": ["key", "value"],
        },
    },
    {
        "name": "wait_for_companion",
        "title": "Wait for the screen",
        "description": "Waits until the user does something on the screen, or `seconds` are over.",
        "inputSchema": {
            "type": "object",
            "properties": {"seconds": {"type": "number", "minimum": 0, "maximum": 280}},
        },
    },
]

CallTool = Callable[[str, dict[str, Any], dict[str, Any]], Awaitable[dict[str, Any]]]
"""`(name, arguments, meta) -> result of tools/call`. Raises `RpcError`."""


class RpcError(Exception):
    """A JSON-RPC error; `http_status` is what the answer that carries it has."""

    def __init__(self, code: int, message: str, http_status: int = 200, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status
        self.data = data


async def answer_to(
    message: Any, headers: Mapping[str, str], call_tool: CallTool
) -> dict[str, Any] | None:
    """Return the answer to one JSON-RPC message; None where it wants none.

    `headers` are the request's, read without regard to case.

    Raises:
        RpcError: it is no JSON-RPC message, or what it asks for cannot be had.
    """
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, "Not a JSON-RPC 2.0 message.", 400)
    method, params = message.get("method"), message.get("params")
    params = {} if params is None else params
    if "id" not in message or (method is None and ("result" in message or "error" in message)):
        return None  # a notification, or the answer to something we never ask
    if not isinstance(method, str) or not isinstance(message["id"], str | int):
        raise RpcError(INVALID_REQUEST, "A request has a method and an id.", 400)
    meta = (params.get("_meta") or {}) if isinstance(params, dict) else None
    if not isinstance(meta, dict):
        raise RpcError(INVALID_PARAMS, "`params` and `_meta` are objects.", 400)
    is_modern = _is_modern(meta, headers)
    if is_modern:
        _check_modern(method, params, meta, headers)
    result = await _result(method, params, is_modern, call_tool)
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _is_modern(meta: dict[str, Any], headers: Mapping[str, str]) -> bool:
    version = headers.get("MCP-Protocol-Version")
    if VERSION_KEY in meta or version == MODERN:
        return True
    if version is not None and version not in HANDSHAKE:
        raise _unsupported(version)
    return False


def _check_modern(
    method: str, params: dict[str, Any], meta: dict[str, Any], headers: Mapping[str, str]
) -> None:
    """A request that contradicts itself is refused before what it asks for is looked at."""
    for key in (VERSION_KEY, CAPABILITIES_KEY):
        if key not in meta:
            raise RpcError(INVALID_PARAMS, f"`_meta` needs {key!r}.", 400)
    said = {"MCP-Protocol-Version": meta[VERSION_KEY], "Mcp-Method": method}
    if method == "tools/call":
        said["Mcp-Name"] = params.get("name")
    for header, value in said.items():
        if headers.get(header) != value:
            raise RpcError(HEADER_MISMATCH, f"{header} does not match the body.", 400)
    if meta[VERSION_KEY] != MODERN:
        raise _unsupported(meta[VERSION_KEY])


def _unsupported(version: str) -> RpcError:
    data = {"supported": [MODERN, *HANDSHAKE], "requested": version}
    return RpcError(UNSUPPORTED_VERSION, "This protocol version is not supported.", 400, data)


async def _result(
    method: str, params: dict[str, Any], is_modern: bool, call_tool: CallTool
) -> dict[str, Any]:
    match method:
        case "server/discover" if is_modern:
            return _complete({**_described(), "supportedVersions": [MODERN, *HANDSHAKE], **_CACHE})
        case "initialize" if not is_modern:
            wanted = params.get("protocolVersion")
            version = wanted if wanted in HANDSHAKE else HANDSHAKE[0]
            return {**_described(), "protocolVersion": version, "serverInfo": _SERVER}
        case "ping":
            return {}
        case "tools/list":
            return _complete({"tools": TOOLS, **_CACHE}) if is_modern else {"tools": TOOLS}
        case "tools/call":
            result = await _called(params, is_modern, call_tool)
            return _complete(result) if is_modern else result
    raise RpcError(
        METHOD_NOT_FOUND, f"There is no method {method[:80]}.", 404 if is_modern else 200
    )


async def _called(params: dict[str, Any], is_modern: bool, call_tool: CallTool) -> dict[str, Any]:
    name, arguments = params.get("name"), params.get("arguments")
    arguments = {} if arguments is None else arguments
    status = 400 if is_modern else 200
    if not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "`arguments` is an object.", status)
    if not any(tool["name"] == name for tool in TOOLS):
        raise RpcError(INVALID_PARAMS, f"There is no tool {name!r:.80}.", status)
    return await call_tool(str(name), arguments, params.get("_meta") or {})


_SERVER: Final = {"name": "companion-ws", "title": "Companion", "version": __version__}
_CACHE: Final = {"ttlMs": CACHE_MS, "cacheScope": "public"}


def _described() -> dict[str, Any]:
    return {"capabilities": {"tools": {"listChanged": False}}, "instructions": INSTRUCTIONS}


def _complete(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "resultType": "complete", "_meta": {SERVER_KEY: _SERVER}}


def error_answer(error: RpcError, request_id: Any) -> dict[str, Any]:
    """Return the JSON-RPC message that says what went wrong."""
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return {"jsonrpc": "2.0", "id": request_id, "error": told}


def tool_result(value: dict[str, Any], is_error: bool = False) -> dict[str, Any]:
    """Return the result of `tools/call`: the value as text for the model and as it is."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": value,
        "isError": is_error,
    }


def question(arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return which tool of the companion screen asks what `ask` asks, and its parameters.

    >>> question({"title": "Sure?", "options": None})
    ('companion_confirm', {'title': 'Sure?'})

    Raises:
        NotUnderstood: there is no title, or nothing a screen could ask.
    """
    for tool in _QUESTIONS:
        if arguments.get(_TELLING[tool.name]):
            asked = understood(tool.name, _only(arguments, tool.parameters))
            if asked.get("title"):
                return tool.name, asked
    raise NotUnderstood("`ask` needs a `title`, which is the question.")


def _only(arguments: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: arguments[name] for name in names if arguments.get(name) is not None}
