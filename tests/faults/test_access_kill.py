"""Who was shut out stays out, and what was used stays used, when the server is killed at once."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import aiohttp
from real_server import Server, running

ROUNDS = 5


async def ask(
    http: aiohttp.ClientSession,
    server: Server,
    method: str,
    path: str,
    token: str | None,
    body: Any = None,
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with http.request(method, server.url + path, headers=headers, json=body) as response:
        return response.status, None if response.status == 204 else await response.json()


async def test_a_revocation_and_a_used_link_survive_a_kill_right_after_their_answer(
    tmp_path: Path,
) -> None:
    dead: list[str] = []
    used: list[str] = []
    async with running(tmp_path / "data") as server, aiohttp.ClientSession() as http:
        user, admin = server.token(), server.token("local", "admin")
        for number in range(ROUNDS):
            _, session = await ask(http, server, "POST", "/sessions", user, {})
            path = f"/sessions/{session['session_id']}"
            _, opened = await ask(http, server, "POST", f"{path}/pairings", user, {})
            ticket = opened["url"].partition("#")[2]
            status, paired = await ask(http, server, "POST", "/pair", None, {"ticket": ticket})
            assert status == 201
            used.append(ticket)
            if number % 2:
                end = f"{path}/devices/{paired['device_id']}"
                status, _ = await ask(http, server, "DELETE", end, user)
                dead.append(paired["token"])
            else:
                _, issued = await ask(http, server, "POST", "/tokens", admin, {"user": "carol"})
                status, _ = await ask(http, server, "DELETE", f"/tokens/{issued['id']}", admin)
                dead.append(issued["token"])
            assert status == 204
            await server.kill()
            await server.start()
            for token in dead:
                assert (await ask(http, server, "GET", "/me/sessions", token))[0] == 401
            for spent in used:
                assert (await ask(http, server, "POST", "/pair", None, {"ticket": spent}))[0] == 404
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in server.data.iterdir()}
        assert set(files.values()) == {0o600}, files
        log = "".join(server.output)
        for secret in (*dead, *used, user, admin):
            assert secret not in log
            assert secret.partition(".")[0] not in log
