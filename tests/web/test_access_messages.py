"""Every kind of token and role × every command: who may send what. Source: contract section 2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import matrix
import pytest

from companion_ws.core.commands import COMMANDS
from companion_ws.testing.server import CompanionServer

MAY: dict[str, tuple[str, dict[str, Any]]] = {
    name: known
    for name, known in matrix.MESSAGES.items()
    if name not in ("pairing_answer", "token_renew")
}


@pytest.fixture
async def site() -> AsyncIterator[CompanionServer]:
    async with CompanionServer(limit_messages_per_s=0) as running:
        yield running


async def made(
    http: aiohttp.ClientSession, site: CompanionServer, token: str, path: str, body: Any
) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    async with http.post(site.url + path, headers=headers, json=body) as response:
        assert response.status == 201
        return await response.json()


async def refusal(
    ws: aiohttp.ClientWebSocketResponse, command: str, fields: dict[str, Any]
) -> str | None:
    """Send a command; return the code it is refused with, None if it is taken."""
    await ws.send_json({"type": command, "requestId": f"{command}-{id(ws)}", **fields})
    # Answers keep the order of commands, so this one's comes after.
    await ws.send_json({"type": "state_get", "requestId": "end"})
    found = None
    async with asyncio.timeout(10):
        while True:
            message = await ws.receive_json()
            if message.get("requestId") == f"{command}-{id(ws)}" and message["type"] == "error":
                found = message["code"]
            if message["type"] == "state_snapshot" and message.get("requestId") == "end":
                return found


async def test_every_kind_and_role_may_send_what_the_table_says_and_nothing_else(
    site: CompanionServer,
) -> None:
    assert set(MAY) | {"pairing_answer", "token_renew"} == set(COMMANDS)
    async with aiohttp.ClientSession() as http:
        service = site.token("shop", "service")
        session = await made(http, site, service, "/sessions", {"user": "alice"})
        session_id = session["session_id"]
        path = f"/sessions/{session_id}/tokens"
        tokens = {
            (kind, role): site.token("shop" if kind == "service" else "alice", kind)
            for kind in ("user", "service", "admin")
            for role in ("agent", "ui", "observer")
        }
        for role in ("agent", "ui", "observer"):
            issued = await made(http, site, service, path, {"role": role})
            tokens["session", role] = issued["token"]
        tokens["foreign admin", "observer"] = site.token("root", "admin")
        checked = 0
        for (kind, role), token in tokens.items():
            url = f"{site.url}/ws?token={token}&session_id={session_id}&role={role}"
            async with http.ws_connect(url) as ws:
                joined = await ws.receive_json()
                assert (joined["session_id"], joined["role"]) == (session_id, role)
                for command, (roles, fields) in MAY.items():
                    code = await refusal(ws, command, fields)
                    assert (code == "forbidden") is (role not in roles.split()), (kind, role, command)
                    assert code in (None, "forbidden", "tool_unknown"), (kind, role, command, code)
                    checked += 1
                code = await refusal(ws, "token_renew", {})
                assert (code == "forbidden") is (kind != "session"), (kind, role)
                code = await refusal(ws, "pairing_answer", {"pairing_id": "none", "allow": True})
                is_owner = kind not in ("session", "foreign admin")
                assert code == ("invalid_message" if is_owner else "forbidden"), (kind, role)
                checked += 2
        assert checked == 13 * len(COMMANDS)


async def test_over_http_a_command_s_role_is_held_to_the_same_table(site: CompanionServer) -> None:
    async with aiohttp.ClientSession() as http:
        token = site.token()
        session = await made(http, site, token, "/sessions", {})
        base = f"/sessions/{session['session_id']}"
        for role in ("agent", "ui", "observer"):
            issued = await made(http, site, token, f"{base}/tokens", {"role": role})
            for kind, sending in (("user", token), ("session", issued["token"])):
                headers = {"Authorization": f"Bearer {sending}"}
                for command, (roles, fields) in MAY.items():
                    url = f"{site.url}{base}/messages?role={role}"
                    body = {"type": command, **fields}
                    async with http.post(url, headers=headers, json=body) as response:
                        answer = await response.json()
                    is_refused = response.status == 403
                    assert is_refused is (role not in roles.split()), (kind, role, command, answer)
