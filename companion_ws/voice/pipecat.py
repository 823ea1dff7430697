"""Pipecat: function handlers that a session answers, and a processor that joins a pipeline to it.

Works with pipecat-ai from 1.4 on. Source: docs/agents.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from companion_ws.client import CompanionClient
from companion_ws.voice.attachment import Attachment, Undelivered
from companion_ws.voice.calls import ANSWER_WITHIN_S, SessionCalls
from companion_ws.voice.mailbox import Letter
from companion_ws.voice.offered import PROMPT, offered_from

try:
    from pipecat.frames.frames import (
        BotStartedSpeakingFrame,
        BotStoppedSpeakingFrame,
        CancelFrame,
        EndFrame,
        Frame,
        LLMContextAssistantTurnFrame,
        LLMMessagesTransformFrame,
        StartFrame,
        TranscriptionFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.services.llm_service import FunctionCallParams, LLMService

    try:
        from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
        from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
    except ImportError:  # before 1.14
        from pipecat.adapters.schemas.function_schema import FunctionSchema
        from pipecat.adapters.schemas.tools_schema import ToolsSchema
except ImportError as missing:
    raise ImportError(f'pip install "companion-ws[pipecat]" ({missing})') from missing

__all__ = ["PROMPT", "CompanionProcessor", "register_companion_tools"]

TAKEN_WITHIN_S: Final = 5.0
"""How long the aggregator may take to read what it is told; an interruption drops it."""
_MARGIN_S: Final = 2.0

Message = dict[str, Any]


def register_companion_tools(
    llm: LLMService[Any],
    companion: CompanionClient,
    tools: Iterable[Mapping[str, Any]] | None = None,
    *,
    answer_within_s: float = ANSWER_WITHIN_S,
) -> ToolsSchema:
    """Register a function handler for each tool of a companion session; return their schema.

    Give the schema to the `LLMContext`. Without `tools` they are the companion tools; with
    server tools, what `companion-ws tools --for livekit` prints under `tools`. A result comes
    within `answer_within_s` seconds; what people answer later, or after an interruption, is
    told by `CompanionProcessor`. `PROMPT` teaches an agent its screen.
    """
    calls = SessionCalls(companion, answer_within_s)

    async def answer(params: FunctionCallParams) -> None:
        text = await calls.text(params.function_name, params.arguments, params.tool_call_id)
        await params.result_callback(_plain(text))

    schemas = []
    for tool in offered_from(tools):
        llm.register_function(tool.name, answer, timeout_secs=answer_within_s + _MARGIN_S)
        parameters = tool.parameters
        schemas.append(
            FunctionSchema(
                name=tool.name,
                description=tool.description,
                properties=parameters["properties"],
                required=parameters["required"],
            )
        )
    return ToolsSchema(standard_tools=schemas)


class CompanionProcessor(FrameProcessor):
    """Joins a pipeline to a companion session; it stands right before the user's aggregator.

    To the session: what the user and the agent said. To the model: taps, typed messages and late
    answers as the user's words, at once or when the bot has spoken; what screens show, set or
    update as messages that start no reply, of one `context_id` the newest. What was not told
    when the pipeline ends is told by the processor that is made with `previous`.
    """

    def __init__(
        self, companion: CompanionClient, *, previous: CompanionProcessor | None = None
    ) -> None:
        super().__init__()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._updates: dict[str, Message] = {}
        """What the model was told last, by context id."""
        before = previous.attachment if previous is not None else None
        self.attachment: Attachment = Attachment(companion, self._tell, previous=before)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Hear what passes, and let it pass."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            self.attachment.heard_user(frame.text)
        elif isinstance(frame, LLMContextAssistantTurnFrame):
            self.attachment.heard_agent(frame.text)
        elif isinstance(frame, BotStartedSpeakingFrame):
            self._is_quiet.clear()
        elif isinstance(frame, BotStoppedSpeakingFrame):
            self._is_quiet.set()
        elif isinstance(frame, EndFrame | CancelFrame):
            self.attachment.end()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self.attachment.begin()

    async def _tell(self, letter: Letter) -> None:
        """Tell the model one letter.

        Raises:
            Undelivered: it is not in the model's context.
        """
        if letter.kind == "turn":
            await self._is_quiet.wait()
            await self._add({"role": "user", "content": letter.text}, run_llm=True)
        elif letter.kind == "update":
            message = {"role": "system", "content": letter.text}
            await self._add(message, self._updates.get(letter.context_id or ""))
            if letter.context_id is not None:
                self._updates[letter.context_id] = message

    async def _add(
        self, message: Message, instead_of: Message | None = None, *, run_llm: bool = False
    ) -> None:
        taken, is_void = asyncio.Event(), False

        def transform(messages: list[Any]) -> list[Any]:
            if is_void:
                return messages
            taken.set()
            return [old for old in messages if old != instead_of] + [message]

        await self.push_frame(LLMMessagesTransformFrame(transform=transform, run_llm=run_llm))
        try:
            await asyncio.wait_for(taken.wait(), TAKEN_WITHIN_S)
        except TimeoutError:
            is_void = True
            raise Undelivered("the pipeline did not take it") from None


def _plain(result: str) -> Any:
    """Return what Pipecat writes as JSON itself."""
    try:
        return json.loads(result)
    except ValueError:
        return result
