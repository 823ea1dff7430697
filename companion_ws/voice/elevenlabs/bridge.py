"""The bridge between an ElevenLabs conversation in Python and a companion session.

Source: docs/voice.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from companion_ws.client import CompanionClient
from companion_ws.voice.attachment import Attachment
from companion_ws.voice.calls import ANSWER_WITHIN_S, SessionCalls, ToolError

if TYPE_CHECKING:
    from elevenlabs.conversational_ai.conversation import (
        AsyncConversation,
        ClientTools,
        Conversation,
    )

__all__ = ["ANSWER_WITHIN_S", "Attachment", "ToolError", "attach", "companion_tools"]


def companion_tools(
    companion: CompanionClient,
    names: Iterable[str] | None = None,
    *,
    answer_within_s: float = ANSWER_WITHIN_S,
) -> ClientTools:
    """Return a real ElevenLabs `ClientTools` whose tools are answered by the session.

    Each named tool, or without names every tool the agent calls, becomes a
    `client_tool_call` with ElevenLabs' `tool_call_id`: a server tool runs or a screen
    answers. The result is a string and comes within `answer_within_s` seconds of the
    call; set the tool's response timeout at ElevenLabs above it. What comes later is
    told to the agent as the user's turn, provided that `attach` was called.

    Works with `Conversation` and `AsyncConversation`, whatever thread they call from.
    """
    tools: ClientTools = _sdk().CompanionTools(names, SessionCalls(companion, answer_within_s))
    return tools


def attach(
    conversation: Conversation | AsyncConversation,
    companion: CompanionClient,
    *,
    previous: Attachment | None = None,
) -> Attachment:
    """Join a conversation and a session; call it before `start_session`.

    To the session: the conversation id, transcripts, responses, corrections,
    interruptions and tool notices. To the agent: `user_message` (taps, late
    answers) and card buttons as turns; what screens show, set or update as
    contextual updates; activity as activity. All of it waits until the
    conversation is there, and what was not delivered when it ends is in `pending`: give
    the attachment as `previous` to that of the next conversation. What people answer to a
    question whose conversation is over becomes a turn of the newest one.

    Call it on the companion's loop. It lasts until `close` or until the companion is left.
    """
    sdk = _sdk()
    tools = conversation.client_tools
    calls = tools.calls if isinstance(tools, sdk.CompanionTools) else None
    line = sdk.Line(conversation)
    attachment = Attachment(companion, line.tell, calls=calls, previous=previous)
    line.tap(attachment)
    return attachment


def _sdk() -> Any:
    """Return what touches the SDK. Raises `ImportError` with what to install."""
    try:
        from companion_ws.voice.elevenlabs import sdk as elevenlabs_sdk
    except ImportError as missing:
        raise ImportError(f'pip install "companion-ws[elevenlabs]" ({missing})') from missing
    return elevenlabs_sdk
