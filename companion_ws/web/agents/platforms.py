"""The entrances of platforms that call us by webhook alone: Vapi and Retell.

Rules of this file:

1. Who does not prove to be the platform changes nothing; without its secret there is no such route.
2. Which session a request is about is what the platform says of the call, never what the model wrote.
3. A tool is answered with HTTP 200 and something to say. What tells of a call is answered 2xx, also
   where it means nothing here: anything else would be sent again. Only a disk that is full, or a
   server that stops, asks for that.
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import Any, Final

import structlog
from aiohttp import web

from companion_ws.config import Config
from companion_ws.core.errors import (
    CompanionError,
    InvalidMessage,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from companion_ws.core.session import Sender
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.voice.json_text import NotUnderstood, mended
from companion_ws.voice.parameters import arguments_in
from companion_ws.voice.phone_sessions import PhoneSessions, ToolRequest
from companion_ws.voice.platform_call import MAX_ASKED, Asked, Platform, Told
from companion_ws.voice.polling import PollingAgent
from companion_ws.voice.retell import RETELL
from companion_ws.voice.vapi import VAPI
from companion_ws.web.agents.telephone import Telephone, refused, written_body
from companion_ws.web.guard.route import PUBLIC, Route

BODY_BYTES: Final = 4 * 1024 * 1024
"""A message may carry the whole transcript, with the time of every word."""
MAX_TOLD: Final = 20_000
"""Utterances that are known to be stored; another one is found to be by its requestId."""
_SUMMARIES: Final = {
    "vapi": "A server message of Vapi: what happens in a call, or tools its model calls.",
    "retell": "A custom function of a Retell agent, or an event of one of its calls.",
}

log = structlog.get_logger(__name__)


class PlatformWebhooks:
    """What Vapi and Retell call over HTTP."""

    def __init__(
        self, sessions: Sessions, polling: PollingAgent, calls: PhoneSessions, config: Config
    ) -> None:
        self._sessions = sessions
        self._calls = calls
        self._config = config
        self._telephone = Telephone(sessions, polling)
        self._told: dict[str, None] = {}
        """The requestIds that were stored lately: a transcript is told from its start each time."""

    def routes(self) -> list[Route]:
        """Return the routes of this file."""
        return [
            Route(
                "POST", f"/{platform.name}", PUBLIC, partial(self._heard, platform),
                vouch=partial(self._vouch, platform),
                excuse=partial(_unread, platform),
                body_bytes=BODY_BYTES,
                summary=_SUMMARIES[platform.name],
            )
            for platform in (VAPI, RETELL)
        ]  # fmt: skip

    def _vouch(self, platform: Platform, request: web.Request) -> bool:
        secret = getattr(self._config, platform.secret)
        if not secret:
            raise NotFound("There is nothing here.")
        proof = platform.proof(request.headers, secret, time.time())
        if proof == "none":
            raise Unauthenticated("The secret or the signature of this request is missing or wrong.")
        return proof == "given"

    async def _heard(self, platform: Platform, request: web.Request) -> web.Response:
        raw, secret = await request.read(), getattr(self._config, platform.secret)
        if not self._vouch(platform, request) and not platform.holds(request.headers, secret, raw):
            raise Unauthenticated("The signature of this request does not hold.")
        try:
            told = platform.read(mended(written_body(raw)))
        except (InvalidMessage, NotUnderstood) as why:
            return _unread(platform, str(why))
        if told.asked is not None:
            return await self._called(platform, request, told, told.asked)
        await self._noted(platform, told)
        return _json(told.answer)

    async def _called(
        self, platform: Platform, request: web.Request, told: Told, asked: list[Asked]
    ) -> web.Response:
        summary: Summary | None = None
        why = "This says of no call."
        try:
            if any((told.binding.session, told.binding.conversation_id)):
                summary = await self._calls.of_named_call(told.binding)
        except CompanionError as error:
            why = error.message
        one = partial(self._one, request, told, summary, why)
        results = await asyncio.gather(*(one(place, each) for place, each in enumerate(asked)))
        return _json(platform.answer(list(zip(asked, results, strict=True))))

    async def _one(
        self,
        request: web.Request,
        told: Told,
        summary: Summary | None,
        why: str,
        place: int,
        asked: Asked,
    ) -> dict[str, Any]:
        """Return what the model reads of one of the tools it called."""
        if summary is None:
            return refused(why).body()
        if place >= MAX_ASKED:
            return refused("So many tools are not called at once.", summary.language).body()
        try:
            arguments = arguments_in(asked.arguments)
        except NotUnderstood as error:
            return refused(str(error), summary.language, is_error=False).body()
        size, limit = len(json.dumps(arguments)), self._config.limit_message_bytes
        if limit and size > limit:
            why = f"This is too large: {size} bytes, {limit} at most."
            return refused(why, summary.language).body()
        tool = ToolRequest(asked.tool_name, arguments, asked.tool_call_id, told.binding)
        return (await self._telephone.reply(request, summary, tool)).body()

    async def _noted(self, platform: Platform, told: Told) -> None:
        """Let a call begin, or end, and write down what was said in it."""
        binding = told.binding
        if not (binding.conversation_id or binding.session):
            return
        try:
            if told.begins:
                await self._calls.of_named_call(binding)
            summary = await self._calls.find(binding)
        except TooManyRequests as error:
            log.warning("call_without_session", reason=error.message)
            return  # It goes on by voice alone.
        if summary is None:
            return
        self._sessions.calls.heard(summary.session_id)
        sender = Sender("agent", summary.user)
        for command in told.commands:
            await self._submit(summary.session_id, command, sender)
        if told.is_over:
            ids = {binding.conversation_id, binding.call_sid}
            await self._sessions.calls.over(summary.session_id, ids)

    async def _submit(self, session_id: str, command: dict[str, Any], sender: Sender) -> None:
        request_id = f"{session_id}/{command['requestId']}"
        if request_id in self._told:
            return
        if not self._config.transcripts and isinstance(command.get("data"), dict):
            command["data"].pop("summary", None)
        try:
            await self._sessions.submit(session_id, command, sender)
        except Unavailable:
            raise
        except CompanionError as error:
            # Sessions end before calls are analysed; that is not a failure to send again.
            log.info("webhook_told_in_vain", session_id=session_id, reason=error.message)
        self._told[request_id] = None
        while len(self._told) > MAX_TOLD:
            self._told.pop(next(iter(self._told)))


def _unread(platform: Platform, reason: str) -> web.Response:
    """Answer what could not be read so that it is not sent again."""
    return _json(platform.refused(refused(reason).body()))


def _json(body: dict[str, Any]) -> web.Response:
    """Characters as they are: the platform counts those of the answer."""
    return web.json_response(body, dumps=partial(json.dumps, ensure_ascii=False))
