"""A call that finds no screen opens a way in; it is its caller's, and goes with its token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from running import Running

DOORS = ["socket", "http", "mcp"]


async def asked(server: Running, door: str, session_id: str, token: str) -> str:
    """Ask what nobody can answer, by that door; return the code that the agent is told."""
    if door == "socket":
        agent = await server.join(token=token, session_id=session_id)
        await agent.call("t1", "companion_confirm", parameters={"title": "Send it?"})
        return str((await agent.result("t1"))["said"]["pairing_code"])
    if door == "http":
        call = {"tool_name": "companion_confirm", "tool_call_id": "t1", "parameters": {}}
        path = f"/sessions/{session_id}/messages?wait=10"
        body = {"type": "client_tool_call", "client_tool_call": call}
        answer = await server.http("POST", path, body, token=token)
        return str(json.loads(answer.body["result"])["pairing_code"])
    call = {"name": "ask", "arguments": {"title": "Send it?"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"X-Companion-Session": session_id, "Accept": "application/json, text/event-stream"}
    answer = await server.http("POST", "/mcp", message, token=token, headers=headers)
    return str(json.loads(answer.body["result"]["content"][0]["text"])["result"]["pairing_code"])


async def issued(server: Running, **body: Any) -> dict[str, Any]:
    answer = await server.http("POST", "/tokens", body, token=server.made("admin", "root"))
    assert answer.status == 201
    return dict(answer.body)


async def revoke(server: Running, query: str) -> None:
    answer = await server.http("DELETE", f"/tokens{query}", token=server.made("admin", "root"))
    assert answer.status in (200, 204), answer


async def pair(server: Running, code: str) -> Any:
    return await server.http("POST", "/pair", {"code": code, "device": "x"}, token=None)


@pytest.mark.parametrize("door", DOORS)
async def test_a_code_told_to_an_agent_dies_with_its_token(start: Any, door: str) -> None:
    server = await start()
    session_id = await server.new_session()
    token = await issued(server, user="alice", role="user")
    code = await asked(server, door, session_id, token["token"])
    await revoke(server, f"/{token['id']}")
    assert (await pair(server, code)).status == 404


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("which", ["its own token", "the token that made it", "the service"])
async def test_a_phone_let_in_by_an_agents_code_goes_with_the_agent(
    start: Any, door: str, which: str
) -> None:
    server = await start()
    service = await issued(server, user="shop", role="service")
    session_id = await server.new_session(service["token"], user="alice")
    path = f"/sessions/{session_id}/tokens"
    made = (await server.http("POST", path, {"role": "agent"}, token=service["token"])).body
    phone = await pair(server, await asked(server, door, session_id, made["token"]))
    assert phone.status == 201
    screen = await server.join(token=phone.body["token"])
    assert screen.joined["role"] == "ui"

    if which == "its own token":
        gone = await server.http("DELETE", f"{path}/{made['id']}", token=service["token"])
        assert gone.status == 204
    else:
        await revoke(server, f"/{service['id']}" if which.endswith("it") else "?user=shop")
    assert await screen.close_code() == 4501
    late = await server.http("GET", f"/sessions/{session_id}/state", token=phone.body["token"])
    assert late.status == 401
