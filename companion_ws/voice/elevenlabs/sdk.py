"""All that touches the inside of ElevenLabs' Python SDK; imported only where the SDK is there."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from elevenlabs.conversational_ai.conversation import ClientTools
from websockets.exceptions import WebSocketException

from companion_ws.core.commands import RELAYED
from companion_ws.voice.attachment import Attachment, Undelivered
from companion_ws.voice.calls import SessionCalls
from companion_ws.voice.mailbox import Letter

_UNSENT = (RuntimeError, OSError, WebSocketException)
"""What the SDK raises when it cannot send: not begun, over, or the connection lost."""


class CompanionTools(ClientTools):
    """Client tools that a session answers.

    With names, those are registered; without, every name is answered. Tools of
    your own are registered beside them as ever.

    The SDK's synchronous `Conversation` calls from its own thread and is served on
    the loop `ClientTools` keeps for it. `AsyncConversation` calls from its loop and is
    served right there: its socket is not safe to use from another thread.
    """

    def __init__(self, names: Iterable[str] | None, calls: SessionCalls) -> None:
        super().__init__()
        self.calls = calls
        self._answers_any = names is None
        self._tasks: set[asyncio.Task[None]] = set()
        for name in names or ():
            self.register(name, self._answer_to(name), is_async=True)

    def start(self) -> None:
        """Begin to answer; the SDK says so for each conversation."""
        self.calls.begin()
        super().start()  # type: ignore[no-untyped-call]

    def _answer_to(self, name: str) -> Callable[[dict[str, Any]], Awaitable[str]]:
        async def handler(parameters: dict[str, Any]) -> str:
            return await self._answer(name, parameters)

        return handler

    async def handle(self, tool_name: str, parameters: dict[str, Any]) -> Any:
        """Answer one call. Raises what the SDK turns into an error result."""
        if self._answers_any and tool_name not in self.tools:
            return await self._answer(tool_name, parameters)
        return await super().handle(tool_name, parameters)

    async def _answer(self, tool_name: str, parameters: dict[str, Any]) -> str:
        given = {key: value for key, value in parameters.items() if key != "tool_call_id"}
        return await self.calls.answer(tool_name, given, parameters.get("tool_call_id"))

    def execute_tool(
        self,
        tool_name: str,
        parameters: dict[str, Any],
        callback: Callable[[dict[str, Any]], None],
    ) -> None:
        """Answer a call through `callback`, on the loop the call came from if it came from one."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            super().execute_tool(tool_name, parameters, callback)
            return
        task = loop.create_task(self._execute(tool_name, parameters, callback))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(
        self,
        tool_name: str,
        parameters: dict[str, Any],
        callback: Callable[[dict[str, Any]], None],
    ) -> None:
        try:
            result, is_error = await self.handle(tool_name, parameters), False
        except Exception as failure:
            result, is_error = str(failure), True
        callback(
            {
                "type": "client_tool_result",
                "tool_call_id": parameters.get("tool_call_id"),
                "result": result or f"{tool_name} is done.",
                "is_error": is_error,
            }
        )


class Line:
    """A conversation as its attachment sees it: what it says, and a way to tell it something."""

    def __init__(self, conversation: Any) -> None:
        self._conversation = conversation
        self._loop: asyncio.AbstractEventLoop | None = None
        """The AsyncConversation's, None for a Conversation, which has threads."""

    def tap(self, attachment: Attachment) -> None:
        """Have the attachment hear all ElevenLabs sends, and the end.

        `_handle_message` is private, but the one place where everything passes, and the same
        in every version from 1.57 to 2.78. The conversation's own callbacks are called as ever.
        """
        conversation = self._conversation
        take, end = conversation._handle_message, conversation.callback_end_session

        async def take_async(message: dict[str, Any], ws: Any) -> None:
            self._loop = asyncio.get_running_loop()
            self._hear(message, attachment)
            await take(message, ws)

        async def end_async() -> None:
            attachment.end()
            if end is not None:
                await end()

        def take_sync(message: dict[str, Any], ws: Any) -> None:
            self._hear(message, attachment)
            take(message, ws)

        def end_sync() -> None:
            attachment.end()
            if end is not None:
                end()

        is_async = inspect.iscoroutinefunction(take)
        conversation._handle_message = take_async if is_async else take_sync
        conversation.callback_end_session = end_async if is_async else end_sync

    def _hear(self, message: dict[str, Any], attachment: Attachment) -> None:
        kind = message.get("type", "")
        nest = RELAYED.get(kind)
        if nest is None:
            return
        told = message.get(nest) or {}
        attachment.hear({"type": kind, nest: told})
        if kind == "conversation_initiation_metadata":
            language = _language_of(self._conversation)
            attachment.begin(told.get("conversation_id"), language)

    async def tell(self, letter: Letter) -> None:
        """Send one letter.

        Raises:
            Undelivered: it has not been sent.
        """
        try:
            await self._send(_sending(self._conversation, letter))
        except _UNSENT as trouble:
            raise Undelivered(str(trouble)) from trouble

    async def _send(self, sending: Callable[[], Any]) -> None:
        if self._loop is None:
            await asyncio.to_thread(sending)
            return
        if self._loop is asyncio.get_running_loop():
            await sending()
            return

        async def send_there() -> None:
            await sending()

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(send_there(), self._loop))


def _sending(conversation: Any, letter: Letter) -> Callable[[], Any]:
    match letter.kind:
        case "turn":
            return lambda: conversation.send_user_message(letter.text)
        case "activity":
            return lambda: conversation.register_user_activity()
    if letter.context_id is None:
        return lambda: conversation.send_contextual_update(letter.text)
    return lambda: _send_in_context(conversation, letter)


def _send_in_context(conversation: Any, letter: Letter) -> Any:
    """The SDK's own method cannot say `context_id`, with which the model keeps the newest only."""
    socket = conversation._ws
    if socket is None:
        raise RuntimeError("the conversation is not connected")
    return socket.send(
        json.dumps(
            {"type": "contextual_update", "text": letter.text, "context_id": letter.context_id}
        )
    )


def _language_of(conversation: Any) -> str | None:
    """Return the language the conversation was begun in, where its initiation names one."""
    override = conversation.config.conversation_config_override
    agent = override.get("agent") if isinstance(override, dict) else None
    language = agent.get("language") if isinstance(agent, dict) else None
    return language if isinstance(language, str) else None
