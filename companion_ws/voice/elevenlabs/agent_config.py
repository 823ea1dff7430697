"""What to paste into an agent at ElevenLabs: its tools, its variables and what it must know."""

from __future__ import annotations

import inspect
import textwrap
import types
import typing
from collections.abc import Iterable
from typing import Any, Final

from companion_ws.core.commands import RELAYED
from companion_ws.core.companion_tools import COMPANION_TOOLS, Schema, object_schema
from companion_ws.sessions.tools import ServerTool

CLIENT_TIMEOUT_S: Final = 20
"""The session answers client tools after 18 s at the latest."""
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
- What arrives as a contextual update tells you what the screen shows or what was
  changed there. Take it into account; do not comment on it.
- Never read ids, tokens or links aloud, except the pairing address and code.
"""



def _bullet(text: str) -> str:
    return textwrap.fill(f"- {text}", 88, subsequent_indent="  ")


def _prompt() -> str:
    """Return the prompt with what the companion tools are for and what they answer."""
    tools = COMPANION_TOOLS.values()
    calls = [_bullet(f"Call {tool.name} {tool.when}") for tool in tools]
    statuses = [f'"{status}"' for tool in tools if tool.is_question for status in tool.answers]
    answers = _bullet(
        f'A result with "status": {", ".join(statuses[:-1])} or {statuses[-1]} is the caller\'s '
        "answer. Go on as if they had said it; do not ask again."
    )
    return _PROMPT.format(calls="\n".join(calls), answers=answers)


PROMPT: Final = _prompt()

PHONE_PROMPT: Final = """
# On the telephone

- The pairing address is {{companion_pairing_url}} and the code is
  {{companion_pairing_code_spoken}}. Offer them once, when a screen would help.
  A screen is connected already: {{companion_screen_connected}}.
- What you know from before: {{companion_summary}}
- If {{companion_status}} is "unavailable" there is no screen for this call: do not offer one.
- After you have asked the caller to do something on the screen, call
  wait_for_companion. "waiting" means that nothing happened yet: say so briefly and
  offer to go on by voice.
"""

CLIENT_EVENTS: Final = ["audio", "client_tool_call", "ping", *RELAYED]
"""What the agent's client must be sent for the screen to show it."""

DYNAMIC_VARIABLES: Final = {
    "companion_session_id": "",
    "secret__companion_session": "",
    "companion_pairing_code": "",
    "companion_pairing_code_spoken": "",
    "companion_pairing_url": "",
    "companion_pairing_link": "",
    "companion_screen_connected": False,
    "companion_summary": "",
    "companion_status": "unavailable",
}
"""Placeholders; `POST /elevenlabs/init` fills them when a call begins."""


def agent_config(
    public_url: str, server_tools: Iterable[ServerTool] = (), kinds: Iterable[str] = ()
) -> dict[str, Any]:
    """Return `{prompt, client_events, dynamic_variables, tools, webhooks}`.

    `kinds` holds `client` (an agent that runs in a page or a Python process), `webhook`
    (one on the telephone) or both, which is what nothing means. Every webhook URL
    begins with `public_url`.
    """
    wanted = set(kinds) or {"client", "webhook"}
    described = {tool.name: (tool.description, tool.schema) for tool in COMPANION_TOOLS.values()}
    for tool in server_tools:
        described[tool.name] = (_first_line(tool), _parameters(tool))
    base = public_url.rstrip("/")
    config: dict[str, Any] = {"prompt": PROMPT, "client_events": CLIENT_EVENTS, "tools": []}
    if "client" in wanted:
        config["tools"] += [_client_tool(name, *about) for name, about in described.items()]
    if "webhook" in wanted:
        config["prompt"] += PHONE_PROMPT
        config["tools"] += [_webhook_tool(base, name, *about) for name, about in described.items()]
        config["tools"].append(_wait_tool(base))
        config["dynamic_variables"] = {"dynamic_variable_placeholders": DYNAMIC_VARIABLES}
        config["webhooks"] = {
            "conversation_initiation": {
                "url": f"{base}/elevenlabs/init",
                "request_headers": {"X-Companion-Secret": "COMPANION_ELEVENLABS_TOOL_SECRET"},
            },
            "post_call": {"url": f"{base}/elevenlabs/post-call"},
        }
    return config


def _client_tool(name: str, description: str, parameters: Schema) -> dict[str, Any]:
    return {
        "type": "client",
        "name": name,
        "description": description,
        "parameters": parameters,
        "expects_response": True,
        "response_timeout_secs": CLIENT_TIMEOUT_S,
    }


def _webhook_tool(
    base: str, name: str, description: str, parameters: Schema, timeout_s: int = CLIENT_TIMEOUT_S
) -> dict[str, Any]:
    return {
        "type": "webhook",
        "name": name,
        "description": description,
        "response_timeout_secs": timeout_s,
        "api_schema": {
            "url": f"{base}/elevenlabs/tools/{name}",
            "method": "POST",
            "request_headers": {
                "X-Companion-Secret": {"secret_id": "COMPANION_ELEVENLABS_TOOL_SECRET"},
                "X-Companion-Session": {"variable_name": "secret__companion_session"},
                "X-Conversation-Id": {"variable_name": "system__conversation_id"},
                "X-Call-Sid": {"variable_name": "system__call_sid"},
            },
            "request_body_schema": parameters,
        },
    }


def _wait_tool(base: str) -> dict[str, Any]:
    seconds = {"type": "number", "constant_value": WAIT_S}
    return _webhook_tool(
        base,
        "wait_for_companion",
        "Waits until the caller does something on the companion screen.",
        object_schema({"seconds": seconds}, ["seconds"]),
        WAIT_TIMEOUT_S,
    )


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
