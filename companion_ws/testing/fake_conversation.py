"""One conversation at the fake ElevenLabs: what a test makes the agent do, and what came back."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any, Final, Self

from aiohttp import WSMsgType, web

from .inbox import WAIT_S, Inbox

RESPONSE_TIMEOUT_S: Final = 20.0
"""What a client tool at ElevenLabs waits by default."""
POLICY_VIOLATION: Final = 1008
_FIRST_MESSAGE_S: Final = 10.0


class Refused(Exception):
    """The client sent what the real service closes with 1008; the text says what."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the client answered a tool call with, as it stood on the wire."""

    tool_call_id: str
    result: str
    is_error: bool

    @property
    def json(self) -> Any:
        """Return the result read as JSON. Raises `json.JSONDecodeError` where it is prose."""
        return json.loads(self.result)


class FakeConversation:
    """One client at the fake: its initiation, what it sent, and the agent's side as methods.

    `received` holds every message as it came; `contextual_updates` (the whole
    messages), `user_messages` (texts), `rich_content_taps` (ids) and `user_activities`
    are the same sorted by kind. `close_code` and `close_reason` are None while the conversation lives.
    """

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, *, id: str) -> None:
        self.id = id
        self.agent_id = request.query.get("agent_id", "")
        self.query = dict(request.query)
        self.subprotocol = socket.ws_protocol
        self.initiation: dict[str, Any] = {}
        self.received = Inbox()
        self.contextual_updates = Inbox()
        self.user_messages = Inbox()
        self.rich_content_taps = Inbox()
        self.user_activities = Inbox()
        self.late_results: list[ToolResult] = []
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self._socket = socket
        self._event_ids = itertools.count(1)
        self._calls: dict[str, asyncio.Future[ToolResult]] = {}
        self._late: set[str] = set()
        self._unasked: set[str] = set()
        self._pongs: dict[int, asyncio.Future[None]] = {}
        self._ended = asyncio.Event()

    # What the agent does.

    async def call_tool(
        self,
        name: str,
        parameters: dict[str, Any] | None = None,
        *,
        tool_call_id: str | None = None,
        expects_response: bool = True,
        timeout_s: float = RESPONSE_TIMEOUT_S,
    ) -> ToolResult:
        """Call a client tool and return what the client answers.

        With `expects_response=False` it returns at once with an empty result, as
        the real agent goes on without waiting; an answer that still comes is let in.

        Raises:
            TimeoutError: nothing came in time. The result is then `late_results`'.
            ConnectionError: the conversation ended first.
        """
        tool_call_id = tool_call_id or f"call_{uuid.uuid4().hex}"
        answer: asyncio.Future[ToolResult] = asyncio.get_running_loop().create_future()
        if expects_response:
            self._calls[tool_call_id] = answer
        else:
            self._unasked.add(tool_call_id)
        await self.send(
            {
                "type": "client_tool_call",
                "client_tool_call": {
                    "tool_name": name,
                    "tool_call_id": tool_call_id,
                    "parameters": parameters or {},
                    "event_id": next(self._event_ids),
                    "expects_response": expects_response,
                },
            }
        )
        if not expects_response:
            return ToolResult(tool_call_id, "", False)
        return await self._answer(tool_call_id, answer, timeout_s)

    async def _answer(
        self, tool_call_id: str, answer: asyncio.Future[ToolResult], timeout_s: float
    ) -> ToolResult:
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            self._late.add(tool_call_id)
            raise TimeoutError(f"no result for {tool_call_id} within {timeout_s} s") from None
        finally:
            self._calls.pop(tool_call_id, None)

    async def say(self, text: str) -> None:
        """Let the agent speak: `agent_response`."""
        event = {"agent_response": text, "event_id": next(self._event_ids)}
        await self.send({"type": "agent_response", "agent_response_event": event})

    async def hear(self, text: str) -> None:
        """Let the user have spoken: `user_transcript`."""
        event = {"user_transcript": text, "event_id": next(self._event_ids)}
        await self.send({"type": "user_transcript", "user_transcription_event": event})

    async def correct(self, original: str, corrected: str) -> None:
        """Take back what was said but not heard: `agent_response_correction`."""
        event = {
            "original_agent_response": original,
            "corrected_agent_response": corrected,
            "event_id": next(self._event_ids),
        }
        await self.send(
            {"type": "agent_response_correction", "agent_response_correction_event": event}
        )

    async def interrupt(self) -> None:
        """Let the user have spoken over the agent: `interruption`."""
        event = {"event_id": next(self._event_ids)}
        await self.send({"type": "interruption", "interruption_event": event})

    async def ping(self, timeout_s: float | None = WAIT_S) -> float:
        """Send a ping; return after how many seconds its pong came."""
        event_id = next(self._event_ids)
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs[event_id] = pong
        sent_s = time.monotonic()
        await self.send({"type": "ping", "ping_event": {"event_id": event_id, "ping_ms": 1}})
        async with asyncio.timeout(timeout_s):
            await pong
        return time.monotonic() - sent_s

    async def send(self, message: dict[str, Any]) -> None:
        """Send any message, for kinds that have no method here."""
        await self._socket.send_str(json.dumps(message))

    async def end(self, code: int = 1000, reason: str = "") -> None:
        """End it from the agent's side."""
        self._note_end(code, reason)
        await self._socket.close(code=code, message=reason.encode())

    async def wait_ended(self, timeout_s: float | None = WAIT_S) -> int | None:
        """Wait until it is over; return the close code."""
        async with asyncio.timeout(timeout_s):
            await self._ended.wait()
        return self.close_code

    # What the client does; called by FakeElevenLabs.

    async def begin(self, required_variables: frozenset[str]) -> Self:
        """Read the initiation and answer its metadata. Raises `Refused`."""
        try:
            first = await asyncio.wait_for(self._socket.receive(), _FIRST_MESSAGE_S)
        except TimeoutError as slow:
            raise Refused("no conversation_initiation_client_data came") from slow
        self.initiation = _decoded(first.data if first.type is WSMsgType.TEXT else None)
        await self.received.put(self.initiation)
        _check_initiation(self.initiation, required_variables)
        await self.send(
            {
                "type": "conversation_initiation_metadata",
                "conversation_initiation_metadata_event": {
                    "conversation_id": self.id,
                    "agent_output_audio_format": "pcm_16000",
                    "user_input_audio_format": "pcm_16000",
                },
            }
        )
        return self

    async def listen(self) -> None:
        """Take in what the client sends until it leaves. Raises `Refused`."""
        async for frame in self._socket:
            if frame.type is not WSMsgType.TEXT:
                raise Refused("binary frame")
            message = _decoded(frame.data)
            await self.received.put(message)
            await self._take(message)
        self._note_end(self._socket.close_code, "")

    async def refuse(self, reason: str) -> None:
        """Close with 1008, as the real service does."""
        await self.end(POLICY_VIOLATION, reason[:120])

    @property
    def dynamic_variables(self) -> dict[str, Any]:
        """What the client sent as dynamic variables."""
        return dict(self.initiation.get("dynamic_variables") or {})

    async def _take(self, message: dict[str, Any]) -> None:
        if "user_audio_chunk" in message:  # the one frame without a type
            _text_field(message, "user_audio_chunk")
            return
        match message.get("type"):
            case "pong":
                self._take_pong(message)
            case "client_tool_result":
                self._take_result(message)
            case "contextual_update":
                _text_field(message, "text")
                _optional(message, "context_id", str)
                await self.contextual_updates.put(message)
            case "user_message":
                await self._take_user_message(message)
            case "user_activity":
                await self.user_activities.put(message)
            case "feedback":
                _check_feedback(message)
            case "mcp_tool_approval_result":
                _text_field(message, "tool_call_id")
                if not isinstance(message.get("is_approved"), bool):
                    raise Refused("mcp_tool_approval_result.is_approved is not a boolean")
            case "multimodal_message":
                _optional(message, "text", dict)
                _optional(message, "file", dict)
                _optional(message, "files", list)
            case other:
                raise Refused(f"unknown message type {other!r}")

    async def _take_user_message(self, message: dict[str, Any]) -> None:
        """Its text, or the id of the rich content that was tapped, or both."""
        _optional(message, "rich_content_id", str)
        _optional(message, "text", str)
        if "text" not in message and message.get("rich_content_id") is None:
            raise Refused("user_message.text is not a string")
        if message.get("text") is not None:
            await self.user_messages.put(message["text"])
        if message.get("rich_content_id") is not None:
            await self.rich_content_taps.put(message["rich_content_id"])

    def _take_pong(self, message: dict[str, Any]) -> None:
        pong = self._pongs.pop(message.get("event_id", -1), None)
        if pong is None:
            raise Refused("pong for no ping")
        if not pong.done():
            pong.set_result(None)

    def _take_result(self, message: dict[str, Any]) -> None:
        tool_call_id = _text_field(message, "tool_call_id")
        if not isinstance(message.get("is_error"), bool):
            raise Refused("client_tool_result.is_error is not a boolean")
        result = ToolResult(tool_call_id, _text_field(message, "result"), message["is_error"])
        answer = self._calls.pop(tool_call_id, None)
        if answer is not None and not answer.done():
            answer.set_result(result)
        elif tool_call_id in self._late:
            self._late.discard(tool_call_id)
            self.late_results.append(result)
        elif tool_call_id in self._unasked:
            self._unasked.discard(tool_call_id)
        else:
            raise Refused(f"second or unasked result for {tool_call_id}")

    def _note_end(self, code: int | None, reason: str) -> None:
        if not self._ended.is_set():
            self.close_code, self.close_reason = code, reason
            self._ended.set()
            waiters: list[asyncio.Future[Any]] = [*self._calls.values(), *self._pongs.values()]
            for waiting in waiters:
                if not waiting.done():
                    waiting.set_exception(ConnectionError(f"closed {code} {reason}"))


def _decoded(text: Any) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (TypeError, ValueError) as broken:
        raise Refused("not JSON") from broken
    if not isinstance(message, dict):
        raise Refused("not a JSON object")
    return message


def _text_field(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise Refused(f"{message.get('type', 'audio')}.{name} is not a string")
    return value


def _optional(message: dict[str, Any], name: str, kind: type) -> None:
    value = message.get(name)
    if value is not None and not isinstance(value, kind):
        named = "a string" if kind is str else "an object" if kind is dict else "a list"
        raise Refused(f"{message.get('type')}.{name} is not {named}")


def _check_feedback(message: dict[str, Any]) -> None:
    event_id = message.get("event_id")
    if not isinstance(event_id, int) or isinstance(event_id, bool):
        raise Refused("feedback.event_id is not an integer")
    if message.get("score") not in ("like", "dislike", None):
        raise Refused("feedback.score is neither like nor dislike")


def _check_initiation(message: dict[str, Any], required_variables: frozenset[str]) -> None:
    kind = "conversation_initiation_client_data"
    if message.get("type") != kind:
        raise Refused(f"the first message is not {kind}")
    if kind in message or f"{kind}_event" in message:
        raise Refused(f"{kind} stands flat in its message, not nested in it")
    for name in ("conversation_config_override", "custom_llm_extra_body", "source_info",
                 "tool_mock_config"):  # fmt: skip
        _optional(message, name, dict)
    _optional(message, "user_id", str)
    variables = message.get("dynamic_variables") or {}
    if not isinstance(variables, dict):
        raise Refused("dynamic_variables is not an object")
    for name, value in variables.items():
        if value is not None and not isinstance(value, str | int | float | bool):
            raise Refused(f"dynamic variable {name} is not a string, number or boolean")
    given = {name for name, value in variables.items() if value is not None}
    missing = sorted(required_variables - given)
    if missing:
        raise Refused(f"missing required dynamic variables: {', '.join(missing)}")
