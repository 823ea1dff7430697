"""The trace of a tool call goes with it, whatever entrance it came by, to the screen and back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from node_program import NodeProgram
from running import WAIT_S, Running

from companion_ws.testing.phone import Phone
from tests.conftest import Start
from tests.voice.test_mcp import mcp
from tests.voice.test_phone_call import TOOL_SECRET, calling

TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE}-b7ad6b7169203331-01"
NEXT = f"00-{TRACE}-00f067aa0ba902b7-01"
CALL = {"tool_name": "companion_confirm", "tool_call_id": "c", "parameters": {"title": "Sure?"}}
HEADERS = {"traceparent": GIVEN}


async def test_an_agent_gives_it_and_gets_it_back_with_the_answer(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.send("client_tool_call", client_tool_call=CALL, traceparent=GIVEN)
    asked = await screen.next_of("client_tool_call")
    assert asked["traceparent"] == GIVEN
    late = await server.join(session_id=agent.session_id, role="ui")
    assert late.joined["open_calls"][0]["traceparent"] == GIVEN
    await screen.send(
        "client_tool_result", tool_call_id="c", result='{"status":"confirmed"}', traceparent=NEXT
    )
    assert (await agent.next_of("client_tool_result"))["traceparent"] == NEXT


async def test_nonsense_costs_no_call(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.send("client_tool_call", client_tool_call=CALL, traceparent={"a": 1})
    assert "traceparent" not in await screen.next_of("client_tool_call")


async def record_of(server: Running, session_id: str, kind: str) -> dict[str, Any]:
    answer = await server.http("GET", f"/sessions/{session_id}/records?after=0")
    record: dict[str, Any] = next(each for each in answer.body["records"] if each["type"] == kind)
    return record


@pytest.mark.parametrize(
    ("header", "in_message", "told"),
    [(GIVEN, None, GIVEN), (GIVEN, NEXT, NEXT), ("nonsense", None, None)],
)
async def test_over_http_it_comes_in_the_header_unless_the_message_names_one(
    server: Running, header: str, in_message: str | None, told: str | None
) -> None:
    session_id = await server.new_session()
    message = {"type": "client_tool_call", "client_tool_call": CALL}
    if in_message is not None:
        message["traceparent"] = in_message
    answer = await server.http(
        "POST", f"/sessions/{session_id}/messages", message, headers={"traceparent": header}
    )
    assert answer.status == 200
    assert (await record_of(server, session_id, "client_tool_call")).get("traceparent") == told


async def test_a_webhook_brings_it_in_its_header(start: Start) -> None:
    server = await start(elevenlabs_tool_secret=TOOL_SECRET)
    async with calling(server) as call:
        session_id = call.variables["companion_session_id"]
        call._http.headers.update(HEADERS)
        async with Phone(server.client("phone", session_id=session_id, role="ui")) as phone:
            asking = asyncio.create_task(call.tool("companion_confirm", {"title": "Sure?"}))
            await phone.confirm()
            await asking
            records = [record for record in phone._log if "traceparent" in record]
    assert [(record["type"], record["traceparent"]) for record in records] == [
        ("client_tool_call", GIVEN),
        ("client_tool_result", GIVEN),
    ]


@pytest.mark.parametrize("is_header", [True, False])
async def test_over_mcp_it_comes_in_the_header_or_among_the_metadata(
    server: Running, is_header: bool
) -> None:
    session_id = await server.new_session()
    headers = {"X-Companion-Session": session_id, **(HEADERS if is_header else {})}
    async with mcp(server, **headers) as client:
        meta = None if is_header else {"traceparent": GIVEN}
        await client.call_tool("show", {"title": "Hello"}, meta=meta)
    record = await record_of(server, session_id, "client_tool_call")
    assert record["traceparent"] == GIVEN


async def test_the_javascript_client_sends_the_one_that_holds_when_it_calls(server: Running) -> None:
    async with NodeProgram() as node:
        await node.client(url=server.url, token=server.token())
        session_id = await node.run("return kept.companion.sessionId")
        screen = await server.join(session_id=session_id, role="ui")
        await node.run(
            """
            const { CompanionClient } = await load("client.js")
            let now = given.first
            const options = { url: given.url, token: given.token, sessionId: kept.companion.sessionId }
            const agent = new CompanionClient({ ...options, traceparent: () => now })
            await agent.ready
            agent.callTool("companion_confirm", { title: "One?" })
            now = given.second
            agent.callTool("companion_confirm", { title: "Two?" })
            agent.callTool("companion_confirm", { title: "Three?" }, { traceparent: given.first })
            kept.screen = new CompanionClient({ ...options, role: "ui" })
            await kept.screen.ready
            """,
            url=server.url, token=server.token(), first=GIVEN, second=NEXT,
        )  # fmt: skip
        asked = [await screen.next_of("client_tool_call") for _ in range(3)]
        assert [record["traceparent"] for record in asked] == [GIVEN, NEXT, GIVEN]
        call_id = asked[1]["client_tool_call"]["tool_call_id"]
        async with asyncio.timeout(WAIT_S):
            answered = await node.run(
                'return kept.screen.answerTool(given.id, { status: "confirmed" })', id=call_id
            )
        assert answered["traceparent"] == NEXT
