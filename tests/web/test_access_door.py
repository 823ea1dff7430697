"""The door every request goes through: hosts, origins, peers, bodies, headers, problems."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.addresses import Addresses
from companion_ws.app import create_app
from companion_ws.config import Config
from companion_ws.testing.server import CompanionServer
from companion_ws.web.guard.middleware import CLIENT, Guard
from companion_ws.web.guard.parsing import read_json
from companion_ws.web.guard.route import PUBLIC, Route
from companion_ws.web.runner import Runner

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(http: aiohttp.ClientSession, url: str, method: str = "GET", **options: Any) -> Answer:
    async with http.request(method, url, allow_redirects=False, **options) as response:
        return response.status, dict(response.headers), await response.read()


@pytest.fixture
async def companion_server() -> AsyncIterator[CompanionServer]:
    async with CompanionServer() as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def raw(port: int, request: bytes) -> bytes:
    """Send bytes that may be no HTTP at all; return whatever comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


# Hosts and origins.


@pytest.mark.parametrize("path", ["/metrics", "/ws", "/sessions", "/p", "/nothing", "/tokens"])
async def test_a_foreign_host_name_gets_421_everywhere(
    companion_server: CompanionServer, http: aiohttp.ClientSession, path: str
) -> None:
    url = companion_server.url + path
    status, _, body = await ask(http, url, headers={"Host": "evil.example"})
    assert status == 421
    assert json.loads(body)["code"] == "host_refused"
    status, _, _ = await ask(http, url, headers={"Host": "localhost:1"})
    assert status != 421


async def test_no_host_or_two_hosts_are_no_host_of_ours(companion_server: CompanionServer) -> None:
    port = companion_server.config.port
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        answer = await raw(
            port, b"GET /healthz HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n"
        )
        assert answer.split()[1] in (b"421", b"400")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example"]
)
@pytest.mark.parametrize("path", ["/ws", "/healthz", "/me/sessions", "/pair"])
async def test_a_page_of_another_origin_gets_403(
    companion_server: CompanionServer, http: aiohttp.ClientSession, path: str, origin: str
) -> None:
    method = "POST" if path == "/pair" else "GET"
    headers = {"Origin": origin, **bearer(companion_server.token())}
    status, answered, body = await ask(http, companion_server.url + path, method, headers=headers)
    assert status == 403
    assert json.loads(body)["code"] == "origin_refused"
    assert "Access-Control-Allow-Origin" not in answered


async def test_our_own_page_and_programs_without_origin_are_let_in(
    companion_server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    url = companion_server.url
    assert (await ask(http, url + "/healthz", headers={"Origin": url}))[0] == 200
    assert (await ask(http, url + "/healthz"))[0] == 200


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[CompanionServer]:
    async with CompanionServer(allow_origin=("https://shop.example",)) as server:
        yield server


async def test_an_allowed_origin_may_read_answers_and_never_sends_cookies(
    shared: CompanionServer, http: aiohttp.ClientSession
) -> None:
    headers = {"Origin": "https://shop.example", **bearer(shared.token())}
    status, answered, _ = await ask(http, shared.url + "/me/sessions", headers=headers)
    assert status == 200
    assert answered["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "Origin" in answered["Vary"]
    assert "Access-Control-Allow-Credentials" not in answered
    assert "Set-Cookie" not in answered


async def test_an_allowed_origin_reads_errors_too(
    shared: CompanionServer, http: aiohttp.ClientSession
) -> None:
    headers = {"Origin": "https://shop.example"}
    status, answered, _ = await ask(http, shared.url + "/me/sessions", headers=headers)
    assert status == 401
    assert answered["Access-Control-Allow-Origin"] == "https://shop.example"


async def test_an_allowed_origin_s_browser_may_ask_first_and_others_may_not(
    shared: CompanionServer, http: aiohttp.ClientSession
) -> None:
    asking = {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization",
    }
    url = f"{shared.url}/sessions/x/state/key"
    headers = {"Origin": "https://shop.example", **asking}
    status, answered, _ = await ask(http, url, "OPTIONS", headers=headers)
    assert status == 204
    assert "PUT" in answered["Access-Control-Allow-Methods"]
    allowed = answered["Access-Control-Allow-Headers"].split(", ")
    mcp = {"MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id", "X-Companion-Session"}
    traces = {"traceparent", "tracestate", "baggage"}  # what instrumented pages add by themselves
    assert {"Authorization", *mcp, *traces} <= {*allowed}
    for origin in ("https://evil.example", "null", "https://shop.example.evil.example"):
        status, answered, _ = await ask(http, url, "OPTIONS", headers={"Origin": origin, **asking})
        assert status == 403
        assert "Access-Control-Allow-Origin" not in answered


async def test_admin_routes_are_shared_with_no_other_origin(
    shared: CompanionServer, http: aiohttp.ClientSession
) -> None:
    token = shared.token("local", "admin")
    headers = {"Origin": "https://shop.example", **bearer(token)}
    _, answered, _ = await ask(http, shared.url + "/tokens", headers=headers)
    assert "Access-Control-Allow-Origin" not in answered


# Headers.

ALWAYS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    "Server": "companion-ws",
}


def assert_secure(headers: dict[str, str], *, is_embeddable: bool = False) -> None:
    for name, value in ALWAYS.items():
        if not (is_embeddable and name == "X-Frame-Options"):
            assert headers.get(name) == value, name
    policy = headers["Content-Security-Policy"]
    for part in (
        "default-src 'none'",
        "script-src 'self';",
        "style-src 'self';",
        "object-src 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ):
        assert part in policy
    assert "unsafe" not in policy
    assert "geolocation=()" in headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in headers
    assert headers["Cache-Control"] in ("no-store", "no-cache", "max-age=86400")


async def test_every_route_and_every_refusal_carries_the_security_headers(
    companion_server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    from companion_ws.app import ROUTES

    assert companion_server.app is not None
    user = bearer(companion_server.token())
    for route in companion_server.app[ROUTES]:
        path = route.path.replace("{path:.+}", "js/none.js").replace("{key:.+}", "k")
        path = path.replace("{session_id}", "x")
        for headers in ({}, user, {"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            status, answered, body = await ask(
                http, companion_server.url + path, route.method, headers=headers
            )
            assert_secure(answered)
            if status >= 400:
                assert answered["Content-Type"] == "application/problem+json", (route, status)
                problem = json.loads(body)
                assert problem["status"] == status
                assert problem["code"]
                assert "instance" not in problem


async def test_a_joined_socket_s_handshake_carries_them_too(
    companion_server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    url = f"{companion_server.url}/ws?token={companion_server.token()}"
    async with http.ws_connect(url) as ws:
        assert_secure(dict(ws._response.headers))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "PATCH"])
async def test_a_wrong_method_is_405_and_says_which_are_right(
    companion_server: CompanionServer, http: aiohttp.ClientSession, method: str
) -> None:
    status, answered, body = await ask(http, companion_server.url + "/healthz", method)
    assert status == 405
    assert "GET" in answered["Allow"]
    assert json.loads(body)["code"] == "method_not_allowed"
    assert_secure(answered)


async def test_the_policy_names_the_socket_of_the_asked_host(
    companion_server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    _, answered, _ = await ask(
        http, companion_server.url + "/p", headers={"Host": "localhost:8123"}
    )
    policy = answered["Content-Security-Policy"]
    assert "connect-src 'self' ws://localhost:8123 wss://localhost:8123;" in policy


async def test_only_the_embedded_ui_may_be_framed_and_only_by_allowed_origins(
    shared: CompanionServer, http: aiohttp.ClientSession
) -> None:
    for path, ancestors in (
        ("/ui?embed=1", "frame-ancestors https://shop.example;"),
        ("/ui", "frame-ancestors 'none';"),
        ("/p?embed=1", "frame-ancestors 'none';"),
        ("/admin?embed=1", "frame-ancestors 'none';"),
    ):
        _, answered, _ = await ask(http, shared.url + path)
        assert ancestors in answered["Content-Security-Policy"]
        assert ("X-Frame-Options" in answered) is (path != "/ui?embed=1")
        assert_secure(answered, is_embeddable=path == "/ui?embed=1")


# Tokens.


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer cwu_a.b"},
    ],
)
async def test_without_a_live_token_401_says_how_to_send_one(
    companion_server: CompanionServer, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    url = companion_server.url + "/me/sessions"
    status, answered, body = await ask(http, url, headers=headers)
    assert status == 401
    assert answered["WWW-Authenticate"] == "Bearer"
    assert json.loads(body)["code"] == "unauthenticated"


async def test_an_expired_token_is_401_and_says_so(
    companion_server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    keys = Keys.load(companion_server.config.data)
    token, _ = Tokens(keys, now_ms=lambda: 1_650_000_000_000).issue("user", "alice", 3600)
    status, answered, body = await ask(
        http, companion_server.url + "/me/sessions", headers=bearer(token)
    )
    assert status == 401
    assert answered["WWW-Authenticate"] == "Bearer"
    assert json.loads(body)["code"] == "token_expired"


async def test_a_token_in_the_query_of_an_http_route_counts_for_nothing(
    companion_server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    url = f"{companion_server.url}/me/sessions?token={companion_server.token()}"
    assert (await ask(http, url))[0] == 401


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
async def test_the_scheme_s_letters_may_be_small_or_large(
    companion_server: CompanionServer, http: aiohttp.ClientSession, scheme: str
) -> None:
    headers = {"Authorization": f"{scheme} {companion_server.token()}"}
    assert (await ask(http, companion_server.url + "/me/sessions", headers=headers))[0] == 200


async def handshake(
    server: CompanionServer, query: str, headers: dict[str, str], protocols: tuple[str, ...] = ()
) -> int:
    """Return the status of a refused handshake, or the close code or 101 of an accepted one."""
    async with aiohttp.ClientSession() as http:
        try:
            ws = await http.ws_connect(
                f"{server.url}/ws{query}", headers=headers, protocols=protocols
            )
        except aiohttp.WSServerHandshakeError as refusal:
            return refusal.status
        message = await ws.receive()
        code = 101 if message.type is aiohttp.WSMsgType.TEXT else int(message.data)
        if protocols:
            assert ws.protocol in ("companion.v1", None)
        await ws.close()
        return code


async def test_each_of_a_socket_s_three_carriers_works_and_two_at_once_do_not(
    companion_server: CompanionServer,
) -> None:
    token = companion_server.token()
    query, header = f"?token={token}", bearer(token)
    protocols = ("companion.v1", f"bearer.{token}")
    assert await handshake(companion_server, query, {}) == 101
    assert await handshake(companion_server, "", header) == 101
    assert await handshake(companion_server, "", {}, protocols) == 101
    assert await handshake(companion_server, query, header) == 400
    assert await handshake(companion_server, query, {}, protocols) == 400
    assert await handshake(companion_server, "", header, protocols) == 400
    assert await handshake(companion_server, f"?token={token}&token={token}", {}) == 400
    assert await handshake(companion_server, "?token=a&token=", {}) == 400
    assert await handshake(companion_server, "?role=ui&role=agent", header) == 400
    assert await handshake(companion_server, "", {}, (*protocols, "bearer.x")) == 400
    assert await handshake(companion_server, "", {}) == 4501
    assert await handshake(companion_server, "?token=nonsense", {}) == 4501


# Bodies.


async def test_an_absent_or_empty_body_is_an_empty_object(
    companion_server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    headers = bearer(companion_server.token())
    for body in (None, b"", b"  \n", b"{}"):
        url = companion_server.url + "/sessions"
        assert (await ask(http, url, "POST", headers=headers, data=body))[0] == 201


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"title": NaN}',
        b'{"title": 1e999}',
        b'{"user": "\\ud800"}',
        b'{"title": 9007199254740992}',
        b"\xff\xfe",
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" * 100_0,
        b"[]",
        b'"text"',
    ],
)
async def test_a_body_that_is_not_json_of_ours_is_400(
    companion_server: CompanionServer, http: aiohttp.ClientSession, body: bytes
) -> None:
    headers = bearer(companion_server.token())
    url = companion_server.url + "/sessions"
    status, _, answer = await ask(http, url, "POST", headers=headers, data=body)
    assert status == 400
    assert json.loads(answer)["code"] in ("invalid_message", "bad_request")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_at_the_limit_is_read_and_one_byte_more_is_413(
    companion_server: CompanionServer, http: aiohttp.ClientSession, chunked: bool
) -> None:
    limit = companion_server.config.limit_message_bytes
    headers = bearer(companion_server.token())

    async def sent(size: int) -> Answer:
        body = b'{"title":"x"}'.ljust(size)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, size, 8192):
                yield body[start : start + 8192]

        data = pieces() if chunked else body
        url = companion_server.url + "/sessions"
        return await ask(http, url, "POST", headers=headers, data=data)

    assert (await sent(limit))[0] == 201
    for size in (limit + 1, limit * 10):
        status, answered, body = await sent(size)
        assert status == 413
        assert json.loads(body)["code"] == "body_too_large"
        assert_secure(answered)


async def test_a_stranger_s_body_is_not_read(companion_server: CompanionServer) -> None:
    answer = await raw(
        companion_server.config.port,
        b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n{",
    )
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"Connection: close" in answer


async def test_a_body_that_waits_for_leave_gets_it_and_other_wishes_are_not_repeated(
    companion_server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    headers = bearer(companion_server.token())
    url = companion_server.url + "/sessions"
    status, _, _ = await ask(http, url, "POST", headers=headers, data=b"{}", expect100=True)
    assert status == 201
    status, answered, body = await ask(http, url, "POST", headers={"Expect": "canary-1"})
    assert (status, json.loads(body)["code"]) == (417, "expectation_failed")
    assert b"canary" not in body
    assert_secure(answered)


async def test_a_body_that_drips_is_given_up_on(
    companion_server: CompanionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion_ws.web.guard.bodies.BODY_S", 0.3)
    token = companion_server.token()
    answer = await raw(
        companion_server.config.port,
        b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n"
        + f"Authorization: Bearer {token}\r\n\r\n{{".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"request_timeout"' in answer


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /ws?token={} HTP/1.1\r\n\r\n",
        "GET /ws?token={}\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\x16\x03\x01 {} \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nBad Header {}: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\x1b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        "{}",
        "{}\r\n\r\n",
    ],
)
async def test_a_malformed_request_is_answered_without_a_word_of_it(
    companion_server: CompanionServer,
    request_text: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    canary = "canary-8f3b2c"
    reader, writer = await asyncio.open_connection("127.0.0.1", companion_server.config.port)
    writer.write(request_text.format(canary).encode("latin-1"))
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert canary.encode() not in answer
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split()[1] == b"400"
        assert json.loads(body)["code"] == "bad_request"
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        assert_secure(headers)
    out = capfd.readouterr()
    assert canary not in out.out + out.err + caplog.text


async def test_a_handler_that_fails_is_500_and_keeps_its_reasons_to_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, http: aiohttp.ClientSession
) -> None:
    async def fail(request: web.Request) -> web.Response:
        raise ValueError("a detail of ours")

    config = Config(data=tmp_path)
    guard = Guard(config, Addresses(config), Tokens(Keys([b"k" * 32])))
    runner = Runner(guard.application([Route("POST", "/fail", PUBLIC, fail)]))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/fail"
    status, answered, body = await ask(http, url, "POST", data=b"{}")
    await runner.cleanup()
    assert status == 500
    assert json.loads(body)["code"] == "internal"
    assert b"detail of ours" not in body
    assert b"Traceback" not in body
    assert_secure(answered)


# Peers, proxies, the admin port.


ADMIN = [
    ("GET", "/tokens"),
    ("POST", "/keys"),
    ("GET", "/sessions"),
    ("GET", "/metrics"),
    ("GET", "/admin"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN)
async def test_admin_routes_do_not_exist_for_peers_of_other_machines(
    companion_server: CompanionServer, method: str, path: str
) -> None:
    class Peer(asyncio.Transport):
        def __init__(self, address: str) -> None:
            super().__init__({"peername": (address, 5000), "sockname": ("10.0.0.1", 8000)})

    assert companion_server.app is not None
    headers = {"Host": "localhost", **bearer(companion_server.token("local", "admin"))}
    statuses = []
    for address in ("203.0.113.9", "::ffff:203.0.113.9", "fe80::1%eth0", "127.0.0.1"):
        request = make_mocked_request(
            method, path, headers=headers, transport=Peer(address), app=companion_server.app
        )
        response = await companion_server.app._handle(request)
        statuses.append(response.status)
    assert statuses[:3] == [404, 404, 404]
    assert statuses[3] == 200


@pytest.mark.parametrize(
    "settings",
    [
        {"trust_proxy": ("10.0.0.1",)},
        {"public_url": "https://companion.example"},
        {"tunnel": "t {url}"},
    ],
    ids=["proxy", "public url", "tunnel"],
)
async def test_behind_a_proxy_admin_routes_live_on_the_admin_port_alone(
    tmp_path: Path, http: aiohttp.ClientSession, settings: dict[str, Any]
) -> None:
    config = Config(data=tmp_path, **settings)
    ports = []
    app: web.Application | None = None
    runner: Runner | None = None
    # Both ports have to be known before the application is made.
    import socket

    main, admin = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    ports = [main.getsockname()[1], admin.getsockname()[1]]
    app = await create_app(replace(config, port=ports[0], admin_port=ports[1]))
    runner = Runner(app)
    await runner.setup()
    try:
        for listening in (main, admin):
            await web.SockSite(runner, listening).start()
        headers = bearer(Tokens(Keys.load(tmp_path)).issue("admin", "local", 60)[0])
        for method, path in ADMIN:
            found = [
                (await ask(http, f"http://127.0.0.1:{port}{path}", method, headers=headers))[0]
                for port in ports
            ]
            assert found == [404, 200], path
        for port in ports:
            url = f"http://127.0.0.1:{port}/me/sessions"
            assert (await ask(http, url, headers=headers))[0] == 200
            async with http.ws_connect(f"http://127.0.0.1:{port}/ws", headers=headers) as ws:
                assert (await ws.receive_json())["type"] == "session_joined"
    finally:
        await runner.cleanup()


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncIterator[Any]:
    """Return what addresses a server behind 127.0.0.1 and 10.0.0.0/8 sees."""

    async def show(request: web.Request) -> web.Response:
        return web.json_response({"client": request[CLIENT], "body": await read_json(request)})

    runners = []

    async def start(**settings: Any) -> str:
        config = Config(data=tmp_path, **settings)
        guard = Guard(config, Addresses(config), Tokens(Keys([b"k" * 32])))
        runner = Runner(guard.application(
            [Route("POST", "/echo", PUBLIC, show, vouch=lambda request: True)]
        ))
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/echo"

    yield start
    for runner in runners:
        await runner.cleanup()


FORWARDED = [
    ("x-forwarded-for", {"X-Forwarded-For": "203.0.113.9"}, "203.0.113.9"),
    ("x-forwarded-for", {"X-Forwarded-For": "1.2.3.4, 203.0.113.9"}, "203.0.113.9"),
    ("x-forwarded-for", {"X-Forwarded-For": "1.2.3.4, 203.0.113.9, 10.0.0.7"}, "203.0.113.9"),
    ("x-forwarded-for", {"X-Forwarded-For": "203.0.113.9:4711"}, "203.0.113.9"),
    ("x-forwarded-for", {"X-Forwarded-For": "1.2.3.4, unknown"}, "127.0.0.1"),
    ("forwarded", {"Forwarded": "for=203.0.113.9;proto=https"}, "203.0.113.9"),
    ("forwarded", {"Forwarded": 'for=1.2.3.4, for="[2001:db8::9]:4711"'}, "2001:db8::9"),
    ("forwarded", {"Forwarded": "nonsense"}, "127.0.0.1"),
    ("forwarded", {"Forwarded": "for=1.2.3.4, for=_hidden"}, "127.0.0.1"),
    ("x-forwarded-for", {}, "127.0.0.1"),
]


@pytest.mark.parametrize(("named", "headers", "client"), FORWARDED)
async def test_a_trusted_proxy_s_word_about_the_caller_counts(
    echo: Any, http: aiohttp.ClientSession, named: str, headers: dict[str, str], client: str
) -> None:
    url = await echo(trust_proxy=("127.0.0.1", "10.0.0.0/8"), forwarded_header=named)
    _, _, body = await ask(http, url, "POST", headers=headers)
    assert json.loads(body)["client"] == client


@pytest.mark.parametrize(
    ("named", "client"),
    [("x-forwarded-for", "203.0.113.9"), ("forwarded", "198.51.100.7"), ("none", "127.0.0.1")],
)
async def test_the_header_the_caller_sends_beside_the_proxy_s_does_not_count(
    echo: Any, http: aiohttp.ClientSession, named: str, client: str
) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=198.51.100.7"}
    url = await echo(trust_proxy=("127.0.0.1",), forwarded_header=named)
    _, _, body = await ask(http, url, "POST", headers=headers)
    assert json.loads(body)["client"] == client


async def test_a_quote_the_caller_leaves_open_does_not_swallow_what_the_proxy_adds(
    echo: Any, http: aiohttp.ClientSession
) -> None:
    url = await echo(trust_proxy=("127.0.0.1",), forwarded_header="forwarded")
    headers = {"Forwarded": 'for=198.51.100.7;by=", for="[2001:db8::1]:99"'}
    _, _, body = await ask(http, url, "POST", headers=headers)
    assert json.loads(body)["client"] == "127.0.0.1"


@pytest.mark.parametrize(("named", "headers", "client"), FORWARDED)
async def test_a_stranger_s_word_about_the_caller_does_not_count(
    echo: Any, http: aiohttp.ClientSession, named: str, headers: dict[str, str], client: str
) -> None:
    url = await echo(forwarded_header=named)
    _, _, body = await ask(http, url, "POST", headers=headers)
    assert json.loads(body)["client"] == "127.0.0.1"


async def test_behind_a_tls_proxy_the_page_s_https_origin_is_our_own_and_hsts_is_sent(
    echo: Any, http: aiohttp.ClientSession
) -> None:
    url = await echo(trust_proxy=("127.0.0.1",))
    headers = {"Host": "localhost", "Origin": "https://localhost", "X-Forwarded-Proto": "https"}
    status, answered, _ = await ask(http, url, "POST", headers=headers)
    assert status == 200
    assert "max-age" in answered["Strict-Transport-Security"]
    url = await echo()
    assert (await ask(http, url, "POST", headers=headers))[0] == 403


async def test_without_a_limit_bodies_may_be_large(echo: Any, http: aiohttp.ClientSession) -> None:
    url = await echo(limit_message_bytes=0)
    text = "x" * 3_000_000
    body = io.BytesIO(json.dumps(text).encode())
    status, _, answer = await ask(http, url, "POST", data=body)
    assert status == 200
    assert json.loads(answer)["body"] == text


async def test_mounted_in_another_application_everything_still_holds(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    config = Config(data=tmp_path)
    inner = await create_app(config)
    outer = web.Application()
    outer.add_subapp("/companion", inner)
    runner = Runner(outer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/companion"
    headers = bearer(Tokens(Keys.load(tmp_path)).issue("user", "alice", 60)[0])
    try:
        status, answered, _ = await ask(http, url + "/me/sessions")
        assert status == 401
        assert_secure(answered)
        assert (await ask(http, url + "/me/sessions", headers=headers))[0] == 200
        assert (await ask(http, url + "/me/sessions", headers={"Host": "evil.example"}))[0] == 421
        big = b'{"title":"x"}'.ljust(config.limit_message_bytes + 1)
        status, _, _ = await ask(http, url + "/sessions", "POST", headers=headers, data=big)
        assert status == 413
    finally:
        await runner.cleanup()
