"""A language model service for Pipecat that says what a test wants and remembers what it read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService

Ask = tuple[str, Any]
"""Name and arguments of a tool it calls."""


class ScriptedLLM(LLMService[Any]):
    """Asks what `reply` returns for what was said last, or says it."""

    def __init__(self, reply: Callable[[str, str], str | Ask]) -> None:
        super().__init__()
        self.reply = reply
        self.read: list[tuple[str, str]] = []
        self.contexts: list[list[tuple[str, str]]] = []
        self.said: list[str] = []
        self.call_id: str | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        context = [_said(message) for message in frame.context.get_messages()]
        self.contexts.append([said for said in context if said is not None])
        self.read.append(self.contexts[-1][-1])
        reply = self.reply(*self.read[-1])
        await self.push_frame(LLMFullResponseStartFrame())
        if isinstance(reply, str):
            self.said.append(reply)
            await self.push_frame(LLMTextFrame(reply))
        else:
            name, arguments = reply
            call_id = self.call_id or f"call_{len(self.read)}"
            asked = FunctionCallFromLLM(
                function_name=name, tool_call_id=call_id, arguments=arguments, context=frame.context
            )
            await self.run_function_calls([asked])
        await self.push_frame(LLMFullResponseEndFrame())

    def turns(self) -> list[str]:
        return [text for role, text in self.read if role == "user"]


def _said(message: Any) -> tuple[str, str] | None:
    content = message.get("content")
    if content is None:
        return None
    return message["role"], content if isinstance(content, str) else json.dumps(content)
