"""The official MCP client, in every version it speaks, at a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx2
import pytest
from jsonschema import Draft202012Validator
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.client import CompanionClient
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
BOTH = ["auto", "legacy"]


@asynccontextmanager
async def mcp(server: CompanionServer, mode: Any = "auto", **headers: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {server.token()}", **headers}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


def session(companion: CompanionClient) -> dict[str, str]:
    return {"X-Companion-Session": companion.session_id}


def value(result: Any) -> Any:
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content["result"]


@pytest.mark.parametrize("mode", BOTH)
async def test_the_client_lists_the_five_tools(
    mode: str, companion_server: CompanionServer
) -> None:
    async with mcp(companion_server, mode) as client:
        listed = await client.list_tools()
        names = [tool.name for tool in listed.tools]
        assert names == ["show", "ask", "get_state", "set_state", "wait_for_companion"]


async def test_every_tool_says_all_a_model_must_know_in_valid_schemas(
    companion_server: CompanionServer,
) -> None:
    async with mcp(companion_server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    for tool in tools.values():
        assert tool.title
        assert "companion.events" in tool.description
        for schema in (tool.input_schema, tool.output_schema):
            Draft202012Validator.check_schema(schema)
    assert "say it" in tools["ask"].description
    asked = tools["ask"].input_schema["properties"]
    assert asked["schema"]["type"] == "object"
    assert {"id", "label", "price"} <= {*asked["options"]["items"]["properties"]}


async def test_a_question_may_be_named_by_its_kind(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    async with mcp(companion_server, **session(companion)) as client:
        given = {"title": "Sure?", "kind": "confirm", "options": OPTIONS}
        asking = asyncio.create_task(client.call_tool("ask", given))
        await here.decline()
        assert value(await asking) == {"status": "declined"}


async def test_the_newest_version_is_chosen(companion_server: CompanionServer) -> None:
    async with mcp(companion_server) as client:
        assert client.protocol_version == "2026-07-28"
    async with mcp(companion_server, "legacy") as client:
        assert client.protocol_version == "2025-11-25"


@pytest.mark.parametrize("mode", BOTH)
async def test_the_agent_asks_and_the_screen_answers(
    mode: str, companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    async with mcp(companion_server, mode, **session(companion)) as client:
        asking = asyncio.create_task(
            client.call_tool("ask", {"title": "Which?", "options": OPTIONS})
        )
        await here.choose("ground")
        result = await asking
        assert not result.is_error
        assert value(result) == {"status": "chosen", "id": "ground", "label": "FedEx Ground"}


async def test_a_form_and_a_confirmation_are_asked_too(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    async with mcp(companion_server, **session(companion)) as client:
        asking = asyncio.create_task(client.call_tool("ask", {"title": "Where?", "schema": schema}))
        await here.submit(city="Berlin")
        assert value(await asking)["values"] == {"city": "Berlin"}
        asking = asyncio.create_task(client.call_tool("ask", {"title": "Sure?"}))
        await here.decline()
        assert value(await asking) == {"status": "declined"}


async def test_something_is_shown(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    async with mcp(companion_server, **session(companion)) as client:
        showing = asyncio.create_task(
            client.call_tool("show", {"title": "Rates", "data": {"a": 1}})
        )
        await here.answer("companion_show", {"status": "shown"})
        assert value(await showing) == {"status": "shown"}


async def test_the_session_may_be_named_in_meta(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    meta: Any = {"companion/session_id": companion.session_id}
    async with mcp(companion_server) as client:
        await client.call_tool("set_state", {"key": "step", "value": 2}, meta=meta)
        result = await client.call_tool("get_state", {"key": "step"}, meta=meta)
        assert value(result) == 2
        assert value(await client.call_tool("get_state", meta=meta)) == {"step": 2}


async def test_a_stale_revision_is_an_error_the_agent_can_read(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    await companion.set_state("step", 1)
    async with mcp(companion_server, **session(companion)) as client:
        result = await client.call_tool("set_state", {"key": "step", "value": 2, "if_revision": 0})
        assert result.is_error
        assert result.structured_content["error"]["code"] == "revision_conflict"


async def test_waiting_ends_with_what_the_screen_does(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    async with mcp(companion_server, **session(companion)) as client:
        waiting = asyncio.create_task(client.call_tool("wait_for_companion", {"seconds": 20}))
        await here.say("ready")
        result = await waiting
        assert value(result)["status"] == "news"
        assert result.structured_content["companion"]["events"][0]["text"] == "ready"


async def test_a_session_token_knows_its_session(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    tokens = Tokens(Keys.load(companion_server.config.data, None))

    def bearer(role: str) -> dict[str, str]:
        token, _ = tokens.issue("session", "alice", 60, session_id=companion.session_id, role=role)
        return {"Authorization": f"Bearer {token}"}

    async with mcp(companion_server, **bearer("agent")) as client:
        await client.call_tool("set_state", {"key": "step", "value": 3})
        assert await companion.get_state("step") == 3
    async with mcp(companion_server, **bearer("ui")) as client:
        with pytest.raises(MCPError, match="agent"):
            await client.call_tool("get_state", {})


async def test_unknown_and_foreign_sessions_are_the_same(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    theirs = await companion_server.sessions.create("bob")
    answers = []
    for session_id in (theirs.session_id, "8d0be7a4-8e5c-4a1c-93a8-a26a1ff3a2c1"):
        status, body = await post(
            companion_server,
            call("tools/call", {"name": "get_state", "arguments": {}}),
            {"X-Companion-Session": session_id},
        )
        answers.append((status, body))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


# What a client that is none gets.


def call(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}


async def post(
    server: CompanionServer, body: Any, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    given = {"Authorization": f"Bearer {server.token()}", **(headers or {})}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{server.url}/mcp", data=raw, headers=given) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        ({"method": "ping", "id": 1}, 400, -32600),
        (call("ping", id=None), 400, -32600),
        ([], 400, -32600),
        (call("resources/list"), 200, -32601),
        (call("tools/call", {"name": "fly"}), 200, -32602),
        (call("tools/call", {"name": "get_state"}), 200, -32602),
        (call("tools/call", {"name": {}, "_meta": {"progressToken": 1}}), 200, -32602),
        (call("tools/call", {"name": [], "arguments": 7, "task": 7}), 200, -32602),
        ({**call("ping"), "params": []}, 400, -32602),
    ],
)
async def test_what_is_no_request_gets_a_json_rpc_error(
    body: Any, status: int, code: int, companion_server: CompanionServer
) -> None:
    got, answer = await post(companion_server, body)
    assert (got, answer["error"]["code"]) == (status, code)


async def test_a_key_that_is_no_text_is_an_invalid_parameter(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    params = {"name": "get_state", "arguments": {"key": {"a": 1}}}
    status, answer = await post(companion_server, call("tools/call", params), session(companion))
    assert (status, answer["error"]["code"]) == (200, -32602)


async def test_notifications_are_taken_without_an_answer(
    companion_server: CompanionServer,
) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert await post(companion_server, message) == (202, None)


async def test_the_oldest_handshake_is_answered_in_its_version(
    companion_server: CompanionServer,
) -> None:
    params = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {}}
    _, answer = await post(companion_server, call("initialize", params))
    assert answer["result"]["protocolVersion"] == "2024-11-05"
    _, answer = await post(companion_server, call("initialize", {"protocolVersion": "1"}))
    assert answer["result"]["protocolVersion"] == "2025-11-25"


async def test_a_batch_of_old_clients_is_answered_as_one(
    companion_server: CompanionServer,
) -> None:
    status, answers = await post(companion_server, [call("ping", id=1), call("tools/list", id="b")])
    assert status == 200
    assert [answer["id"] for answer in answers] == [1, "b"]


async def test_a_version_nobody_speaks_is_refused(companion_server: CompanionServer) -> None:
    headers = {"MCP-Protocol-Version": "1999-01-01"}
    status, answer = await post(companion_server, call("ping"), headers)
    assert (status, answer["error"]["code"]) == (400, -32022)
    assert "2026-07-28" in answer["error"]["data"]["supported"]


async def test_a_request_whose_headers_contradict_it_is_refused(
    companion_server: CompanionServer,
) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}
    status, answer = await post(companion_server, call("tools/list", {"_meta": meta}), headers)
    assert (status, answer["error"]["code"]) == (400, -32020)


async def test_only_post_is_answered_and_only_with_a_token(
    companion_server: CompanionServer,
) -> None:
    async with aiohttp.ClientSession() as http:
        for method in ("GET", "DELETE"):
            async with http.request(method, f"{companion_server.url}/mcp") as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        async with http.post(f"{companion_server.url}/mcp", json=call("ping")) as answer:
            assert answer.status == 401
