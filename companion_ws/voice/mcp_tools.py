"""The five tools that MCP clients are offered; `show` and `ask` are made of the catalogue.

Some hosts hide a server's instructions from the model, so each description says what it must know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from companion_ws.core.companion_tools import COMPANION_TOOLS, CONFIRM, SHOW, CompanionTool, Schema
from companion_ws.core.companion_tools import object_schema as _object

from .parameters import NotUnderstood, understood

WITH_TASKS: Final = "2025-11-25"
"""The version in which a tool says itself whether it can be called as a task."""

EVENTS: Final = (
    "Every answer carries `companion.events`: what the user did on the screen since the last one."
)
SAY: Final = "A result with `say` holds a sentence for the user; say it."
INSTRUCTIONS: Final = (
    "The user may have a companion screen, usually a phone, that shows the same session. "
    "Use `show` to put something on it, `ask` to let the user choose, fill in or confirm "
    f"there, and `wait_for_companion` after saying that you wait. {EVENTS} {SAY}"
)

_PREFIX: Final = "companion_"
_JSON_TEXT: Final = re.compile(",? as JSON text")
"""How the catalogue says that an object is written as text; MCP takes the object itself."""
_ALSO: Final[Schema] = {
    "ui": {"type": "object", "description": "An A2UI card instead of rows."},
    "labels": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "What names in `data` are called in the user's language.",
    },
}
"""What screens read and other platforms are not offered."""
_KINDS: Final = {
    name.removeprefix(_PREFIX): tool for name, tool in COMPANION_TOOLS.items() if tool.is_question
}
"""What can be asked, by the word for it."""


def question(arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return which tool of the companion screen asks what `ask` asks, and its parameters.

    >>> question({"title": "Sure?", "options": None})
    ('companion_confirm', {'title': 'Sure?'})

    Raises:
        NotUnderstood: there is no title, or nothing a screen could ask.
    """
    tool = _kind_of(arguments)
    given = {name: arguments[name] for name in tool.parameters if arguments.get(name) is not None}
    asked = understood(tool.name, given)
    if not asked.get("title"):
        raise NotUnderstood("`ask` needs a `title`, which is the question.")
    return tool.name, asked


def _kind_of(arguments: dict[str, Any]) -> CompanionTool:
    """Return what is asked: what is named, else what the most of what it needs is given for."""
    named = arguments.get("kind")
    if isinstance(named, str) and named.removeprefix(_PREFIX) in _KINDS:
        return _KINDS[named.removeprefix(_PREFIX)]
    possible = [
        tool for tool in _KINDS.values()
        if _needs(tool) and all(arguments.get(name) for name in _needs(tool))
    ]  # fmt: skip
    return max(possible, key=lambda tool: len(_needs(tool)), default=CONFIRM)


def _needs(tool: CompanionTool) -> list[str]:
    return [name for name in tool.schema["required"] if name != "title"]


# Definitions.


def _parameters(tools: Iterable[CompanionTool]) -> Schema:
    """Return what these tools take together, each parameter as it is described first."""
    properties: Schema = {}
    for tool in tools:
        for name in tool.parameters:
            properties.setdefault(name, _taken(tool.schema["properties"].get(name), name))
    return properties


def _taken(schema: Schema | None, name: str) -> Schema:
    if schema is None:
        also: Schema = _ALSO.get(name, {})
        return also
    description = schema.get("description", "")
    if schema["type"] == "string" and _JSON_TEXT.search(description):
        return {"type": "object", "description": _JSON_TEXT.sub("", description)}
    return schema


def _answer(result: Schema) -> Schema:
    """Return the schema of what every tool answers: its result, and what the user did meanwhile."""
    event = {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]}
    companion = _object(
        {
            "events": {"type": "array", "items": event, "description": EVENTS},
            "screens": {
                "type": "array",
                "items": {"type": "string"},
                "description": "What each screen that is open says it shows.",
            },
        },
        ["events", "screens"],
    )
    error = _object({"code": {"type": "string"}, "message": {"type": "string"}}, ["code"])
    return {
        "type": "object",
        "properties": {"result": result, "companion": companion, "error": error},
        "anyOf": [{"required": ["result", "companion"]}, {"required": ["error"]}],
    }


def _outcome(tools: Iterable[CompanionTool]) -> Schema:
    """Return the schema of what these tools come to."""
    answers = {status: fields for tool in tools for status, fields in tool.answers.items()}
    told = [f"{status} ({', '.join(fields)})" if fields else status for status, fields in answers.items()]
    fields: Schema = {name: {} for names in answers.values() for name in names}
    return {
        "properties": {
            "status": {
                "type": "string",
                "description": f"{', '.join(told)}; or no_screen, no_answer, refused, with `say`.",
            },
            **fields,
            "say": {"type": "string", "description": SAY},
            "pairing_code": {"type": "string", "description": "What the user types at pairing_url."},
            "pairing_url": {"type": "string"},
        }
    }


def _asks() -> str:
    """Return what `ask` does, from the words of each tool it asks with."""
    kinds = []
    for tool in _KINDS.values():
        given = " and ".join(f"`{name}`" for name in _needs(tool))
        said = f"With {given or '`title` alone'}: {tool.description} Call it so {tool.when} {tool.how}"
        kinds.append(said.rstrip())
    return " ".join(kinds)


TOOLS: Final[list[Schema]] = [
    {
        "name": "show",
        "title": "Show on the screen",
        "description": f"{SHOW.description} Call it {SHOW.when} {EVENTS} {SAY}",
        "inputSchema": _object(_parameters([SHOW])),
        "outputSchema": _answer(_outcome([SHOW])),
        "annotations": {"readOnlyHint": False, "destructiveHint": False},
    },
    {
        "name": "ask",
        "title": "Ask on the screen",
        "description": "Asks on the user's companion screen, usually a phone, and returns the "
        f"answer. {_asks()} The same question asked again is one question; an answer that comes "
        f"late is among the events. {EVENTS} {SAY}",
        "inputSchema": _object(
            {
                **_parameters(_KINDS.values()),
                "kind": {
                    "type": "string",
                    "enum": list(_KINDS),
                    "description": "What to ask, where it does not follow from what is given.",
                },
            },
            ["title"],
        ),
        "outputSchema": _answer(_outcome(_KINDS.values())),
        "annotations": {"readOnlyHint": False, "destructiveHint": False},
    },
    {
        "name": "get_state",
        "title": "Read the session's state",
        "description": "Returns the value of a key of the state that agent and screens share, or "
        f"all of it. {EVENTS}",
        "inputSchema": _object({"key": {"type": "string", "description": "All keys without one."}}),
        "outputSchema": _answer({}),
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "set_state",
        "title": "Set the session's state",
        "description": f"Sets a key of the state that agent and screens share. {EVENTS}",
        "inputSchema": _object(
            {
                "key": {"type": "string", "description": "Name of the value."},
                "value": {"description": "Any JSON value."},
                "if_revision": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "Only if the key still has this revision; 0: only if absent.",
                },
            },
            ["key", "value"],
        ),
        "outputSchema": _answer(_object({"revision": {"type": "integer"}}, ["revision"])),
        "annotations": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True},
    },
    {
        "name": "wait_for_companion",
        "title": "Wait for the screen",
        "description": "Waits until the user does something on the screen, or `seconds` are over. "
        f"Call it after saying that you wait. {EVENTS}",
        "inputSchema": _object(
            {
                "seconds": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 280,
                    "description": "How long to wait at most; 18 where none is given.",
                }
            }
        ),
        "outputSchema": _answer(
            {"properties": {"status": {"type": "string", "description": "news or waiting"}}}
        ),
        "annotations": {"readOnlyHint": True},
    },
]


def listed(version: str) -> list[Schema]:
    """Return the tools as a version of the protocol has them."""
    if version != WITH_TASKS:
        return TOOLS
    support = {"taskSupport": "optional"}
    return [
        {**tool, "execution": support} if tool["name"] == "ask" else tool for tool in TOOLS
    ]
