"""Routes of pairing: a link and a code are shown, a device comes with one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import msgspec
from aiohttp import web

from companion_ws import qr
from companion_ws.access.credentials import Credentials
from companion_ws.access.pairing import Paired, Pairing, Waiting
from companion_ws.access.tokens import Claims, Tokens
from companion_ws.addresses import Addresses
from companion_ws.core.errors import BadRequest, Unavailable
from companion_ws.database import Statement
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.web.api import shapes
from companion_ws.web.api.shapes import (
    PairingDecision,
    PairingRequest,
    PairRequest,
    PairResponse,
    QrQuery,
    WaitingDeviceList,
)
from companion_ws.web.guard import permissions
from companion_ws.web.guard.answers import Memory
from companion_ws.web.guard.idempotency import Idempotency, Store
from companion_ws.web.guard.middleware import CLAIMS, CLIENT
from companion_ws.web.guard.parsing import body_of, query_of, read_json, read_named
from companion_ws.web.guard.replies import json_reply
from companion_ws.web.guard.route import OWNER, PUBLIC, Route


class PairingRoutes:
    """Answers who shows a way into a session, and the device that takes it."""

    def __init__(
        self,
        pairing: Pairing,
        tokens: Tokens,
        credentials: Credentials,
        idempotency: Idempotency,
        addresses: Addresses,
        sessions: Sessions,
    ) -> None:
        self._pairing = pairing
        self._tokens = tokens
        self._credentials = credentials
        self._idempotency = idempotency
        self._addresses = addresses
        self._other_urls: list[str] | None = None
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """Return the routes of this file."""
        one = "/sessions/{session_id}"
        return [
            Route("POST", "/pair", PUBLIC, self.pair, summary="Pair a device",
                  body=PairRequest, answer=PairResponse, status=201),
            Route("POST", f"{one}/pairings", OWNER, self.open_pairing, summary="Open a pairing",
                  body=PairingRequest, answer=shapes.Pairing, status=201),
            Route("GET", f"{one}/pairings", OWNER, self.list_waiting,
                  summary="List devices that wait for the owner", answer=WaitingDeviceList),
            Route("POST", f"{one}/pairings/{{pairing_id}}", OWNER, self.answer_pairing,
                  summary="Allow or refuse a device", body=PairingDecision, status=204),
            Route("GET", f"{one}/qr.svg", OWNER, self.qr_svg, summary="Draw a pairing (SVG)",
                  query=QrQuery, media="image/svg+xml"),
            Route("GET", f"{one}/qr.png", OWNER, self.qr_png, summary="Draw a pairing (PNG)",
                  query=QrQuery, media="image/png"),
            Route("DELETE", f"{one}/devices/{{device_id}}", OWNER, self.revoke_device,
                  summary="Revoke a device", status=204),
        ]  # fmt: skip

    # A device comes.

    async def pair(self, request: web.Request) -> web.Response:
        """201 with a token, or 202 while the owner is asked."""
        wanted = body_of(await read_named(request, "device"), PairRequest)

        async def make(store: Store) -> Memory:
            return _memory_of(await self._let_in(wanted, request[CLIENT], store))

        # A device that asks again may be told otherwise the next time: that is not kept.
        return await self._idempotency.once(request, make, self._entered, keeps=_is_paired)

    async def _let_in(self, wanted: PairRequest, source: str, store: Store) -> Paired | Waiting:
        def remembered(entered: Paired | Waiting) -> Iterable[Statement]:
            return store(_memory_of(entered), entered.user, entered.session_id)

        if wanted.claim is not None:
            return await self._pairing.claim(wanted.claim, extra_statements=remembered)
        entered = await self._pairing.redeem(
            ticket=wanted.ticket,
            code=wanted.code,
            device=wanted.device or "",
            source=source,
            extra_statements=remembered,
        )
        # Pages draw the next pairing, whether this device ever connects or not.
        await self._tell_owner(entered.session_id, "pairing_used", pairing_id=entered.pairing_id)
        if isinstance(entered, Waiting):
            await self._ask_owner(entered)
        return entered

    async def _entered(self, memory: Memory) -> web.Response:
        if _is_paired(memory):
            claims = msgspec.convert(memory["claims"], Claims)
            return json_reply(
                {
                    "token": self._tokens.sign(claims),
                    "session_id": claims.session_id,
                    "device_id": claims.device_id,
                    "expires_at": self._sessions.clock.shown_ms(claims.expires_at_ms),
                    "is_asking": await self._is_asking(claims.session_id),
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

    async def _is_asking(self, session_id: str | None) -> bool:
        return session_id is not None and await self._sessions.presence.is_asking(session_id)

    async def _ask_owner(self, waiting: Waiting) -> None:
        await self._tell_owner(
            waiting.session_id,
            "pairing_request",
            pairing_id=waiting.pairing_id,
            device=waiting.device,
            verification=waiting.verification,
            expires_at=waiting.expires_at_ms,
        )

    async def _tell_owner(self, session_id: str, type_: str, **fields: str | int) -> None:
        now_ms = self._sessions.now_ms()
        message = {"type": type_, **fields, "session_id": session_id, "timestamp": now_ms}
        # The device has paired; whoever cannot be told finds it in the list.
        with suppress(Unavailable):
            await self._sessions.presence.tell_owner(session_id, message)

    # The owner's side.

    async def open_pairing(self, request: web.Request) -> web.Response:
        summary = await self._managed(request)
        wanted = body_of(await read_json(request), PairingRequest)

        async def make(store: Store) -> Memory:
            opened = await self._pairing.open(
                summary.session_id, wanted.ttl_s, by=request[CLAIMS].ref
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
                    "lan_command": self._lan_command(request[CLAIMS]),
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

    def _lan_command(self, claims: Claims) -> str | None:
        """Return the server's own command for the operator alone: it names folders."""
        if claims.kind != "admin" or self._addresses.is_reachable_by_phone:
            return None
        return self._addresses.lan_command

    async def list_waiting(self, request: web.Request) -> web.Response:
        """For a page that was loaded after the device had asked."""
        summary = await self._managed(request)
        return json_reply({"requests": await self._pairing.requests(summary.session_id)})

    async def answer_pairing(self, request: web.Request) -> web.Response:
        summary = await self._managed(request)
        decision = body_of(await read_json(request), PairingDecision)
        pairing_id = request.match_info["pairing_id"]
        await self._pairing.answer(summary.session_id, pairing_id, decision.allow)
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
        drawing = query_of(request.query, QrQuery)
        if drawing.pairing is not None:
            return await self._pairing.url(session_id, drawing.pairing)
        if drawing.content is not None:
            return f"{self._addresses.public_url}/ui?session_id={session_id}"
        raise BadRequest("Say what to draw: ?pairing={pairing_id} or ?content=session.")

    async def revoke_device(self, request: web.Request) -> web.Response:
        session_id = (await self._managed(request)).session_id
        device_id = request.match_info["device_id"]
        await self._credentials.revoke_device(session_id, device_id)
        await self._sessions.presence.look(session_id)
        return web.Response(status=204)

    async def _managed(self, request: web.Request) -> Summary:
        return await permissions.managed_alive(self._sessions, request)


def _memory_of(entered: Paired | Waiting) -> Memory:
    if isinstance(entered, Paired):
        return {"claims": msgspec.to_builtins(entered.claims)}
    return {
        "pairing_id": entered.pairing_id,
        "verification": entered.verification,
        "expires_at": entered.expires_at_ms,
    }


def _is_paired(memory: Memory) -> bool:
    return "claims" in memory
