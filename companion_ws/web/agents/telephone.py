"""An agent that calls its tools by webhook: what each call comes to, as something to say.

The model sees nothing but the answer, so a tool that was not called is answered too, in words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from companion_ws.core.commands import DEFAULT_TIMEOUT_MS, Name
from companion_ws.core.errors import CompanionError, InvalidMessage, ToolCallReused
from companion_ws.core.protocol import parse
from companion_ws.core.session import Sender
from companion_ws.core.tool_calls import call_id_of, content_hash
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.voice.json_text import UNREAD, NotUnderstood, read_json
from companion_ws.voice.parameters import patience_ms, understood
from companion_ws.voice.phone_sessions import ToolRequest
from companion_ws.voice.polling import Answer, PollingAgent
from companion_ws.voice.wording import refused_result, tool_reply
from companion_ws.web.agents import long_poll

NOBODY_MS: Final = 9_000
"""A question on the telephone, where silence is long, while nobody has opened the screen."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call of a tool came to, what screens did meanwhile, and what they show."""

    result: str
    is_error: bool
    events: list[dict[str, Any]]
    screens: list[str]

    def body(self) -> dict[str, Any]:
        """Return it as the model reads it."""
        return tool_reply(self.result, self.is_error, self.events, self.screens)


def refused(reason: str, language: str | None = None, *, is_error: bool = True) -> Reply:
    """Return the reply to a call that was not made."""
    if is_error:
        log.warning("webhook_tool_refused", reason=reason)
    return Reply(refused_result(language, reason), is_error, [], [])


class Telephone:
    """Calls tools in a call's session, on behalf of an agent that has no connection."""

    def __init__(self, sessions: Sessions, polling: PollingAgent) -> None:
        self._sessions = sessions
        self._polling = polling

    async def reply(
        self, request: web.Request, summary: Summary, asked: ToolRequest
    ) -> Reply:
        """Call a tool, or wait for what screens do; return what to answer, whatever happens."""
        try:
            if asked.tool_name == "wait_for_companion":
                return await self._wait(request, summary.session_id, asked)
            return await self._ask(request, summary, asked)
        except NotUnderstood as why:
            return refused(str(why), summary.language, is_error=False)
        except (CompanionError, msgspec.ValidationError) as error:
            return refused(str(error), summary.language)

    async def _ask(self, request: web.Request, summary: Summary, asked: ToolRequest) -> Reply:
        session_id = summary.session_id
        here = await self._polling.screens(session_id)
        timeout_ms = patience_ms(asked.tool_name, DEFAULT_TIMEOUT_MS if here else NOBODY_MS)
        answer = await self._answer(request, summary, asked, timeout_ms)
        events = []
        if not long_poll.is_gone(request):
            events = await self._polling.news(session_id, exclude=answer.tool_call_id)
        screens = await self._polling.screens(session_id)
        return Reply(answer.result, answer.is_error, events, screens)

    async def _answer(
        self, request: web.Request, summary: Summary, asked: ToolRequest, timeout_ms: int
    ) -> Answer:
        session_id, tool_name = summary.session_id, msgspec.convert(asked.tool_name, Name)
        parameters = understood(tool_name, asked.parameters)
        sender = Sender("agent", summary.user)
        ids = await self._call_ids(session_id, tool_name, parameters, asked)
        for tool_call_id in ids:
            try:
                put = await self._polling.put(
                    session_id, sender, tool_name, parameters,
                    tool_call_id=tool_call_id, timeout_ms=timeout_ms,
                )  # fmt: skip
                break
            except ToolCallReused:
                if tool_call_id == ids[-1]:
                    raise
        return await self._polling.await_answer(
            session_id, put, timeout_ms / 1000, lambda: long_poll.is_gone(request)
        )

    async def _call_ids(
        self, session_id: str, tool_name: str, parameters: dict[str, Any], asked: ToolRequest
    ) -> list[str | None]:
        """Return the ids to call it by: the platform's, or where that was another's, one of both.

        Some models number the calls of every turn alike; a platform may tell each of them twice.
        """
        if asked.tool_call_id is None:
            return [None]
        call = asked.binding.conversation_id or asked.binding.call_sid
        if not call:
            call = str(await self._sessions.calls.began_at_ms(session_id))
        content = content_hash(tool_name, parameters).hex()
        return [
            call_id_of(call, asked.tool_call_id),
            call_id_of(call, f"{asked.tool_call_id}/{content}"),
        ]

    async def _wait(
        self, request: web.Request, session_id: str, asked: ToolRequest
    ) -> Reply:
        result, events = await long_poll.wait(
            self._polling, request, session_id, asked.parameters
        )
        screens = await self._polling.screens(session_id)
        return Reply(json.dumps(result), False, events, screens)


def written_body(raw: bytes) -> dict[str, Any]:
    """Return the body, as far as one can be made of what a model wrote into it.

    Raises:
        InvalidMessage: it is no JSON object.
    """
    try:
        value = parse(raw) if raw.strip() else {}
    except InvalidMessage:
        try:
            value = read_json(raw.decode("utf-8", "replace"))
        except NotUnderstood as why:
            raise InvalidMessage(str(why)) from None
        if value is UNREAD:
            raise
    if not isinstance(value, dict):
        raise InvalidMessage("The body is a JSON object.")
    return value
