"""A strict ElevenLabs on this machine that the real SDKs talk to, without an account."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from aiohttp import web

from .fake_conversation import FakeConversation, Refused, ToolResult
from .inbox import Inbox

__all__ = ["FakeConversation", "FakeElevenLabs", "ToolResult"]

SUBPROTOCOL = "convai"
_SOCKET_PATH = "/v1/convai/conversation"


class FakeElevenLabs:
    """What `wss://api.elevenlabs.io` answers an SDK, as far as text goes.

    Point the Python SDK at it with `ElevenLabs(api_key="any", base_url=fake.url)`,
    the JavaScript one with `origin: fake.origin` or `signedUrl`. It is strict: what
    the real service closes with 1008, it closes with 1008 (a result that is no
    string, a missing dynamic variable, an unknown type, a second result).

        async with FakeElevenLabs() as fake:
            ...                                   # start your agent client
            conversation = await fake.next_conversation()
            result = await conversation.call_tool("companion_choose", {...})

    `required_variables` are the dynamic variables the agent needs;
    `requires_auth` refuses a socket that brings no signed URL; `api_key`, if
    given, is the only one signed URLs are handed out for.

    What it knows of the protocol is ElevenLabs' public AsyncAPI and OpenAPI documents.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        required_variables: Iterable[str] = (),
        requires_auth: bool = False,
    ) -> None:
        self.api_key = api_key
        self.required_variables = frozenset(required_variables)
        self.requires_auth = requires_auth
        self.conversations: list[FakeConversation] = []
        self._began = Inbox()
        self._signatures: dict[str, str | None] = {}
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(_SOCKET_PATH, self._converse)
        app.router.add_get("/v1/convai/conversation/get-signed-url", self._signed_url)
        app.router.add_get("/v1/convai/conversation/get_signed_url", self._signed_url)
        app.router.add_get("/v1/convai/conversation/token", self._token)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for conversation in self.conversations:
            if conversation.close_code is None:
                await conversation.end(1001, "the fake goes away")
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, the SDKs' base URL."""
        return f"http://{self._host}:{self._port}"

    @property
    def origin(self) -> str:
        """`ws://127.0.0.1:PORT`, what the JavaScript SDK calls origin."""
        return f"ws://{self._host}:{self._port}"

    async def next_conversation(self, timeout_s: float | None = 10.0) -> FakeConversation:
        """Return the next conversation that got through its handshake. Raises `TimeoutError`."""
        conversation: FakeConversation = await self._began.next(timeout_s)
        return conversation

    # What the SDKs ask for.

    async def _converse(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), max_msg_size=16 * 1024 * 1024)
        await socket.prepare(request)
        signature = request.query.get("conversation_signature", "")
        conversation = FakeConversation(
            socket, request, id=self._signatures.get(signature) or _conversation_id()
        )
        self.conversations.append(conversation)
        try:
            self._check_signature(signature, conversation)
            await conversation.begin(self.required_variables)
            await self._began.put(conversation)
            await conversation.listen()
        except Refused as refused:
            await conversation.refuse(str(refused))
        except ConnectionResetError:
            await conversation.end(1006, "connection lost")
        return socket

    def _check_signature(self, signature: str, conversation: FakeConversation) -> None:
        if (self.requires_auth or signature) and signature not in self._signatures:
            raise Refused("this agent needs a signed URL, or this one has been used")
        if self._signatures.get(signature) is not None:  # it names a conversation: one use
            del self._signatures[signature]
        if not conversation.agent_id:
            raise Refused("agent_id is missing")

    async def _signed_url(self, request: web.Request) -> web.Response:
        self._check_key(request)
        agent_id = request.query.get("agent_id", "")
        signature = f"cvtkn_{secrets.token_urlsafe(16)}"
        url = f"{self.origin}{_SOCKET_PATH}?agent_id={agent_id}&conversation_signature={signature}"
        if request.query.get("include_conversation_id") != "true":
            self._signatures[signature] = None
            return web.json_response({"signed_url": url})
        self._signatures[signature] = conversation_id = _conversation_id()
        return web.json_response({"signed_url": url, "conversation_id": conversation_id})

    async def _token(self, request: web.Request) -> web.Response:
        self._check_key(request)
        return web.json_response(
            {"token": secrets.token_urlsafe(16), "conversation_id": _conversation_id()}
        )

    def _check_key(self, request: web.Request) -> None:
        key = request.headers.get("xi-api-key", "")
        if not key or (self.api_key is not None and not secrets.compare_digest(key, self.api_key)):
            body = '{"detail": {"status": "invalid_api_key", "message": "Invalid API key"}}'
            raise web.HTTPUnauthorized(text=body, content_type="application/json")
        if not request.query.get("agent_id"):
            raise web.HTTPUnprocessableEntity(text='{"detail": "agent_id is missing"}')


def _conversation_id() -> str:
    return f"conv_{secrets.token_hex(13)}"
