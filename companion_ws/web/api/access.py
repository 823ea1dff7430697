"""Routes about who may: pairing, signing in, tokens, devices, a person's own data, keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

import msgspec
import structlog
from aiohttp import web

from companion_ws import qr
from companion_ws.access.credentials import Credentials
from companion_ws.access.devices import TOKEN_TTL_S, Devices
from companion_ws.access.keys import Keys
from companion_ws.access.pairing import TOKEN_LIFE_S, Paired, Pairing, Waiting
from companion_ws.access.tokens import Claims, Kind, Tokens
from companion_ws.addresses import Addresses
from companion_ws.core.errors import BadRequest, Forbidden
from companion_ws.core.protocol import encode
from companion_ws.data_folder import StartRefused
from companion_ws.database import Statement
from companion_ws.sessions import trail
from companion_ws.sessions.sessions import Sessions, Summary
from companion_ws.web.api.access_shapes import (
    DeviceList,
    Drawing,
    Entered,
    Entering,
    Export,
    KeysKept,
    PairingShown,
    PairingWish,
    Revoking,
    Rotation,
    SessionTokenWish,
    SignIn,
    SigningOut,
    SignInLink,
    TokenIssued,
    TokenList,
    TokenWish,
    Verdict,
    WaitingDevices,
    WhoseTokens,
)
from companion_ws.web.api.sessions import raw_state
from companion_ws.web.guard import permissions, pieces
from companion_ws.web.guard.answers import Memory
from companion_ws.web.guard.idempotency import Idempotency, Store
from companion_ws.web.guard.middleware import CLAIMS, CLIENT
from companion_ws.web.guard.parsing import body_of, query_of, read_json, read_named
from companion_ws.web.guard.replies import json_reply
from companion_ws.web.guard.route import ADMIN, OWNER, PUBLIC, USER, Route

ISSUED_TTL_S: Final = 30 * 86400.0
SIGNED_IN_S: Final = 12 * 3600.0
"""How long the token of a sign-in link lives: a working day."""

audit = structlog.get_logger("companion_ws.audit")


class AccessApi:
    """Answers the routes of docs/http.md that let somebody in or out."""

    def __init__(
        self,
        keys: Keys,
        tokens: Tokens,
        credentials: Credentials,
        pairing: Pairing,
        devices: Devices,
        idempotency: Idempotency,
        addresses: Addresses,
        sessions: Sessions,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._credentials = credentials
        self._pairing = pairing
        self._devices = devices
        self._idempotency = idempotency
        self._addresses = addresses
        self._other_urls: list[str] | None = None
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """Return the routes of this file."""
        one = "/sessions/{session_id}"
        return [
            Route("POST", "/pair", PUBLIC, self.pair, summary="Pair a device",
                  body=Entering, answer=Entered, status=201),
            Route("POST", "/sign-in", PUBLIC, self.sign_in, summary="Use a sign-in link",
                  body=SignIn, answer=TokenIssued, status=201),
            Route("POST", "/sign-in-links", ADMIN, self.open_sign_in, admin=True,
                  summary="Make a sign-in link", answer=SignInLink, status=201),
            Route("POST", "/tokens", ADMIN, self.issue, admin=True, summary="Issue a token",
                  body=TokenWish, answer=TokenIssued, status=201),
            Route("GET", "/tokens", ADMIN, self.list_tokens, admin=True,
                  summary="List issued tokens", query=WhoseTokens, answer=TokenList),
            Route("DELETE", "/tokens", ADMIN, self.revoke_user, admin=True,
                  summary="Sign a user out everywhere", query=SigningOut, status=204),
            Route("DELETE", "/tokens/{token_id}", ADMIN, self.revoke_token, admin=True,
                  summary="Revoke a token and what it made", query=Revoking, status=204),
            Route("POST", "/keys", ADMIN, self.rotate, admin=True,
                  summary="Rotate the signing key", body=Rotation, answer=KeysKept),
            Route("POST", f"{one}/tokens", OWNER, self.issue_for_session,
                  summary="Issue a token for one session", body=SessionTokenWish,
                  answer=TokenIssued, status=201),
            Route("GET", f"{one}/tokens", OWNER, self.list_session_tokens,
                  summary="List the tokens issued for one session", answer=TokenList),
            Route("DELETE", f"{one}/tokens/{{token_id}}", OWNER, self.revoke_session_token,
                  summary="Revoke a token of one session", status=204),
            Route("POST", f"{one}/pairings", OWNER, self.open_pairing, summary="Open a pairing",
                  body=PairingWish, answer=PairingShown, status=201),
            Route("GET", f"{one}/pairings", OWNER, self.list_waiting,
                  summary="List devices that wait for the owner", answer=WaitingDevices),
            Route("POST", f"{one}/pairings/{{pairing_id}}", OWNER, self.answer_pairing,
                  summary="Allow or refuse a device", body=Verdict, status=204),
            Route("GET", f"{one}/qr.svg", OWNER, self.qr_svg, summary="Draw a pairing (SVG)",
                  query=Drawing, media="image/svg+xml"),
            Route("GET", f"{one}/qr.png", OWNER, self.qr_png, summary="Draw a pairing (PNG)",
                  query=Drawing, media="image/png"),
            Route("DELETE", f"{one}/devices/{{device_id}}", OWNER, self.revoke_device,
                  summary="Revoke a device", status=204),
            Route("GET", "/me/devices", USER, self.list_devices, summary="List one's devices",
                  answer=DeviceList),
            Route("GET", "/me/export", USER, self.export, summary="Everything stored of a person",
                  answer=Export),
            Route("DELETE", "/me", USER, self.erase, summary="Erase a person", status=204),
        ]  # fmt: skip

    # A device comes.

    async def pair(self, request: web.Request) -> web.Response:
        """201 with a token, or 202 while the owner is asked."""
        wanted = body_of(await read_named(request, "device"), Entering)

        async def make(store: Store) -> Memory:
            def extra_statements(entered: Paired | Waiting) -> Iterable[Statement]:
                memory = _memory_of(entered)
                owner, session_id = _whose(entered)
                return store(memory, owner, session_id)

            if wanted.claim is not None:
                entered = await self._pairing.claim(wanted.claim, extra_statements=extra_statements)
                if isinstance(entered, Waiting):
                    raise _StillWaiting(_memory_of(entered))
                return _memory_of(entered)
            entered = await self._pairing.redeem(
                ticket=wanted.ticket,
                code=wanted.code,
                device=wanted.device or "",
                source=request[CLIENT],
                extra_statements=extra_statements,
            )
            if isinstance(entered, Waiting):
                self._ask_owner(entered)
            return _memory_of(entered)

        try:
            return await self._idempotency.once(request, make, self._entered)
        except _StillWaiting as waiting:
            return await self._entered(waiting.memory)

    async def _entered(self, memory: Memory) -> web.Response:
        if "claims" in memory:
            claims = msgspec.convert(memory["claims"], Claims)
            return json_reply(
                {
                    "token": self._tokens.sign(claims),
                    "session_id": claims.session_id,
                    "device_id": claims.device_id,
                    "expires_at": self._sessions.clock.shown_ms(claims.expires_at_ms),
                },
                201,
            )
        return json_reply(
            {
                "claim": await self._pairing.claim_of(memory["pairing_id"]),
                "verification": memory["verification"],
                "expires_at": memory["expires_at"],
            },
            202,
        )

    def _ask_owner(self, waiting: Waiting) -> None:
        self._sessions.connections.tell_owner(
            waiting.session_id,
            {
                "type": "pairing_request",
                "pairing_id": waiting.pairing_id,
                "device": waiting.device,
                "verification": waiting.verification,
                "expires_at": waiting.expires_at_ms,
                "session_id": waiting.session_id,
                "timestamp": self._sessions.now_ms(),
            },
        )

    # The owner's side.

    async def open_pairing(self, request: web.Request) -> web.Response:
        summary = await self._managed(request)
        wish = body_of(await read_json(request), PairingWish)

        async def make(store: Store) -> Memory:
            opened = await self._pairing.open(
                summary.session_id, wish.ttl_s, by=request[CLAIMS]
            )
            return {
                "pairing_id": opened.pairing_id,
                "url_expires_at": opened.url_expires_at_ms,
                "nonce": opened.code_nonce,
                "code_expires_at": opened.code_expires_at_ms,
            }

        async def render(memory: Memory) -> web.Response:
            opened = await self._pairing.opened(
                summary.session_id,
                memory["pairing_id"],
                memory["url_expires_at"],
                memory["nonce"],
                memory["code_expires_at"],
            )
            return json_reply(
                {
                    "pairing_id": opened.pairing_id,
                    "url": opened.url,
                    "url_expires_at": opened.url_expires_at_ms,
                    "code": opened.code or None,
                    "code_expires_at": opened.code_expires_at_ms or None,
                    "code_url": opened.code_url,
                    "other_code_urls": await self._other_code_urls(),
                },
                201,
            )

        return await self._idempotency.once(request, make, render)

    async def _other_code_urls(self) -> list[str]:
        """Return where else a phone may reach us: the guess of one network may be wrong."""
        if self._other_urls is None:
            # Looking up this machine's own names may take a while, so it is done once.
            self._other_urls = await asyncio.to_thread(lambda: self._addresses.alternative_urls)
        return [f"{url}/c" for url in self._other_urls]

    async def list_waiting(self, request: web.Request) -> web.Response:
        """For a page that was loaded after the device had asked."""
        summary = await self._managed(request)
        return json_reply({"requests": await self._pairing.requests(summary.session_id)})

    async def answer_pairing(self, request: web.Request) -> web.Response:
        summary = await self._managed(request)
        verdict = body_of(await read_json(request), Verdict)
        pairing_id = request.match_info["pairing_id"]
        await self._pairing.answer(summary.session_id, pairing_id, verdict.allow)
        return web.Response(status=204)

    async def qr_svg(self, request: web.Request) -> web.Response:
        url = await self._drawn_url(request)
        # Eight milliseconds, in which others have their turn.
        body = await asyncio.to_thread(qr.svg, url, "QR code: scan it to join this session")
        return web.Response(body=body, content_type="image/svg+xml", charset="utf-8")

    async def qr_png(self, request: web.Request) -> web.Response:
        body = await asyncio.to_thread(qr.png, await self._drawn_url(request))
        return web.Response(body=body, content_type="image/png")

    async def _drawn_url(self, request: web.Request) -> str:
        session_id = (await self._managed(request)).session_id
        drawing = query_of(request.query, Drawing)
        if drawing.pairing is not None:
            return await self._pairing.url(session_id, drawing.pairing)
        if drawing.content is not None:
            return f"{self._addresses.public_url}/ui?session_id={session_id}"
        raise BadRequest("Say what to draw: ?pairing={pairing_id} or ?content=session.")

    async def list_devices(self, request: web.Request) -> web.Response:
        return json_reply({"devices": await self._devices.of_user(request[CLAIMS].user)})

    async def revoke_device(self, request: web.Request) -> web.Response:
        session_id = (await self._managed(request)).session_id
        device_id = request.match_info["device_id"]
        await self._credentials.revoke_device(session_id, device_id)
        await self._sessions.look_at_questions(session_id)
        return web.Response(status=204)

    async def issue_for_session(self, request: web.Request) -> web.Response:
        summary = await self._managed(request)
        wish = body_of(await read_json(request), SessionTokenWish)

        life_s = wish.max_life_s or TOKEN_LIFE_S
        if wish.ttl_s is not None and wish.ttl_s > life_s:
            raise BadRequest(f"ttl_s is at most max_life_s, which is {life_s:g} seconds here.")

        async def make(store: Store) -> Memory:
            maker = request[CLAIMS]
            _, claims = self._tokens.issue(
                "session",
                summary.user,
                wish.ttl_s or TOKEN_TTL_S,
                session_id=summary.session_id,
                role=wish.role,
                until_ms=self._sessions.clock.running_ms() + int(life_s * 1000),
                parent=maker.id,
                by=maker.user,
            )
            return await self._recorded(claims, store)

        return await self._idempotency.once(request, make, self._token)

    async def list_session_tokens(self, request: web.Request) -> web.StreamResponse:
        session_id = (await self._managed(request)).session_id
        return await pieces.send(request, self._listed_tokens(session_id=session_id))

    async def revoke_session_token(self, request: web.Request) -> web.Response:
        session_id = (await self._managed(request)).session_id
        token_id = request.match_info["token_id"]
        await self._credentials.revoke_token(token_id, session_id=session_id)
        audit.info("token_revoked", by=request[CLAIMS].user, token_id=token_id)
        return web.Response(status=204)

    # Whoever runs the server.

    async def sign_in(self, request: web.Request) -> web.Response:
        ticket = body_of(await read_json(request), SignIn).ticket

        async def make(store: Store) -> Memory:
            memory: Memory = {}

            def extra_statements(user: str, kind: Kind) -> Iterable[Statement]:
                _, claims = self._tokens.issue(kind, user, SIGNED_IN_S)
                memory["claims"] = msgspec.to_builtins(claims)
                return [self._credentials.issued(claims), *store(memory, user, None)]

            user, kind = await self._credentials.sign_in(ticket, extra_statements)
            audit.info("signed_in", user=user, kind=kind, peer=request[CLIENT])
            return memory

        return await self._idempotency.once(request, make, self._token)

    async def open_sign_in(self, request: web.Request) -> web.Response:
        user = request[CLAIMS].user
        ticket = await self._credentials.open_sign_in(user)
        audit.info("sign_in_link_made", user=user)
        url = f"{self._addresses.local_url}/#signin={ticket}"
        return json_reply({"url": url, "ticket": ticket}, 201)

    async def issue(self, request: web.Request) -> web.Response:
        wish = body_of(await read_json(request), TokenWish)

        async def make(store: Store) -> Memory:
            _, claims = self._tokens.issue(
                wish.role, wish.user, wish.ttl_s or ISSUED_TTL_S
            )
            by = request[CLAIMS].user
            audit.info("token_issued", by=by, user=wish.user, kind=wish.role, token_id=claims.id)
            return await self._recorded(claims, store)

        return await self._idempotency.once(request, make, self._token)

    async def list_tokens(self, request: web.Request) -> web.StreamResponse:
        audit.info("tokens_listed", by=request[CLAIMS].user)
        user = query_of(request.query, WhoseTokens).user
        return await pieces.send(request, self._listed_tokens(user=user))

    async def _listed_tokens(self, **of: str | None) -> pieces.Pieces:
        yield b'{"tokens":'
        async for piece in pieces.array(self._credentials.each_token(**of)):
            yield piece
        yield b"}"

    async def revoke_token(self, request: web.Request) -> web.Response:
        token_id = request.match_info["token_id"]
        keep_sessions = query_of(request.query, Revoking).keep_sessions
        await self._credentials.revoke_token(token_id, keep_sessions=keep_sessions)
        audit.info("token_revoked", by=request[CLAIMS].user, token_id=token_id)
        return web.Response(status=204)

    async def revoke_user(self, request: web.Request) -> web.Response:
        user = query_of(request.query, SigningOut).user
        await self._credentials.revoke_user(user)
        audit.info("user_signed_out", by=request[CLAIMS].user, user=user)
        return web.Response(status=204)

    async def rotate(self, request: web.Request) -> web.Response:
        compromise = body_of(await read_json(request), Rotation).compromise
        try:
            self._keys.rotate(compromise=compromise)
        except StartRefused as refusal:
            raise Forbidden(str(refusal)) from None
        audit.warning("key_rotated", by=request[CLAIMS].user, compromise=compromise)
        if compromise:
            await self._credentials.close_every_door()
        return json_reply({"keys": len(self._keys.all)})

    # A person's own data.

    async def export(self, request: web.Request) -> web.StreamResponse:
        return await pieces.send(request, self._exported(request[CLAIMS].user))

    async def _exported(self, user: str) -> pieces.Pieces:
        yield encode({"user": user})[:-1]
        for name, rows in (await self._credentials.export_user(user)).items():
            yield b"," + encode(name) + b":"
            async for piece in pieces.array(pieces.each(rows)):
                yield piece
        store, opening = self._sessions.store, b',"sessions":['
        async for summary in self._sessions.each_of(user):
            session_id = summary.session_id
            state = (await store.states([session_id]))[session_id]
            row = {
                **{
                    name.removesuffix("_ms"): value
                    for name, value in msgspec.to_builtins(summary).items()
                },
                "trail": await trail.read(store, session_id),
                "state": raw_state(state),
            }
            yield opening + encode(row)[:-1] + b',"records":'
            async for piece in pieces.array(_bodies(store.each_record(session_id))):
                yield piece
            yield b"}"
            opening = b","
        yield b"]}" if opening == b"," else opening + b"]}"

    async def erase(self, request: web.Request) -> web.Response:
        user = request[CLAIMS].user
        await self._sessions.erase_user(user, self._credentials.forget_user(user))
        audit.info("user_erased")
        return web.Response(status=204)

    # Shared.

    async def _recorded(self, claims: Claims, store: Store) -> Memory:
        memory = {"claims": msgspec.to_builtins(claims)}
        await self._credentials.record(claims, *store(memory, claims.user, claims.session_id))
        return memory

    async def _token(self, memory: Memory) -> web.Response:
        claims = msgspec.convert(memory["claims"], Claims)
        return json_reply(
            {
                "token": self._tokens.sign(claims),
                "id": claims.id,
                "user": claims.user,
                "role": claims.role or claims.kind,
                "session_id": claims.session_id,
                "expires_at": self._sessions.clock.shown_ms(claims.expires_at_ms),
            },
            201,
        )

    async def _managed(self, request: web.Request) -> Summary:
        return await permissions.managed_alive(self._sessions, request)


async def _bodies(records: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[bytes]:
    async for _, body in records:
        yield body


class _StillWaiting(Exception):
    """Nothing was made: the next repeat may be answered otherwise, so this one is not kept."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory


def _memory_of(entered: Paired | Waiting) -> Memory:
    if isinstance(entered, Paired):
        return {"claims": msgspec.to_builtins(entered.claims)}
    return {
        "pairing_id": entered.pairing_id,
        "verification": entered.verification,
        "expires_at": entered.expires_at_ms,
    }


def _whose(entered: Paired | Waiting) -> tuple[str, str | None]:
    if isinstance(entered, Paired):
        return entered.claims.user, entered.claims.session_id
    return entered.user, entered.session_id
