"""Two real servers of one database: what is said at one holds at the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from postgres_server import PostgresServer
from real_server import PATIENCE_S, Server, joined, ws_timeout

from companion_ws.access.keys import Keys
from companion_ws.data_folder import prepare_data_folder


class Two:
    """Two servers with the same key, and a client that speaks to either."""

    def __init__(self, one: Server, two: Server, http: aiohttp.ClientSession) -> None:
        self.one, self.two, self.http = one, two, http

    async def ask(
        self, server: Server, method: str, path: str, body: Any = None, *, token: str = "",
        **headers: str,
    ) -> tuple[int, Any]:  # fmt: skip
        given = {"Authorization": f"Bearer {token or server.token('root', 'admin')}", **headers}
        async with self.http.request(
            method, server.url + path, json=body, headers=given
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def issued(self, server: Server, user: str = "alice") -> tuple[str, str]:
        status, answer = await self.ask(server, "POST", "/tokens", {"user": user, "role": "user"})
        assert status == 201, answer
        return answer["token"], answer["id"]

    async def is_let_in(self, server: Server, token: str) -> int:
        status, _ = await self.ask(server, "GET", "/me/sessions", token=token)
        return status


@asynccontextmanager
async def two_servers(postgres: PostgresServer, path: Path, *flags: str) -> AsyncIterator[Two]:
    flag = f"--database={postgres.url(path)}"
    prepare_data_folder(path / "1")
    Keys.load(path / "1")
    prepare_data_folder(path / "2")
    shutil.copy2(path / "1" / "secret.key", path / "2")
    async with AsyncExitStack() as stack:
        servers = [Server(path / name, flag, *flags) for name in ("1", "2")]
        for server in servers:
            await server.start()
            stack.push_async_callback(server.kill)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Two(servers[0], servers[1], http)


async def test_what_is_revoked_at_one_server_is_refused_at_the_other_when_the_call_returns(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with two_servers(postgres, tmp_path) as two:
        token, token_id = await two.issued(two.one)
        assert await two.is_let_in(two.two, token) == 200
        async with joined(two.http, two.two, token=token) as screen:
            closed = asyncio.create_task(screen.to_the_end())
            status, _ = await two.ask(two.one, "DELETE", f"/tokens/{token_id}")
            assert status == 204
            assert await two.is_let_in(two.two, token) == 401
            async with asyncio.timeout(PATIENCE_S):
                await closed
            assert screen.ws.close_code == 4501

        # A person signs out everywhere; what is issued after that, at either server, is good.
        tokens = [(await two.issued(server, "bob"))[0] for server in (two.one, two.two)]
        status, _ = await two.ask(two.two, "DELETE", "/tokens?user=bob")
        assert status == 204
        for server in (two.one, two.two):
            assert [await two.is_let_in(server, old) for old in tokens] == [401, 401]
            new, _ = await two.issued(server, "bob")
            assert await two.is_let_in(two.one, new) == await two.is_let_in(two.two, new) == 200

        # Erased at one: nothing of the person is left at the other, and its sockets are closed.
        token, _ = await two.issued(two.one, "carol")
        async with joined(two.http, two.two, token=token) as screen:
            closed = asyncio.create_task(screen.to_the_end())
            status, _ = await two.ask(two.one, "DELETE", "/me", token=token)
            assert status == 204
            assert await two.is_let_in(two.two, token) == 401
            async with asyncio.timeout(PATIENCE_S):
                await closed
            assert screen.ws.close_code in (4501, 4510)

        # The operator's verbs reach the server of their data folder, and what they do is heard by all.
        token, token_id = await two.issued(two.one, "dave")
        revoke = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import sys; from companion_ws.cli import main; sys.exit(main())",
            "token", "revoke", token_id, f"--data={two.two.data}",
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            assert await revoke.wait() == 0
        assert await two.is_let_in(two.one, token) == 401


async def test_a_server_that_stands_still_delays_a_revocation_by_five_seconds_and_wakes_to_nothing(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with two_servers(postgres, tmp_path) as two:
        token, token_id = await two.issued(two.one)
        async with two.http.ws_connect(
            f"{two.two.url}/ws", headers={"Authorization": f"Bearer {token}"}, timeout=ws_timeout()
        ) as ws:
            first = json.loads((await ws.receive()).data)
            assert first["type"] == "session_joined"
            two.two.send(signal.SIGSTOP)
            # What arrives while it stands still is the first thing it sees when it wakes.
            await ws.send_str(json.dumps({"type": "state_get", "requestId": "late"}))
            asking = asyncio.create_task(two.is_let_in(two.two, token))
            await asyncio.sleep(0.2)
            status, _ = await two.ask(two.one, "DELETE", f"/tokens/{token_id}")
            assert status == 204, "after seven seconds it would say that it does not know"
            two.two.send(signal.SIGCONT)
            async with asyncio.timeout(PATIENCE_S):
                assert await asking in (401, 503)
                told = [message async for message in ws]
            assert not any("state_snapshot" in str(message.data) for message in told)
            assert ws.close_code in (1012, 1013, 4501, 1006)
        # It is one of the servers again, and knows by then.
        async with asyncio.timeout(PATIENCE_S):
            while (status := await two.is_let_in(two.two, token)) == 503:
                await asyncio.sleep(0.1)
        assert status == 401


async def test_requests_that_reach_two_servers_at_once_are_done_once_and_bounded_together(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    flags = (
        "--limit-sessions-per-user=4", "--limit-connections-per-user=3", "--pairing=open",
        "--limit-messages-per-s=0",
    )  # fmt: skip
    async with two_servers(postgres, tmp_path, *flags) as two:
        servers = (two.one, two.two)
        # The same request at both: one runs, and the other is answered as that one was.
        for _ in range(5):
            key = str(uuid.uuid4())
            token = two.one.token("alice")
            made = await asyncio.gather(
                *(two.ask(servers[each % 2], "POST", "/sessions", {"title": "once"}, token=token,
                          **{"Idempotency-Key": key}) for each in range(4))
            )  # fmt: skip
            assert [status for status, _ in made] == [201] * 4, made
            assert len({answer["session_id"] for _, answer in made}) == 1

        # Different requests: as many sessions as a user may have, and never one more.
        token = two.one.token("bob")
        await asyncio.gather(
            *(two.ask(servers[each % 2], "POST", "/sessions", {}, token=token) for each in range(12))
        )
        _, listed = await two.ask(two.one, "GET", "/me/sessions", token=token)
        assert 1 <= len([each for each in listed["sessions"] if each["ended_at"] is None]) <= 4

        # Connections of a user, at either server and in sessions of either, once it was told.
        token = two.one.token("carol")
        async with AsyncExitStack() as stack:
            for server in (two.one, two.one, two.two):
                await stack.enter_async_context(joined(two.http, server, token=token))
            await asyncio.sleep(1.0)
            for server in servers:
                async with two.http.ws_connect(
                    f"{server.url}/ws", headers={"Authorization": f"Bearer {token}"}
                ) as ws:
                    with contextlib.suppress(TypeError):
                        await ws.receive_json(timeout=PATIENCE_S)
                    assert ws.close_code == 4429

        # Guesses of a pairing code from one address, wherever they arrive.
        guessed = await asyncio.gather(
            *(two.ask(servers[each % 2], "POST", "/pair", {"code": f"{each:09d}"}) for each in range(10))
        )
        assert sorted(status for status, _ in guessed) == [404] * 5 + [429] * 5


async def test_a_key_rotated_by_a_verb_at_one_server_signs_at_both(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with two_servers(postgres, tmp_path) as two:
        old = two.one.token("alice")
        status, answer = await two.ask(two.one, "POST", "/keys", {})
        assert (status, answer) == (200, {"keys": 2})
        async with asyncio.timeout(PATIENCE_S):
            while len(Keys.load(two.two.data).all) < 2 or len(Keys.load(two.one.data).all) < 2:
                await asyncio.sleep(0.1)
        assert Keys.load(two.one.data).all == Keys.load(two.two.data).all
        new, _ = await two.issued(two.two)
        for server in (two.one, two.two):
            assert [await two.is_let_in(server, token) for token in (old, new)] == [200, 200]

        status, answer = await two.ask(two.two, "POST", "/keys", {"compromise": True})
        assert (status, answer) == (200, {"keys": 1})
        assert Keys.load(two.one.data).all == Keys.load(two.two.data).all
        for server in (two.one, two.two):
            assert [await two.is_let_in(server, token) for token in (old, new)] == [401, 401]
