"""A language model for LiveKit Agents that says what a test wants and remembers what it read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

Ask = tuple[str, Any]
"""Name and arguments (an object, or text as the model writes it) of a tool it calls."""


class ScriptedLLM(llm.LLM):
    """Asks what `reply` returns for what was said last, or says it."""

    def __init__(self, reply: Callable[[str, str], str | Ask]) -> None:
        super().__init__()
        self.reply = reply
        self.read: list[tuple[str, str]] = []
        """Role and text of the last thing in the context, one for each request."""
        self.contexts: list[list[tuple[str, str]]] = []
        self.call_id: str | None = None
        self.may_speak = asyncio.Event()
        self.may_speak.set()

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[Any] | None = None,
        conn_options: Any = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        return _Stream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _Stream(llm.LLMStream):
    async def _run(self) -> None:
        model = self._llm
        assert isinstance(model, ScriptedLLM)
        context = [_said(item) for item in self._chat_ctx.items]
        context = [said for said in context if said is not None]
        model.contexts.append(context)
        model.read.append(context[-1])
        await model.may_speak.wait()
        reply = model.reply(*context[-1])
        number = len(model.read)
        delta = llm.ChoiceDelta(role="assistant")
        if isinstance(reply, str):
            delta.content = reply
        else:
            name, arguments = reply
            arguments = arguments if isinstance(arguments, str) else json.dumps(arguments)
            call_id = model.call_id or f"call_{number}"
            call = llm.FunctionToolCall(name=name, arguments=arguments, call_id=call_id)
            delta.tool_calls = [call]
        self._event_ch.send_nowait(llm.ChatChunk(id=f"reply_{number}", delta=delta))


def _said(item: Any) -> tuple[str, str] | None:
    if item.type == "message":
        return item.role, item.text_content or ""
    if item.type == "function_call_output":
        return "tool", item.output
    return None

