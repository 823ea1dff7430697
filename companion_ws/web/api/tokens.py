"""Routes of tokens and keys: issued, listed, revoked, signed in with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from aiohttp import web

from companion_ws.access.credentials import Credentials
from companion_ws.access.devices import TOKEN_TTL_S
from companion_ws.access.pairing import TOKEN_LIFE_S
from companion_ws.access.shared_keys import KeyRing
from companion_ws.access.tokens import Claims, Kind, Tokens
from companion_ws.addresses import Addresses
from companion_ws.core.errors import BadRequest, Forbidden
from companion_ws.data_folder import StartRefused
from companion_ws.database import Statement
from companion_ws.logs import audit
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.web.api.shapes import (
    IssuedToken,
    KeyCount,
    KeyRotation,
    RevocationQuery,
    SessionTokenRequest,
    SignInLink,
    SignInRequest,
    SignOutQuery,
    TokenList,
    TokenQuery,
    TokenRequest,
)
from companion_ws.web.guard import permissions, pieces
from companion_ws.web.guard.answers import Memory
from companion_ws.web.guard.idempotency import Idempotency, Store
from companion_ws.web.guard.middleware import CLAIMS, CLIENT
from companion_ws.web.guard.parsing import body_of, query_of, read_json
from companion_ws.web.guard.replies import json_reply
from companion_ws.web.guard.route import ADMIN, OWNER, PUBLIC, Route

ISSUED_TTL_S: Final = 30 * 86400.0
SIGNED_IN_S: Final = 12 * 3600.0
"""How long the token of a sign-in link lives: a working day."""


class TokenRoutes:
    """Answers what issues and revokes tokens, for the whole server and for one session."""

    def __init__(
        self,
        ring: KeyRing,
        tokens: Tokens,
        credentials: Credentials,
        idempotency: Idempotency,
        addresses: Addresses,
        sessions: Sessions,
    ) -> None:
        self._ring = ring
        self._tokens = tokens
        self._credentials = credentials
        self._idempotency = idempotency
        self._addresses = addresses
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """Return the routes of this file."""
        one = "/sessions/{session_id}"
        return [
            Route("POST", "/sign-in", PUBLIC, self.sign_in, summary="Use a sign-in link",
                  body=SignInRequest, answer=IssuedToken, status=201),
            Route("POST", "/sign-in-links", ADMIN, self.open_sign_in, admin=True,
                  summary="Make a sign-in link", answer=SignInLink, status=201),
            Route("POST", "/tokens", ADMIN, self.issue, admin=True, summary="Issue a token",
                  body=TokenRequest, answer=IssuedToken, status=201),
            Route("GET", "/tokens", ADMIN, self.list_tokens, admin=True,
                  summary="List issued tokens", query=TokenQuery, answer=TokenList),
            Route("DELETE", "/tokens", ADMIN, self.revoke_user, admin=True,
                  summary="Sign a user out everywhere", query=SignOutQuery, status=204),
            Route("DELETE", "/tokens/{token_id}", ADMIN, self.revoke_token, admin=True,
                  summary="Revoke a token and what it made", query=RevocationQuery, status=204),
            Route("POST", "/keys", ADMIN, self.rotate, admin=True,
                  summary="Rotate the signing key", body=KeyRotation, answer=KeyCount),
            Route("POST", f"{one}/tokens", OWNER, self.issue_for_session,
                  summary="Issue a token for one session", body=SessionTokenRequest,
                  answer=IssuedToken, status=201),
            Route("GET", f"{one}/tokens", OWNER, self.list_session_tokens,
                  summary="List the tokens issued for one session", answer=TokenList),
            Route("DELETE", f"{one}/tokens/{{token_id}}", OWNER, self.revoke_session_token,
                  summary="Revoke a token of one session", status=204),
        ]  # fmt: skip

    # The operator's.

    async def sign_in(self, request: web.Request) -> web.Response:
        ticket = body_of(await read_json(request), SignInRequest).ticket

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
        wanted = body_of(await read_json(request), TokenRequest)

        async def make(store: Store) -> Memory:
            _, claims = self._tokens.issue(
                wanted.role, wanted.user, wanted.ttl_s or ISSUED_TTL_S
            )
            by = request[CLAIMS].user
            audit.info("token_issued", by=by, user=wanted.user, kind=wanted.role, token_id=claims.id)
            return await self._recorded(claims, store)

        return await self._idempotency.once(request, make, self._token)

    async def list_tokens(self, request: web.Request) -> web.StreamResponse:
        audit.info("tokens_listed", by=request[CLAIMS].user)
        user = query_of(request.query, TokenQuery).user
        return await pieces.send(request, self._listed_tokens(user=user))

    async def revoke_token(self, request: web.Request) -> web.Response:
        token_id = request.match_info["token_id"]
        keep_sessions = query_of(request.query, RevocationQuery).keep_sessions
        await self._credentials.revoke_token(token_id, keep_sessions=keep_sessions)
        audit.info("token_revoked", by=request[CLAIMS].user, token_id=token_id)
        return web.Response(status=204)

    async def revoke_user(self, request: web.Request) -> web.Response:
        user = query_of(request.query, SignOutQuery).user
        await self._credentials.revoke_user(user)
        audit.info("user_signed_out", by=request[CLAIMS].user, user=user)
        return web.Response(status=204)

    async def rotate(self, request: web.Request) -> web.Response:
        compromise = body_of(await read_json(request), KeyRotation).compromise
        try:
            count = await self._ring.rotate(compromise=compromise)
        except StartRefused as refusal:
            raise Forbidden(str(refusal)) from None
        audit.warning("key_rotated", by=request[CLAIMS].user, compromise=compromise)
        if compromise:
            await self._credentials.close_every_door()
        return json_reply({"keys": count})

    # Those of one session.

    async def issue_for_session(self, request: web.Request) -> web.Response:
        summary = await self._managed(request)
        wanted = body_of(await read_json(request), SessionTokenRequest)

        life_s = wanted.max_life_s or TOKEN_LIFE_S
        if wanted.ttl_s is not None and wanted.ttl_s > life_s:
            raise BadRequest(f"ttl_s is at most max_life_s, which is {life_s:g} seconds here.")

        async def make(store: Store) -> Memory:
            maker = request[CLAIMS]
            _, claims = self._tokens.issue(
                "session",
                summary.user,
                wanted.ttl_s or TOKEN_TTL_S,
                session_id=summary.session_id,
                role=wanted.role,
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

    # Shared.

    async def _listed_tokens(self, **of: str | None) -> pieces.Pieces:
        yield b'{"tokens":'
        async for piece in pieces.array(self._credentials.each_token(**of)):
            yield piece
        yield b"}"

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
