"""What to paste into an agent at ElevenLabs: its tools, its variables and what it must know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from companion_ws.core.commands import RELAYED
from companion_ws.core.companion_tools import object_schema
from companion_ws.sessions.tools import ServerTool
from companion_ws.voice.offered import (
    PAIR_PROMPT,
    PAIRING,
    PROMPT,
    WAIT,
    WAIT_PROMPT,
    WAIT_S,
    OfferedTool,
    offered_tools,
)

PHONE_PROMPT: Final = (
    """
# On the telephone

- The pairing address is {{companion_pairing_url}} and the code is
  {{companion_pairing_code_spoken}}. Offer them once, when a screen would help.
  A screen is connected already: {{companion_screen_connected}}.
- What you know from before: {{companion_summary}}
- If {{companion_status}} is "unavailable" there is no screen for this call: do not offer one.
"""
    + PAIR_PROMPT
    + WAIT_PROMPT
)

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
    offered = offered_tools(server_tools)
    base = public_url.rstrip("/")
    config: dict[str, Any] = {"prompt": PROMPT, "client_events": CLIENT_EVENTS, "tools": []}
    if "client" in wanted:
        config["tools"] += [_client_tool(tool) for tool in offered]
    if "webhook" in wanted:
        config["prompt"] += PHONE_PROMPT
        config["tools"] += [_webhook_tool(base, tool) for tool in offered]
        config["tools"] += [_webhook_tool(base, PAIRING), _wait_tool(base)]
        config["dynamic_variables"] = {"dynamic_variable_placeholders": DYNAMIC_VARIABLES}
        config["webhooks"] = {
            "conversation_initiation": {
                "url": f"{base}/elevenlabs/init",
                "request_headers": {"X-Companion-Secret": "COMPANION_ELEVENLABS_TOOL_SECRET"},
            },
            "post_call": {"url": f"{base}/elevenlabs/post-call"},
        }
    return config


def _client_tool(tool: OfferedTool) -> dict[str, Any]:
    return {
        "type": "client",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "expects_response": True,
        "response_timeout_secs": tool.timeout_s,
    }


def _webhook_tool(base: str, tool: OfferedTool) -> dict[str, Any]:
    return {
        "type": "webhook",
        "name": tool.name,
        "description": tool.description,
        "response_timeout_secs": tool.timeout_s,
        "api_schema": {
            "url": f"{base}/elevenlabs/tools/{tool.name}",
            "method": "POST",
            "request_headers": {
                "X-Companion-Secret": {"secret_id": "COMPANION_ELEVENLABS_TOOL_SECRET"},
                "X-Companion-Session": {"variable_name": "secret__companion_session"},
                "X-Conversation-Id": {"variable_name": "system__conversation_id"},
                "X-Call-Sid": {"variable_name": "system__call_sid"},
            },
            "request_body_schema": tool.parameters,
        },
    }


def _wait_tool(base: str) -> dict[str, Any]:
    seconds = {"type": "number", "constant_value": WAIT_S}
    parameters = object_schema({"seconds": seconds}, ["seconds"])
    return _webhook_tool(base, replace(WAIT, parameters=parameters))
