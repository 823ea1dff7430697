"""What an agent is offered: every tool in its platform's form, and the prompt that teaches it its screen.

All of it is made from the one catalogue, `core/companion_tools.py`, and from the server tools.
"""

from __future__ import annotations

import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from companion_ws.core.companion_tools import COMPANION_TOOLS, PAIR, Schema, object_schema

if TYPE_CHECKING:
    from companion_ws.sessions.tools import ServerTool

CALL_TIMEOUT_S: Final = 20
"""What a platform that calls by webhook waits; the session answers after 18 s at the latest."""
WAIT_TIMEOUT_S: Final = 120
WAIT_S: Final = 110
"""What `wait_for_companion` waits, below its timeout."""

_PROMPT: Final = """\
# Your companion screen

The caller may have a screen, usually their phone, that shows this conversation's
session. It is there to show what is hard to say and to let the caller tap what is
hard to spell. Not everybody opens it; everything must also work by voice alone.

{calls}
- Say what you put on the screen before you wait: "I have put three rates on your
  screen; tap the one you like, or just tell me."
{answers}
- A result that has a "say" field holds a sentence for the caller. Say it, in your own
  words, and go on by voice. Status "no_screen" means that nobody has opened the
  screen: read the pairing code digit by digit in three groups, once, and do not insist.
- Status "refused" means that nothing was shown: "reason" tells what to write otherwise.
  Try once more, then go on by voice.
- Status "no_answer" means that the question stays on the screen. The answer comes later
  as a message of the caller, or in "companion.events" of a later tool result.
- What arrives as a contextual update, or as a message of the system, tells you what the
  screen shows or what was changed there. Take it into account; do not comment on it.
- Never read ids, tokens or links aloud, except the pairing address and code.
"""

WAIT_PROMPT: Final = """\
- After you have asked the caller to do something on the screen, call
  wait_for_companion. "waiting" means that nothing happened yet: say so briefly and
  offer to go on by voice.
"""
"""For agents that hear of their screen only when they ask."""


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool as an agent is offered it; `parameters` is the JSON Schema of an object."""

    name: str
    description: str
    parameters: Schema
    timeout_s: int = CALL_TIMEOUT_S


WAIT: Final = OfferedTool(
    "wait_for_companion",
    "Waits until the caller does something on the companion screen.",
    object_schema(
        {"seconds": {"type": "number", "description": f"How long to wait, {WAIT_S} at most."}},
        ["seconds"],
    ),
    WAIT_TIMEOUT_S,
)

PAIRING: Final = OfferedTool(PAIR.name, PAIR.description, PAIR.schema)
"""As `WAIT` it is for agents that call their tools by webhook, as those on the telephone do."""


def offered_tools(server_tools: Iterable[ServerTool] = ()) -> list[OfferedTool]:
    """Return the companion tools and these server tools; of two of one name the server's."""
    offered = {
        tool.name: OfferedTool(tool.name, tool.description, tool.schema)
        for tool in COMPANION_TOOLS.values()
    }
    for tool in server_tools:
        offered[tool.name] = OfferedTool(tool.name, _first_line(tool), _parameters(tool))
    return list(offered.values())


def offered_from(tools: Iterable[Mapping[str, Any]] | None) -> list[OfferedTool]:
    """Return tools that are given as `{name, description, parameters}`; None: the companion tools.

    It is what `companion-ws tools --for livekit` prints, server tools included.
    """
    if tools is None:
        return offered_tools()
    return [
        OfferedTool(tool["name"], tool["description"], tool["parameters"]) for tool in tools
    ]


def definitions(
    platform: str, public_url: str, server_tools: Iterable[ServerTool] = ()
) -> dict[str, Any]:
    """Return `{prompt, tools}` for a platform of `PLATFORMS`.

    Webhook URLs begin with `public_url`.
    """
    form = PLATFORMS[platform]
    offered = offered_tools(server_tools)
    if form.is_webhook:
        base = public_url.rstrip("/")
        tools = [form.tool(tool, base) for tool in [*offered, PAIRING, WAIT]]
        return {"prompt": PROMPT + PAIR_PROMPT + WAIT_PROMPT, "tools": tools}
    tools = [form.tool(tool, "") for tool in offered]
    return {"prompt": PROMPT, "tools": form.around(tools)}


# The form each platform takes a tool in.


@dataclass(frozen=True, slots=True)
class PlatformForm:
    """How a platform takes its tools; a webhook platform calls us and cannot be told things."""

    tool: Callable[[OfferedTool, str], dict[str, Any]]
    """Of a tool and the public URL."""
    around: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list
    """What the list of tools is wrapped in."""
    is_webhook: bool = False


def _function(tool: OfferedTool, _: str = "") -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _openai(tool: OfferedTool, _: str) -> dict[str, Any]:
    # Strict mode would want every parameter required.
    return {"type": "function", **_function(tool), "strict": False}


def _anthropic(tool: OfferedTool, _: str) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.parameters,
    }


def _pipecat(tool: OfferedTool, _: str) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "properties": tool.parameters["properties"],
        "required": tool.parameters["required"],
    }


def _vapi(tool: OfferedTool, base: str) -> dict[str, Any]:
    server = {"url": f"{base}/vapi", "timeoutSeconds": tool.timeout_s}
    return {"type": "function", "function": _function(tool), "server": server}


def _retell(tool: OfferedTool, base: str) -> dict[str, Any]:
    return {
        "type": "custom",
        **_function(tool),
        "url": f"{base}/retell",
        "timeout_ms": tool.timeout_s * 1000,
        "speak_during_execution": True,
        "speak_after_execution": True,
    }


PLATFORMS: Final[Mapping[str, PlatformForm]] = {
    "openai": PlatformForm(_openai),
    "anthropic": PlatformForm(_anthropic),
    "gemini": PlatformForm(_function, lambda tools: [{"functionDeclarations": tools}]),
    "vapi": PlatformForm(_vapi, is_webhook=True),
    "retell": PlatformForm(_retell, is_webhook=True),
    "livekit": PlatformForm(_function),
    "pipecat": PlatformForm(_pipecat),
}
"""ElevenLabs' is in `voice/elevenlabs/agent_config.py`, with all that goes with it."""


# Inside.


def _bullet(text: str) -> str:
    return textwrap.fill(f"- {text}", 88, subsequent_indent="  ")


def _prompt() -> str:
    """Return the prompt with what the companion tools are for and what they answer."""
    tools = COMPANION_TOOLS.values()
    calls = [_bullet(f"Call {tool.name} {tool.when} {tool.how}".rstrip()) for tool in tools]
    statuses = [f'"{status}"' for tool in tools if tool.is_question for status in tool.answers]
    answers = _bullet(
        f'A result with "status": {", ".join(statuses[:-1])} or {statuses[-1]} is the caller\'s '
        "answer. Go on as if they had said it; do not ask again."
    )
    changeable = " or ".join(tool.name for tool in tools if tool.is_changeable)
    changes = _bullet(
        f"The caller can change an answer to {changeable} later. It comes as a message of "
        "the caller: take the new answer, and redo what followed from the old one."
    )
    return _PROMPT.format(calls="\n".join(calls), answers=f"{answers}\n{changes}")


PAIR_PROMPT: Final = (
    _bullet(f"Call {PAIR.name} {PAIR.when} {PAIR.how}")
    + """
- "sent" means that the link is on its way: say so. "ask_first" means that you have not
  asked: do. "no_screen" means that it cannot be sent: say the code instead. While a link is
  on its way, "say" of a later "no_screen" speaks of it: say that, and not the code.
"""
)

PROMPT: Final = _prompt()
"""For every agent with a screen, whatever it runs on."""


def _first_line(tool: ServerTool) -> str:
    text = inspect.getdoc(tool.function) or tool.name.replace("_", " ")
    return text.split("\n\n", 1)[0].replace("\n", " ")


def _parameters(tool: ServerTool) -> Schema:
    properties = {
        name: {
            "type": _literal(tool.annotations.get(name, str)),
            "description": name.replace("_", " "),
        }
        for name in tool.parameters
    }
    required = [
        name
        for name, parameter in tool.parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    return object_schema(properties, required)


def _literal(annotation: Any) -> str:
    """Return the JSON type of an annotation; what is unknown is written as text."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return _literal(kinds[0]) if len(kinds) == 1 else "string"
    return {bool: "boolean", int: "integer", float: "number"}.get(annotation, "string")
