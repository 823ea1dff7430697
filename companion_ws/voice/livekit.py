"""LiveKit Agents: function tools that a session answers, and an AgentSession joined to it.

Works with livekit-agents from 1.4 on. Source: docs/agents.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from companion_ws.client import CompanionClient
from companion_ws.voice.attachment import Attachment, Undelivered
from companion_ws.voice.calls import ANSWER_WITHIN_S, SessionCalls, ToolError
from companion_ws.voice.mailbox import Letter
from companion_ws.voice.offered import PROMPT, OfferedTool, offered_from

try:
    from livekit.agents import AgentSession, RunContext, function_tool, llm
except ImportError as missing:
    raise ImportError(f'pip install "companion-ws[livekit]" ({missing})') from missing

__all__ = ["PROMPT", "Attachment", "CompanionToolset", "attach", "companion_toolset"]

_UPDATE_ID: Final = "companion_"
"""Begins the ids of what an agent was told about its screen, so that a newer one replaces it."""


class CompanionToolset(llm.Toolset):
    """Function tools for an `Agent`: pass it in `tools`, or spread it there."""

    def __init__(self, tools: Iterable[OfferedTool], calls: SessionCalls) -> None:
        super().__init__(id="companion")
        self._offered = [_function_tool(tool, calls) for tool in tools]

    @property
    def tools(self) -> list[Any]:
        """The function tools, one for each tool of the session."""
        return self._offered

    def __iter__(self) -> Iterator[Any]:
        return iter(self._offered)

    def __len__(self) -> int:
        return len(self._offered)


def companion_toolset(
    companion: CompanionClient,
    tools: Iterable[Mapping[str, Any]] | None = None,
    *,
    answer_within_s: float = ANSWER_WITHIN_S,
) -> CompanionToolset:
    """Return the tools of a companion session for an `Agent`.

    Without `tools` they are the companion tools; with server tools, what `companion-ws tools
    --for livekit` prints under `tools`. A result is text and comes within `answer_within_s`
    seconds; what people answer later is told by `attach`. `PROMPT` teaches an agent its screen.
    """
    return CompanionToolset(offered_from(tools), SessionCalls(companion, answer_within_s))


def attach(
    session: AgentSession[Any], companion: CompanionClient, *, previous: Attachment | None = None
) -> Attachment:
    """Join an `AgentSession` and a companion session, before or after it is started.

    To the companion session: what the user and the agent said. To the agent: taps, typed
    messages and late answers, each by `generate_reply`; what screens show, set or update, as
    messages of its chat context, of one `context_id` the newest. What was not delivered when
    the AgentSession closes waits for the one that is attached with `previous`.
    """
    line = _Line(session)
    attachment = Attachment(companion, line.tell, previous=previous)
    line.tap(attachment)
    return attachment


def _function_tool(tool: OfferedTool, calls: SessionCalls) -> Any:
    async def call(raw_arguments: dict[str, object], context: RunContext[Any]) -> str:
        try:
            return await calls.answer(tool.name, raw_arguments, context.function_call.call_id)
        except ToolError as error:
            raise llm.ToolError(str(error)) from error

    raw_schema = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return function_tool(call, raw_schema=raw_schema)


class _Line:
    """An AgentSession as its attachment sees it: what is said there, and a way to tell it something."""

    def __init__(self, session: AgentSession[Any]) -> None:
        self._session = session
        self._telling = ""
        """The turn that is on its way into the conversation."""
        self._told = asyncio.Event()

    def tap(self, attachment: Attachment) -> None:
        """Have the attachment hear what is said, and when the conversation begins and ends."""
        session = self._session

        def on_state(event: Any) -> None:
            if event.old_state == "initializing":
                attachment.begin()

        def on_item(event: Any) -> None:
            role, text = getattr(event.item, "role", ""), getattr(event.item, "text_content", None)
            if role == "user" and text == self._telling:
                self._told.set()
            elif role == "user":
                attachment.heard_user(text or "")
            elif role == "assistant":
                attachment.heard_agent(text or "")

        session.on("agent_state_changed", on_state)
        session.on("conversation_item_added", on_item)
        session.on("close", lambda event: attachment.end())
        if session.agent_state != "initializing":
            attachment.begin()

    async def tell(self, letter: Letter) -> None:
        """Tell the agent one letter.

        Raises:
            Undelivered: it is not in the conversation.
        """
        try:
            match letter.kind:
                case "turn":
                    await self._say(letter.text)
                case "update":
                    await self._update(letter)
        except RuntimeError as trouble:  # not started, or closing
            raise Undelivered(str(trouble)) from trouble

    async def _say(self, text: str) -> None:
        self._telling = text
        self._told.clear()
        is_over = asyncio.Event()
        try:
            reply = self._session.generate_reply(user_input=text)
            reply.add_done_callback(lambda _: is_over.set())
            waits = [asyncio.ensure_future(event.wait()) for event in (self._told, is_over)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        finally:
            self._telling = ""
        if not self._told.is_set():
            # A reply that is interrupted while it waits its turn takes the user's words with it.
            raise Undelivered("the reply was interrupted before it began")

    async def _update(self, letter: Letter) -> None:
        agent = self._session.current_agent
        context = agent.chat_ctx.copy()
        message_id = f"{_UPDATE_ID}{letter.context_id}" if letter.context_id else None
        context.items = [item for item in context.items if item.id != message_id]
        message = llm.ChatMessage(role="system", content=[letter.text])
        if message_id is not None:
            message.id = message_id
        context.items.append(message)
        await agent.update_chat_ctx(context)
