"""The entrances ElevenLabs uses itself: a call begins, a tool is called, a call has ended.

Rules of this file:

1. Who does not prove to be ElevenLabs changes nothing; without a configured
   secret nobody can.
2. Which session a request is about comes from headers and fields that dynamic
   variables fill, never from what the model wrote. See docs/voice.md.
3. A tool is answered with HTTP 200 and something to say, also when it failed:
   the model never sees other answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
import structlog
from aiohttp import web

from companion_ws.access.tokens import Claims, Tokens
from companion_ws.config import Config
from companion_ws.core.commands import DEFAULT_TIMEOUT_MS, Name
from companion_ws.core.errors import (
    BodyTooLarge,
    CompanionError,
    InvalidMessage,
    NotFound,
    SessionEnded,
    SessionNotFound,
    Unauthenticated,
    Unavailable,
)
from companion_ws.core.protocol import parse
from companion_ws.core.session import Sender
from companion_ws.core.tool_calls import call_id_of
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.voice.elevenlabs.telephony import (
    Binding,
    ToolRequest,
    Variables,
    binding_of,
    initiation,
    language_of,
    post_call_binding,
    post_call_update,
    signature_holds,
    signature_of,
    tool_reply,
    tool_request,
)
from companion_ws.voice.json_text import UNREAD, NotUnderstood, read_json
from companion_ws.voice.parameters import patience_ms, understood
from companion_ws.voice.polling import PollingAgent
from companion_ws.voice.store import VoiceStore
from companion_ws.voice.wording import refused_result, summary_text
from companion_ws.web.agents import long_poll
from companion_ws.web.guard import permissions
from companion_ws.web.guard.middleware import CLAIMS
from companion_ws.web.guard.route import PUBLIC, Route

if TYPE_CHECKING:
    from companion_ws.access.pairing import Pairing

SESSION_TOKEN_S: Final = 12 * 3600.0
"""A call's own token lives as long as a session token may."""
LINK_TTL_S: Final = 900
"""A link that is sent to the caller's phone lives as long as a link may."""
NOBODY_MS: Final = 9_000
"""A question on the telephone, where silence is long, while nobody has opened the screen."""
TOOL_BYTES: Final = 1024 * 1024
"""Read to be refused in words: a model may write pictures."""
POST_CALL_BYTES: Final = 4 * 1024 * 1024
"""A transcript of an hour with its tool calls; a refusal would be retried, then switched off."""
FETCH_TIMEOUT_S: Final = 10.0
NOT_SIGNED: Final = "The signature of this request does not hold."

log = structlog.get_logger(__name__)


class Webhooks:
    """What ElevenLabs calls over HTTP, and the signed URL pages need to call ElevenLabs."""

    def __init__(
        self,
        sessions: Sessions,
        polling: PollingAgent,
        tokens: Tokens,
        record: Callable[[Claims], Awaitable[None]],
        pairing: Pairing,
        store: VoiceStore,
        config: Config,
    ) -> None:
        self._sessions = sessions
        self._polling = polling
        self._tokens = tokens
        self._record = record
        self._pairing = pairing
        self._store = store
        self._config = config
        self._calls = sessions.calls
        self._arriving = asyncio.Lock()
        """Held while a call finds its session: the next one must see that it is taken."""

    def routes(self) -> list[Route]:
        """Return the routes of this file."""
        page = frozenset({"user", "admin", "session"})
        return [
            Route(
                "POST", "/elevenlabs/init", PUBLIC, self.init, vouch=self._has_secret,
                excuse=self._by_voice_alone,
                summary="A telephone call begins: which session, and how its screen joins.",
            ),
            Route(
                "POST", "/elevenlabs/tools/{name}", PUBLIC, self.tool, vouch=self._has_secret,
                excuse=self._not_done, body_bytes=TOOL_BYTES,
                summary="An agent with no connection calls a tool.",
            ),
            Route(
                "POST", "/elevenlabs/post-call", PUBLIC, self.post_call, body_bytes=POST_CALL_BYTES,
                vouch=self._may_be_signed,
                summary="A conversation has ended.",
            ),
            Route(
                "GET", "/elevenlabs/signed-url", page, self.signed_url,
                summary="A URL with which a page can start a conversation with the agent.",
            ),
        ]  # fmt: skip

    async def init(self, request: web.Request) -> web.Response:
        """Make or find the session of a call; answer its dynamic variables."""
        body = _written_body(await request.read())
        try:
            variables = await self._begin(binding_of(request.headers, body), body)
        except CompanionError as error:
            return self._by_voice_alone(error.message)
        return web.json_response(initiation(variables))

    def _by_voice_alone(self, reason: str) -> web.Response:
        """Without an answer the call itself would fail; it goes on by voice alone."""
        log.warning("call_without_session", reason=reason)
        return web.json_response(initiation(Variables()))

    async def _begin(self, binding: Binding, body: dict[str, Any]) -> Variables:
        async with self._arriving:
            found = await self._find(binding)
            if found is not None and await self._is_anothers(found.session_id, binding):
                found = None
            found = found or await self._of_caller(binding, begins=True)
            summary = await self._on_the_line(found, binding, body)
        state = await self._sessions.get_session_state(summary.session_id) if found else {}
        opened = await self._pairing.open(
            summary.session_id, LINK_TTL_S, has_code=True
        )
        token, claims = self._tokens.issue(
            "session", summary.user, SESSION_TOKEN_S, session_id=summary.session_id, role="agent"
        )
        await self._record(claims)  # The session's owner sees it in the list of tokens.
        return Variables(
            session_id=summary.session_id,
            session_token=token,
            code=opened.code,
            code_url=opened.code_url,
            link=opened.url,
            is_screen_here=bool(await self._polling.screens(summary.session_id)),
            summary=summary_text(state, []),
            status="ready",
        )

    async def tool(self, request: web.Request) -> web.Response:
        """Call a tool in the call's session, or wait for what screens do."""
        name, raw, language = request.match_info["name"], await request.read(), None
        limit = self._config.limit_message_bytes
        try:
            if limit and len(raw) > limit:
                raise BodyTooLarge(f"This is too large: {len(raw)} bytes, {limit} at most.")
            asked = tool_request(name, request.headers, _written_body(raw))
            summary = await self._of_call(asked.binding)
            language = summary.language
            if asked.tool_name == "wait_for_companion":
                return await self._wait(request, summary.session_id, asked)
            return await self._ask(request, summary, asked)
        except NotUnderstood as why:
            result = refused_result(language, str(why))
            return web.json_response(tool_reply(result, False, [], []))
        except (CompanionError, msgspec.ValidationError) as error:
            return self._not_done(str(error), language)

    def _not_done(self, reason: str, language: str | None = None) -> web.Response:
        """Answer with something to say: the model sees nothing else."""
        log.warning("webhook_tool_refused", reason=reason)
        return web.json_response(tool_reply(refused_result(language, reason), True, [], []))

    async def post_call(self, request: web.Request) -> web.Response:
        """Tell the session that its call is over. A repeated request changes nothing."""
        raw = await request.read()
        secret = self._config.elevenlabs_webhook_secret
        signature = request.headers.get("ElevenLabs-Signature", "")
        if not secret or not signature_holds(secret, signature, raw, time.time()):
            raise Unauthenticated(NOT_SIGNED)
        body = _written_body(raw)
        command = post_call_update(body, with_summary=self._config.transcripts)
        binding = post_call_binding(body)
        summary = await self._find(binding)
        if summary is not None:
            ids = {binding.conversation_id, binding.call_sid}
            await self._calls.over(summary.session_id, ids)
            # Sessions end before calls are analysed; that is not a failure to retry.
            with contextlib.suppress(SessionEnded, SessionNotFound):
                if command is not None:
                    sender = Sender("agent", summary.user)
                    await self._sessions.submit(summary.session_id, command, sender)
        return web.json_response({"status": "received"})

    async def signed_url(self, request: web.Request) -> web.Response:
        """Fetch a signed URL for the configured agent; the API key never leaves the server."""
        config, claims = self._config, request[CLAIMS]
        if claims.kind == "session":
            await permissions.check_own_alive(self._sessions, claims)
        if not config.elevenlabs_api_key or not config.elevenlabs_agent_id:
            raise NotFound("No ElevenLabs agent is configured here.")
        url = f"{config.elevenlabs_base_url.rstrip('/')}/v1/convai/conversation/get-signed-url"
        try:
            async with aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
            ) as http:
                async with http.get(
                    url,
                    params={"agent_id": config.elevenlabs_agent_id},
                    headers={"xi-api-key": config.elevenlabs_api_key},
                ) as answer:
                    status, text = answer.status, await answer.read()
            signed = msgspec.json.decode(text)["signed_url"] if status == 200 else None
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError, KeyError) as error:
            raise Unavailable("ElevenLabs did not answer; try again.") from error
        if signed is None:
            log.warning("signed_url_refused", status=status)
            raise Unavailable(f"ElevenLabs refused a signed URL with HTTP {status}.")
        return web.json_response({"signed_url": signed}, headers={"Cache-Control": "no-store"})

    # Who, and which call.

    def _has_secret(self, request: web.Request) -> bool:
        secret = self._config.elevenlabs_tool_secret
        given = request.headers.get("X-Companion-Secret", "")
        if not secret or not hmac.compare_digest(_bytes(given), secret.encode()):
            raise Unauthenticated("X-Companion-Secret is missing or wrong.")
        return True

    def _may_be_signed(self, request: web.Request) -> bool:
        """Only the whole body tells whether the signature holds; its form and age tell sooner."""
        header = request.headers.get("ElevenLabs-Signature", "")
        if not self._config.elevenlabs_webhook_secret or not signature_of(header, time.time()):
            raise Unauthenticated(NOT_SIGNED)
        return False

    async def _of_call(self, binding: Binding) -> Summary:
        """Return the session of a call that is under way; the first sign of one begins it."""
        summary = await self._find(binding)
        if summary is None:
            async with self._arriving:
                found = await self._find(binding) or await self._of_caller(binding, begins=False)
                return await self._on_the_line(found, binding, {})
        await self._bind(summary, binding)
        if summary.is_call:
            # After a long silence the call goes on; it is not sent away for others.
            await self._calls.begin(summary.session_id)
        self._calls.heard(summary.session_id)
        return summary

    async def _on_the_line(
        self, found: Summary | None, binding: Binding, body: dict[str, Any]
    ) -> Summary:
        """Let a call begin, or go on, in the session that was found, or in a new one.

        Raises:
            TooManyRequests: there are as many calls as the limit allows.
        """
        if found is not None and self._calls.is_live(found.session_id):
            await self._calls.begin(found.session_id)
            await self._bind(found, binding)
            return found
        with self._calls.place():
            summary = found or await self._create(binding, body)
            await self._calls.begin(summary.session_id)
        await self._bind(summary, binding)
        return summary

    async def _find(self, binding: Binding) -> Summary | None:
        """Return the live session that a call's token or ids lead to; the first way counts."""
        found = await self._named(binding)
        if found is None and binding.conversation_id:
            found = await self._sessions.find(conversation_id=binding.conversation_id)
        if found is None and binding.call_sid:
            found = await self._sessions.find(call_sid=binding.call_sid)
        return found

    async def _named(self, binding: Binding) -> Summary | None:
        """Return the session its token names; an id alone opens only an unclaimed phone session."""
        for named in filter(None, (binding.session, binding.session_id)):
            try:
                claims = self._tokens.verify(named)
            except CompanionError:
                summary = await self._unclaimed(named, binding.conversation_id)
            else:
                is_agents = claims.kind == "session" and claims.role != "ui"
                session_id = claims.session_id if is_agents else None
                summary = _live(await self._sessions.summary(session_id)) if session_id else None
            if summary is not None:
                return summary
        return None

    async def _unclaimed(self, session_id: str, conversation_id: str) -> Summary | None:
        summary = _live(await self._sessions.summary(session_id))
        if summary is None or summary.user != self._config.elevenlabs_user:
            return None
        since_ms = await self._calls.began_at_ms(session_id)
        known = await self._sessions.conversations.leads_to(session_id, since_ms)
        claimed = {ref for kind, ref in known if kind == "conversation"}
        return None if claimed - {conversation_id} else summary

    async def _is_anothers(self, session_id: str, binding: Binding) -> bool:
        """Whether a call with other ids is under way there: two calls never share a session."""
        if not self._calls.is_live(session_id):
            return False
        since_ms = await self._calls.began_at_ms(session_id)
        known = await self._sessions.conversations.leads_to(session_id, since_ms)
        told = [("conversation", binding.conversation_id), ("call", binding.call_sid)]
        told = [(kind, ref) for kind, ref in told if ref]
        kinds = {kind for kind, _ in known}
        return not known & set(told) and any(kind in kinds for kind, _ in told)

    async def _of_caller(self, binding: Binding, *, begins: bool) -> Summary | None:
        """Return the session of who calls: where a call begins, one in which none is under way.

        Two people may call from one number at once, and never share a session.

        Raises:
            InvalidMessage: several calls of this number are under way; which one is not said.
        """
        caller = binding.caller
        if not caller:
            return None
        known = await self._store.sessions_of(caller, binding.called)
        calling = [session_id for session_id in known if self._calls.is_live(session_id)]
        if not begins and len(calling) > 1:
            raise InvalidMessage("Several calls of this number are under way; say which.")
        free = [session_id for session_id in known if session_id not in calling]
        for session_id in free if begins else [*calling, *free]:
            summary = _live(await self._sessions.summary(session_id))
            if summary is not None:
                return summary
        return None

    async def _create(self, binding: Binding, body: dict[str, Any]) -> Summary:
        return await self._sessions.create(
            self._config.elevenlabs_user,
            title=f"Call from {binding.caller}" if binding.caller else "Call",
            language=language_of(body),
            is_call=True,
        )

    async def _bind(self, summary: Summary, binding: Binding) -> None:
        """Let the call's ids lead here from now on."""
        session_id = summary.session_id
        known = await self._sessions.conversations.leads_to(session_id)
        if binding.conversation_id and ("conversation", binding.conversation_id) not in known:
            await self._sessions.conversations.bind(session_id, conversation_id=binding.conversation_id)
        if binding.call_sid and ("call", binding.call_sid) not in known:
            await self._sessions.conversations.bind(session_id, call_sid=binding.call_sid)
        if binding.caller and summary.user == self._config.elevenlabs_user:
            await self._store.note_caller(
                binding.caller, binding.called, session_id, self._sessions.now_ms()
            )

    # Answers.

    async def _ask(
        self, request: web.Request, summary: Summary, asked: ToolRequest
    ) -> web.Response:
        session_id, tool_name = summary.session_id, msgspec.convert(asked.tool_name, Name)
        here = await self._polling.screens(session_id)
        timeout_ms = patience_ms(tool_name, DEFAULT_TIMEOUT_MS if here else NOBODY_MS)
        put = await self._polling.put(
            session_id,
            Sender("agent", summary.user),
            tool_name,
            understood(tool_name, asked.parameters),
            tool_call_id=await self._call_id(session_id, asked),
            timeout_ms=timeout_ms,
        )
        answer = await self._polling.await_answer(
            session_id, put, timeout_ms / 1000, lambda: long_poll.is_gone(request)
        )
        events = []
        if not long_poll.is_gone(request):
            events = await self._polling.news(session_id, exclude=answer.tool_call_id)
        screens = await self._polling.screens(session_id)
        return web.json_response(tool_reply(answer.result, answer.is_error, events, screens))

    async def _call_id(self, session_id: str, asked: ToolRequest) -> str | None:
        if asked.tool_call_id is None:
            return None
        call = asked.binding.conversation_id or asked.binding.call_sid
        if not call:
            call = str(await self._calls.began_at_ms(session_id))
        return call_id_of(call, asked.tool_call_id)

    async def _wait(
        self, request: web.Request, session_id: str, asked: ToolRequest
    ) -> web.Response:
        result, events = await long_poll.wait(
            self._polling, request, session_id, asked.parameters
        )
        screens = await self._polling.screens(session_id)
        return web.json_response(tool_reply(json.dumps(result), False, events, screens))


def _bytes(header: str) -> bytes:
    # Header bytes that are no text arrive as lone surrogates.
    return header.encode("utf-8", "surrogateescape")


def _written_body(raw: bytes) -> dict[str, Any]:
    """Return the body, as far as one can be made of what a model wrote into it."""
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


def _live(summary: Summary | None) -> Summary | None:
    return summary if summary is not None and summary.ended_at_ms is None else None
