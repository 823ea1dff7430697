"""OpenAI's Agents SDK: function tools that a session answers, and a RealtimeSession joined to it.

Works with openai-agents from 0.19 on. Source: docs/agents.md.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from companion_ws.client import CompanionClient
from companion_ws.voice.attachment import Attachment, Undelivered
from companion_ws.voice.calls import ANSWER_WITHIN_S, SessionCalls
from companion_ws.voice.mailbox import Letter
from companion_ws.voice.offered import PROMPT, OfferedTool, offered_from
from companion_ws.voice.turns import Turns

try:
    from agents import FunctionTool
    from agents.realtime import RealtimeModelListener, RealtimeSession
    from agents.realtime.model_inputs import RealtimeModelSendRawMessage
except ImportError as missing:
    raise ImportError(f'pip install "companion-ws[openai]" ({missing})') from missing

__all__ = ["PROMPT", "Turns", "attach", "companion_tools"]


def companion_tools(
    companion: CompanionClient,
    tools: Iterable[Mapping[str, Any]] | None = None,
    *,
    answer_within_s: float = ANSWER_WITHIN_S,
) -> list[FunctionTool]:
    """Return the tools of a companion session for an `Agent` or a `RealtimeAgent`.

    Without `tools` they are the companion tools; with server tools, what `companion-ws tools
    --for openai` prints under `tools`. A result is text and comes within `answer_within_s`
    seconds. What people answer later is told by `attach` (Realtime), or is among the `Turns` to
    run an `Agent` with. `PROMPT` teaches an agent its screen.
    """
    calls = SessionCalls(companion, answer_within_s)
    return [_function_tool(tool, calls) for tool in offered_from(tools)]


def attach(
    session: RealtimeSession, companion: CompanionClient, *, previous: Attachment | None = None
) -> Attachment:
    """Join an entered `RealtimeSession` and a companion session.

    To the companion session: what the user and the agent said. To the model: taps, typed
    messages and late answers as messages of the user that it answers, once it has spoken; what
    screens show, set or update as system messages that it does not, of one `context_id` the
    newest. What was not delivered when the connection ends waits for the session that is
    attached with `previous`.
    """
    line = _Line(session)
    attachment = Attachment(companion, line.tell, previous=previous)
    line.tap(attachment)
    return attachment


def _function_tool(tool: OfferedTool, calls: SessionCalls) -> FunctionTool:
    async def invoke(context: Any, arguments: str) -> str:
        return await calls.text(tool.name, arguments, getattr(context, "tool_call_id", None))

    return FunctionTool(
        name=tool.name,
        description=tool.description,
        params_json_schema=dict(tool.parameters),
        on_invoke_tool=invoke,
        strict_json_schema=False,  # it would want every parameter required
    )


class _Line(RealtimeModelListener):
    """A RealtimeSession as its attachment sees it: what is said, and a way to tell it something."""

    def __init__(self, session: RealtimeSession) -> None:
        self._session = session
        self._attachment: Attachment | None = None
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._said: dict[str, str] = {}
        """What the agent says in this turn, by item."""
        self._known: set[str] = set()
        """Items of the user that were heard."""
        self._told: list[str] = []
        """What was told as the user's words; it comes back as an item, which is skipped."""
        self._updates: dict[str, str] = {}
        """The item of what the model was told last, by context id."""

    def tap(self, attachment: Attachment) -> None:
        """Have the attachment hear what is said, and when it ends."""
        self._attachment = attachment
        self._session.model.add_listener(self)
        attachment.begin()

    async def on_event(self, event: Any) -> None:
        """Hear one event of the model's."""
        attachment = self._attachment
        assert attachment is not None
        match event.type:
            case "turn_started":
                self._is_quiet.clear()
            case "turn_ended":
                attachment.heard_agent("\n".join(filter(None, self._said.values())))
                self._said.clear()
                self._is_quiet.set()
            case "transcript_delta" | "output_text_delta":
                self._said[event.item_id] = self._said.get(event.item_id, "") + event.delta
            case "input_audio_transcription_completed":
                attachment.heard_user(event.transcript)
            case "item_updated":
                self._hear_item(event.item, attachment)
            case "end_of_stream":
                attachment.end()
            case "connection_status" if event.status == "disconnected":
                attachment.end()

    def _hear_item(self, item: Any, attachment: Attachment) -> None:
        role = getattr(item, "role", "")
        parts = getattr(item, "content", [])
        if role == "assistant":
            words = [getattr(part, "transcript", None) or getattr(part, "text", None) for part in parts]
            text = "".join(filter(None, words))
            self._said[item.item_id] = text or self._said.get(item.item_id, "")
        elif role == "user" and item.item_id not in self._known:
            text = "".join(part.text or "" for part in parts if part.type == "input_text")
            self._known.add(item.item_id)
            if text in self._told:
                self._told.remove(text)
            else:
                attachment.heard_user(text)

    async def tell(self, letter: Letter) -> None:
        """Tell the model one letter.

        Raises:
            Undelivered: it was not sent.
        """
        try:
            if letter.kind == "turn":
                await self._is_quiet.wait()
                await self._say(letter.text)
            elif letter.kind == "update":
                await self._update(letter)
        except Exception as trouble:  # whatever the transport raises: it is gone, and stays so
            if self._attachment is not None:
                self._attachment.end()
            raise Undelivered(f"{type(trouble).__name__}: {trouble}") from trouble

    async def _say(self, text: str) -> None:
        self._told.append(text)
        try:
            await self._session.send_message(text)
        except BaseException:
            self._told.remove(text)
            raise

    async def _update(self, letter: Letter) -> None:
        item_id = f"companion_{uuid.uuid4().hex[:20]}"
        content = [{"type": "input_text", "text": letter.text}]
        item = {"id": item_id, "type": "message", "role": "system", "content": content}
        before = self._updates.pop(letter.context_id or "", None)
        if before is not None:
            await self._send("conversation.item.delete", item_id=before)
        await self._send("conversation.item.create", item=item)
        if letter.context_id is not None:
            self._updates[letter.context_id] = item_id

    async def _send(self, kind: str, **fields: Any) -> None:
        message: Any = {"type": kind, "other_data": fields}
        await self._session.model.send_event(RealtimeModelSendRawMessage(message=message))
