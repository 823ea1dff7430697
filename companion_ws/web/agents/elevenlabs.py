"""The entrances ElevenLabs uses itself: a call begins, a tool is called, a call has ended.

Rules of this file:

1. Who does not prove to be ElevenLabs changes nothing; without a configured
   secret nobody can.
2. Which session a request is about comes from headers and fields that dynamic
   variables fill, never from what the model wrote. See docs/phone-calls.md.
3. A tool is answered with HTTP 200 and something to say, also when it failed:
   the model never sees other answers.
"""

from __future__ import annotations

import contextlib
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
import structlog
from aiohttp import web

from companion_ws.access.tokens import Claims, Tokens
from companion_ws.config import Config
from companion_ws.core.errors import (
    BodyTooLarge,
    CompanionError,
    NotFound,
    SessionEnded,
    SessionNotFound,
    Unauthenticated,
    Unavailable,
)
from companion_ws.core.session import Sender
from companion_ws.sessions.sessions import Sessions
from companion_ws.voice.elevenlabs.telephony import (
    Variables,
    binding_of,
    initiation,
    language_of,
    post_call_binding,
    post_call_update,
    signature_holds,
    signature_of,
    tool_request,
)
from companion_ws.voice.json_text import NotUnderstood
from companion_ws.voice.phone_sessions import Binding, PhoneSessions
from companion_ws.voice.polling import PollingAgent
from companion_ws.voice.wording import summary_text
from companion_ws.web.agents.telephone import Telephone, refused, written_body
from companion_ws.web.guard import permissions
from companion_ws.web.guard.middleware import CLAIMS
from companion_ws.web.guard.route import PUBLIC, Route

if TYPE_CHECKING:
    from companion_ws.access.pairing import Pairing

SESSION_TOKEN_S: Final = 12 * 3600.0
"""A call's own token lives as long as a session token may."""
LINK_TTL_S: Final = 900
"""A link that is sent to the caller's phone lives as long as a link may."""
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
        calls: PhoneSessions,
        config: Config,
    ) -> None:
        self._sessions = sessions
        self._polling = polling
        self._tokens = tokens
        self._record = record
        self._pairing = pairing
        self._calls = calls
        self._config = config
        self._telephone = Telephone(sessions, polling)

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
        body = written_body(await request.read())
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
        summary, was_there = await self._calls.begin(binding, language_of(body))
        state = await self._sessions.get_session_state(summary.session_id) if was_there else {}
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
        name, raw = request.match_info["name"], await request.read()
        limit = self._config.limit_message_bytes
        try:
            if limit and len(raw) > limit:
                raise BodyTooLarge(f"This is too large: {len(raw)} bytes, {limit} at most.")
            asked = tool_request(name, request.headers, written_body(raw))
            summary = await self._calls.of_call(asked.binding)
        except NotUnderstood as why:
            return web.json_response(refused(str(why), is_error=False).body())
        except CompanionError as error:
            return self._not_done(error.message)
        reply = await self._telephone.reply(request, summary, asked)
        return web.json_response(reply.body())

    def _not_done(self, reason: str) -> web.Response:
        """Answer with something to say: the model sees nothing else."""
        return web.json_response(refused(reason).body())

    async def post_call(self, request: web.Request) -> web.Response:
        """Tell the session that its call is over. A repeated request changes nothing."""
        raw = await request.read()
        secret = self._config.elevenlabs_webhook_secret
        signature = request.headers.get("ElevenLabs-Signature", "")
        if not secret or not signature_holds(secret, signature, raw, time.time()):
            raise Unauthenticated(NOT_SIGNED)
        body = written_body(raw)
        command = post_call_update(body, with_summary=self._config.transcripts)
        binding = post_call_binding(body)
        summary = await self._calls.find(binding)
        if summary is not None:
            ids = {binding.conversation_id, binding.call_sid}
            await self._sessions.calls.over(summary.session_id, ids)
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

    # Who asks.

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

def _bytes(header: str) -> bytes:
    # Header bytes that are no text arrive as lone surrogates.
    return header.encode("utf-8", "surrogateescape")
