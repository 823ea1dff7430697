"""Canaries: over a thousand requests through every carrier, and no credential is found anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import random
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import aiohttp
import pytest
import structlog
from yarl import URL

from companion_ws import logs
from companion_ws.app import ROUTES
from companion_ws.testing.server import CompanionServer

CANARY = "canary-3fA9x7Qw2Lm8"
"""Text no filter could know by its shape; the carrier alone makes it a secret."""


@pytest.fixture(params=["text", "json"])
def lines(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root, config = logging.getLogger(), structlog.get_config()
    was_configured = structlog.is_configured()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    logs.set_up(request.param, out)
    root.setLevel(logging.DEBUG)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    # What nobody had configured must not count as configured afterwards.
    structlog.reset_defaults()
    if was_configured:
        structlog.configure(**config)


@pytest.fixture
async def site() -> AsyncIterator[CompanionServer]:
    async with CompanionServer() as running:
        yield running


class Carriers:
    """Sends secrets in every place a secret may be put, right or wrong."""

    def __init__(self, site: CompanionServer, http: aiohttp.ClientSession) -> None:
        self._site = site
        self._http = http
        self.sent = 0
        self.answers: list[bytes] = []

    async def http_request(self, method: str, path: str, secret: str, place: int) -> None:
        headers, query, body = {}, "", None
        referer = f"{self._site.url}/sessions/x/pair#token={secret}"
        match place:
            case 0:
                headers["Authorization"] = f"Bearer {secret}"
            case 1:
                query = f"?token={quote(secret)}&after=1"
            case 2:
                headers["Authorization"] = f"Basic {secret}"
            case 3:
                headers["Authorization"] = secret
            case 4:
                headers["Referer"] = f"{self._site.url}/?token={secret}"
            case 5:
                headers["Referer"] = referer
            case 6:
                headers["Sec-WebSocket-Protocol"] = f"companion.v1, bearer.{secret}"
            case 7:
                body = json.dumps({"ticket": secret, "code": secret, "claim": secret})
            case 8:
                body = json.dumps({"ticket": secret})
            case 9:
                body = f'{{"ticket": "{secret}'
            case 10:
                query = f"?token={quote(secret)}&token={quote(secret)}"
            case _:
                headers["X-Companion-Secret"] = secret
        url = URL(self._site.url + path + query, encoded=True)
        async with self._http.request(method, url, headers=headers, data=body) as response:
            await self._heard(response)

    async def socket(self, secret: str, place: int) -> None:
        headers, query, protocols = {}, "", ()
        match place:
            case 0:
                query = f"?token={quote(secret)}"
            case 1:
                headers["Authorization"] = f"Bearer {secret}"
            case 2:
                protocols = ("companion.v1", f"bearer.{secret}")
            case 3:
                protocols = (f"bearer.{secret}", "other.v1")
            case 4:
                query, headers["Authorization"] = f"?token={secret}", f"Bearer {secret}"
            case _:
                query = f"?token={quote(secret)}&token={quote(secret)}&role={quote(secret)}"
        self.sent += 1
        with contextlib.suppress(aiohttp.WSServerHandshakeError):
            url = f"{self._site.url}/ws{query}"
            async with self._http.ws_connect(url, headers=headers, protocols=protocols) as ws:
                message = await ws.receive()
                if message.type is aiohttp.WSMsgType.TEXT:
                    self.answers.append(message.data.encode())
                    await ws.send_json({"type": secret, "token": secret})
                    await ws.send_str(f'{{"token": "{secret}')
                    for _ in range(2):
                        reply = (await ws.receive()).data
                        self.answers.append(str(reply).replace(f"{secret!r}", "").encode())
                else:
                    self.answers.append(str(message.extra).encode())

    async def malformed(self, secret: str, place: int) -> None:
        texts = [
            f"GET /ws?token={secret} HTP/1.1\r\n\r\n",
            f"GET /ws?token={secret}\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer {secret}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\x01\r\n\r\n",
            f"{secret}\r\n\r\n",
            f"GET /?x={'y' * 9000}&token={secret} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ]
        self.sent += 1
        port = self._site.config.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(texts[place % len(texts)].encode("latin-1"))
        writer.write_eof()
        self.answers.append(await asyncio.wait_for(reader.read(), 10))
        writer.close()

    async def _heard(self, response: aiohttp.ClientResponse) -> None:
        self.sent += 1
        headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        self.answers.append(headers.encode() + await response.read())


async def test_a_thousand_requests_leave_no_credential_behind(
    site: CompanionServer, lines: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    assert site.app is not None
    chance = random.Random(7)
    secrets = [
        CANARY,
        site.token("alice"),
        site.token("shop", "service"),
        site.token("local", "admin"),
        "cwu_" + CANARY * 3 + "." + CANARY,
    ]
    routes = [
        (route.method, route.path.replace("{key:.+}", "k").replace("{path:.+}", "js/none.js"))
        for route in site.app[ROUTES]
        # A person erased would only make the rest of the tour dull.
        if route.path not in ("/ws", "/me", "/keys") and "{token_id}" not in route.path
    ]
    async with aiohttp.ClientSession() as http:
        carriers = Carriers(site, http)
        for method, path in routes:
            for place in range(12):
                secret = chance.choice(secrets)
                await carriers.http_request(method, path, secret, place)
        for secret in secrets:
            for place in range(6):
                await carriers.socket(secret, place)
                await carriers.malformed(secret, place)
        while carriers.sent < 1000:
            secret = chance.choice(secrets)
            method, path = chance.choice(routes)
            await carriers.http_request(method, path, secret, chance.randrange(12))
        async with http.get(site.url + "/metrics") as response:
            metrics = await response.read()
    await site.stop()
    stored = b"".join(
        file.read_bytes() for file in site.config.data.iterdir() if file.name != "secret.key"
    )
    printed = capfd.readouterr()
    written = (lines.getvalue() + printed.out + printed.err).encode()
    assert b"/healthz" in written
    for secret in secrets:
        # A part is enough: what was cut out of a token still helps to guess the rest.
        part = secret[-24:].encode()
        for place, text in (
            ("log", written),
            ("database", stored),
            ("metrics", metrics),
            ("answer", b"\n".join(carriers.answers)),
        ):
            found = text.find(part)
            assert found < 0, (place, text[max(0, found - 300) : found + 60])


async def test_the_name_of_a_state_key_is_in_no_log_line(
    site: CompanionServer, lines: io.StringIO
) -> None:
    canary = "canary of a member"
    async with aiohttp.ClientSession() as http:
        for kind, user in (("user", "alice"), ("admin", "root"), ("user", "bob")):
            headers = {"Authorization": f"Bearer {site.token(user, kind)}"}
            async with http.post(f"{site.url}/sessions", headers=headers) as made:
                session_id = (await made.json()).get("session_id", "none")
            if user == "alice":
                alices = session_id
            for name in (canary, f"{canary}/more", f"a/{canary}", f"{canary}\n"):
                path = f"/sessions/{alices}/state/{quote(name, safe='/')}"
                for method in ("GET", "PUT", "DELETE", "POST"):
                    url = URL(site.url + path, encoded=True)
                    async with http.request(method, url, headers=headers, data="1") as answer:
                        await answer.read()
    await asyncio.sleep(0)
    logged = lines.getvalue()
    assert "/state/{key}" in logged
    assert "canary" not in logged
