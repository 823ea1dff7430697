"""Nothing outlives an acknowledged revocation: every route, with a request under way.

The head of a request is sent, its body withheld; or it waits for news, follows a stream, or is
in the middle of a batch. Then the credential is revoked, in each of its ways.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from matrix import MESSAGES, body_of
from running import WAIT_S, Running

from companion_ws.app import ROUTES
from companion_ws.web.agents import mcp as mcp_route

SOON_S = 5.0
"""A second is promised; a machine that is busy with other things gets some more."""


@dataclass
class Under:
    """A request of which the server has the head and not yet the body."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def way(
        cls, server: Running, method: str, path: str, token: str, body: bytes, *headers: str
    ) -> Under:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port)
        lines = [
            f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{server.config.port}",
            f"Authorization: Bearer {token}", "Content-Type: application/json",
            f"Content-Length: {len(body)}", "Expect: 100-continue", *headers,
        ]  # fmt: skip
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(WAIT_S):
            # The door has looked at the token by now, and reads the body next.
            assert b"100" in await reader.readline()
            await reader.readline()
        for _ in range(3):
            await asyncio.sleep(0)
        return cls(reader, writer)

    async def status(self, body: bytes = b"") -> int:
        """Send the body and return the status of the answer."""
        self.writer.write(body)
        try:
            async with asyncio.timeout(WAIT_S):
                line = await self.reader.readline()
                await self.reader.read()
            return int(line.split()[1])
        finally:
            self.writer.close()


@dataclass
class Premises:
    """A server, a session of alice's, and everybody's tokens, listed so that they have ids."""

    server: Running
    session_id: str
    admin: str

    @classmethod
    async def of(cls, server: Running) -> Premises:
        admin = server.token("root", "admin")
        return cls(server, await server.new_session(), admin)

    async def issued(self, user: str = "alice", role: str = "user") -> tuple[str, str]:
        """Return a new token and its id."""
        body = {"user": user, "role": role}
        made = await self.server.http("POST", "/tokens", body, token=self.admin)
        assert made.status == 201, made
        return made.body["token"], made.body["id"]

    async def child_of(self, token: str, role: str = "agent") -> str:
        """Return a session token that `token` makes."""
        path = f"/sessions/{self.session_id}/tokens"
        made = await self.server.http("POST", path, {"role": role}, token=token)
        assert made.status == 201, made
        return str(made.body["token"])

    async def phone_of(self, token: str) -> tuple[str, str]:
        """Return the token and device id of a phone paired by `token`."""
        path = f"/sessions/{self.session_id}/pairings"
        opened = await self.server.http("POST", path, {}, token=token)
        ticket = opened.body["url"].partition("#")[2]
        paired = await self.server.http("POST", "/pair", {"ticket": ticket}, token=None)
        assert paired.status == 201, paired
        return paired.body["token"], paired.body["device_id"]

    async def must(self, method: str, path: str, body: Any = None, token: str = "") -> None:
        answer = await self.server.http(method, path, body, token=token or self.admin)
        assert answer.status in (200, 204), answer


Revoke = Callable[[], Awaitable[None]]


async def way_of(premises: Premises, name: str) -> tuple[str, Revoke]:
    """Return a credential and what revokes it, in one of its six ways."""
    token, token_id = await premises.issued()
    match name:
        case "id":
            return token, lambda: premises.must("DELETE", f"/tokens/{token_id}")
        case "user":
            return token, lambda: premises.must("DELETE", "/tokens?user=alice")
        case "erased":
            return token, lambda: premises.must("DELETE", "/me", token=premises.server.token())
        case "key":
            return token, lambda: premises.must("POST", "/keys", {"compromise": True})
        case "device":
            phone, device_id = await premises.phone_of(token)
            path = f"/sessions/{premises.session_id}/devices/{device_id}"
            return phone, lambda: premises.must("DELETE", path, token=token)
        case "parent":
            child = await premises.child_of(token)
            return child, lambda: premises.must("DELETE", f"/tokens/{token_id}")
    raise AssertionError(name)


WAYS = ("id", "user", "erased", "key", "device", "parent")


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_out_before_the_body_came_changes_nothing(server: Running, way: str) -> None:
    premises = await Premises.of(server)
    token, revoke = await way_of(premises, way)
    path = f"/sessions/{premises.session_id}/messages"
    body = json.dumps({"type": "user_message", "text": "too late"}).encode()
    under = await Under.way(server, "POST", path, token, body)

    await revoke()

    assert await under.status(body) == 401
    records = await server.http(
        "GET", f"/sessions/{premises.session_id}/records",
        token=server.token("root", "admin"),
    )  # fmt: skip
    assert records.status == 404 or records.body["records"] == []


@pytest.mark.parametrize("way", ["id", "user", "erased", "key"])
async def test_who_is_out_before_the_body_came_makes_no_credential(
    server: Running, way: str
) -> None:
    premises = await Premises.of(server)
    token, revoke = await way_of(premises, way)
    path = f"/sessions/{premises.session_id}/tokens"
    under = await Under.way(server, "POST", path, token, b"{}")

    await revoke()

    assert await under.status(b"{}") == 401


@pytest.mark.parametrize("way", ["id", "user", "key"])
async def test_an_admin_who_is_out_makes_no_admin_any_more(server: Running, way: str) -> None:
    premises = await Premises.of(server)
    token, token_id = await premises.issued("eve", "admin")
    body = json.dumps({"user": "eve", "role": "admin", "ttl_s": 366 * 86_400}).encode()
    under = await Under.way(server, "POST", "/tokens", token, body)

    match way:
        case "id":
            await premises.must("DELETE", f"/tokens/{token_id}")
        case "user":
            await premises.must("DELETE", "/tokens?user=eve")
        case "key":
            await premises.must("POST", "/keys", {"compromise": True})

    assert await under.status(body) == 401


@pytest.mark.parametrize("way", ["id", "user", "erased", "key", "parent"])
async def test_who_waits_for_a_result_is_let_go_at_once(server: Running, way: str) -> None:
    premises = await Premises.of(server)
    token, revoke = await way_of(premises, way)
    call = {"tool_name": "companion_confirm", "tool_call_id": "t1", "parameters": {"title": "?"},
            "timeout_ms": 120_000}  # fmt: skip
    body = {"type": "client_tool_call", "client_tool_call": call}
    screen = await server.join(session_id=premises.session_id, role="ui", token=server.token())
    path = f"/sessions/{premises.session_id}/messages?wait=100"
    waiting = asyncio.create_task(server.http("POST", path, body, token=token))
    await screen.next_of("client_tool_call")

    await revoke()

    async with asyncio.timeout(SOON_S):
        assert (await waiting).status == 401


@pytest.mark.parametrize("way", ["id", "user", "erased", "key", "parent"])
async def test_a_batch_stops_where_its_sender_is_out(server: Running, way: str) -> None:
    premises = await Premises.of(server)
    token, revoke = await way_of(premises, way)

    def tool(number: int, name: str, **arguments: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": number, "method": "tools/call",
                "params": {"name": name, "arguments": arguments}}  # fmt: skip

    batch = [tool(1, "set_state", key="before", value=1),
             tool(2, "wait_for_companion", seconds=200),
             tool(3, "set_state", key="after", value=1)]  # fmt: skip
    watcher = await server.join(session_id=premises.session_id, role="observer")
    headers = {"X-Companion-Session": premises.session_id}
    asked = asyncio.create_task(server.http("POST", "/mcp", batch, token=token, headers=headers))
    await watcher.next_of("state_updated", key="before")

    await revoke()

    async with asyncio.timeout(SOON_S):
        assert (await asked).status == 401
    state = await server.sessions.store.states([premises.session_id])
    assert "after" not in state[premises.session_id]


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_and_a_socket_end_with_their_credential(server: Running, way: str) -> None:
    premises = await Premises.of(server)
    token, revoke = await way_of(premises, way)
    path = f"{server.url}/sessions/{premises.session_id}/records"
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {token}"}
    agent = await server.join(token, session_id=premises.session_id)
    async with server.http_session.get(path, headers=headers) as stream:
        assert await stream.content.readline()

        await revoke()

        async with asyncio.timeout(SOON_S):
            assert await agent.close_code() in (4501, 4510)
            with suppress(OSError, aiohttp.ClientError):  # Cut off in the middle is ended, too.
                while await stream.content.readline():
                    pass


async def test_who_waits_is_let_go_when_the_token_expires(server: Running) -> None:
    session_id = await server.new_session()
    call = {"tool_name": "companion_confirm", "tool_call_id": "t1", "parameters": {"title": "?"},
            "timeout_ms": 120_000}  # fmt: skip
    body = {"type": "client_tool_call", "client_tool_call": call}
    screen = await server.join(session_id=session_id, role="ui")
    short = server.made(ttl_s=2)
    path = f"/sessions/{session_id}/messages?wait=100"
    waiting = asyncio.create_task(server.http("POST", path, body, token=short))
    await screen.next_of("client_tool_call")

    refused = await waiting

    assert (refused.status, refused.code) == (401, "token_expired")


async def test_who_is_out_reads_no_further_in_a_long_answer(start: Any) -> None:
    server = await start(limit_messages_per_s=0)
    premises = await Premises.of(server)
    token, token_id = await premises.issued()
    agent = await server.join(session_id=premises.session_id)
    for number in range(210):  # 6 MB: more than the buffers between us hold.
        await agent.send("state_update", key=f"k{number % 6}", value=f"{number}" + "x" * 30_000)
        await agent.next_of("state_updated", key=f"k{number % 6}")
    path = f"/sessions/{premises.session_id}/records?limit=1000"
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(("127.0.0.1", server.config.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    async with asyncio.timeout(WAIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    assert b"chunked" in head

    await premises.must("DELETE", f"/tokens/{token_id}")
    read = b""
    with suppress(OSError):
        async with asyncio.timeout(WAIT_S):
            while part := await reader.read(65_536):
                read += part
    writer.close()

    assert not read.endswith(b"0\r\n\r\n"), "the answer never came to its end"


async def test_whoever_revokes_its_own_token_hears_that_it_is_done(server: Running) -> None:
    premises = await Premises.of(server)
    token, token_id = await premises.issued("eve", "admin")

    await premises.must("DELETE", f"/tokens/{token_id}", token=token)

    assert (await server.http("GET", "/me/sessions", token=token)).status == 401


async def test_a_batch_of_waits_holds_no_more_than_one_wait_may(server: Running) -> None:
    session_id = await server.new_session()
    wait = {"jsonrpc": "2.0", "method": "tools/call",
            "params": {"name": "wait_for_companion", "arguments": {"seconds": 280}}}  # fmt: skip
    headers = {"X-Companion-Session": session_id}
    batch = [{**wait, "id": number} for number in range(51)]

    refused = await server.http("POST", "/mcp", batch, headers=headers)

    assert refused.status == 400
    assert "50" in refused.body["error"]["message"]


async def test_a_batch_that_has_taken_its_time_answers_what_is_left(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_route, "BATCH_S", 0.5)
    session_id = await server.new_session()
    wait = {"name": "wait_for_companion", "arguments": {"seconds": 280}}
    ping = [{"jsonrpc": "2.0", "id": 0, "method": "ping"}]
    waits = [{"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": wait}
             for number in (1, 2)]  # fmt: skip

    answer = await server.http(
        "POST", "/mcp", [*ping, *waits], headers={"X-Companion-Session": session_id}
    )

    assert answer.status == 200
    assert answer.body[0]["result"] == {}
    assert [one["error"]["code"] for one in answer.body[1:]] == [-32003, -32003]


# Every route and every message, with each kind of token, in each way it can be revoked.


def rows_of(server: Running) -> dict[str, list[Any]]:
    """Return all that a request could have left in the database."""
    tables = {
        "sessions": "session_id, user, title, language, ended_at_ms",
        "tips": "number, seq, is_open",
        "records": "number, seq",
        "state": "session_id, key, revision",
        "tokens": "token_id",
        "pairings": "pairing_id, used_at_ms",
        "codes": "session_id, nonce",
        "devices": "device_id, revoked_at_ms",
        "claims": "pairing_id, allowed",
        "sign_ins": "ticket_hash",
        "answers": "scope",
        "revocations": "kind, ref",
    }
    with closing(sqlite3.connect(f"file:{server.config.database_path}?mode=ro", uri=True)) as base:
        return {
            table: sorted(base.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)
            for table, columns in tables.items()
        }


async def credential_of(premises: Premises, kind: str, way: str) -> tuple[str, Revoke]:
    """Return a token of a kind, and what revokes it."""
    if kind == "session" and way == "id":
        made = await premises.server.http(
            "POST", f"/sessions/{premises.session_id}/tokens", {"role": "agent"}
        )
        path = f"/sessions/{premises.session_id}/tokens/{made.body['id']}"
        return made.body["token"], lambda: premises.must("DELETE", path)
    if kind == "session" and way in ("device", "parent"):
        return await way_of(premises, way)
    if kind == "session":
        _, revoke = await way_of(premises, way)
        return await premises.child_of(premises.server.token()), revoke
    user = "shop" if kind == "service" else "alice"
    token, token_id = await premises.issued(user, kind)
    match way:
        case "id":
            return token, lambda: premises.must("DELETE", f"/tokens/{token_id}")
        case "user":
            return token, lambda: premises.must("DELETE", f"/tokens?user={user}")
        case "erased":
            other = premises.server.token(user)
            return token, lambda: premises.must("DELETE", "/me", token=other)
    return token, lambda: premises.must("POST", "/keys", {"compromise": True})


WALKS = [
    *(("user", way) for way in ("id", "user", "erased", "key")),
    *(("admin", way) for way in ("id", "user", "erased", "key")),
    *(("service", way) for way in ("id", "user", "erased", "key")),
    *(("session", way) for way in WAYS),
]


@pytest.mark.parametrize(("kind", "way"), WALKS)
async def test_no_route_does_anything_for_who_is_out_before_the_body_came(
    server: Running, kind: str, way: str
) -> None:
    premises = await Premises.of(server)
    shop = server.token("shop", "service")
    session_id = premises.session_id
    if kind == "service":
        session_id = await server.new_session(shop, user="alice")
    await server.http("PUT", f"/sessions/{session_id}/state/k", 1, token=premises.admin)
    token, revoke = await credential_of(premises, kind, way)
    under: dict[str, Under] = {}
    assert server.app is not None
    for route in server.app[ROUTES]:
        name = f"{route.method} {re.sub(r':[^}]*', '', route.path)}"
        if kind not in route.who or route.method == "GET":
            continue
        path = route.path.replace("{session_id}", session_id).replace("{key:.+}", "k")
        path = re.sub(r"\{\w+\}", "x", path)
        query = "?user=bob" if name == "DELETE /tokens" else ""
        header = f"X-Companion-Session: {session_id}"
        under[name] = await Under.way(
            server, route.method, path + query, token, body_of(name), header
        )
    assert len(under) >= {"session": 4, "service": 11, "user": 13, "admin": 18}[kind]

    await revoke()
    before = rows_of(server)
    statuses = {name: await one.status(body_of(name)) for name, one in under.items()}

    assert set(statuses.values()) == {401}, statuses
    assert rows_of(server) == before


@pytest.mark.parametrize("way", WAYS)
async def test_no_message_does_anything_for_who_is_out_before_it_came(
    start: Any, way: str
) -> None:
    server = await start(limit_connections_per_session=0, limit_connections_per_user=0)
    premises = await Premises.of(server)
    token, revoke = await way_of(premises, way)
    path = f"/sessions/{premises.session_id}/messages"
    if way not in ("device", "parent"):
        path += "?role=agent"
    bodies = {name: json.dumps({"type": name, **fields}).encode()
              for name, (_, fields) in MESSAGES.items()}  # fmt: skip
    under = {name: await Under.way(server, "POST", path, token, body)
             for name, body in bodies.items()}  # fmt: skip
    sockets = [await server.join(token, session_id=premises.session_id) for _ in MESSAGES]

    await revoke()
    before = rows_of(server)
    for socket_, (name, (_, fields)) in zip(sockets, MESSAGES.items(), strict=True):
        with suppress(ConnectionError, aiohttp.ClientError):
            await socket_.send(name, **fields)

    assert {await one.status(bodies[name]) for name, one in under.items()} == {401}
    async with asyncio.timeout(SOON_S):
        assert {await one.close_code() for one in sockets} <= {4501, 4510}
    assert {m["type"] for one in sockets for m in one.heard} <= {"session_joined", "presence"}
    assert rows_of(server) == before
