"""What an operator finds at night: the session somebody asks about, and what went wrong anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import desk_tools
import pytest
from running import Message, Running

from companion_ws import SESSIONS
from companion_ws.database import Statement


@pytest.fixture
async def desk(start: Any) -> Any:
    desk_tools.hanging.clear()
    yield await start(tools="desk_tools")
    desk_tools.hanging.set()


async def listed(server: Running, query: str = "") -> list[Message]:
    answer = await server.http("GET", f"/sessions?{query}", token=server.made("admin", "root"))
    assert answer.status == 200, answer
    found: list[Message] = answer.body["sessions"]
    return found


async def ids(server: Running, query: str) -> set[str]:
    return {each["session_id"] for each in await listed(server, query)}


async def troubles(server: Running, session_id: str) -> Message:
    [found] = [each for each in await listed(server) if each["session_id"] == session_id]
    counts: Message = found["troubles"]
    return counts


async def test_one_search_finds_title_id_user_conversation_and_call_in_any_case(
    server: Running,
) -> None:
    anna = await server.new_session(title="Änne 100%_Parcel to Denver")
    bob = await server.new_session(token=server.made("user", "bob@example.com"), title="Parcel")
    agent = await server.join(session_id=anna)
    metadata = {"conversation_id": "conv_7Xq"}
    await agent.say(
        "conversation_initiation_metadata", conversation_initiation_metadata_event=metadata
    )
    assert server.app is not None
    store = server.app[SESSIONS].store
    assert await store.bind(anna, "call", "CA42f", 1)

    for text in ("denver", "änne", "ÄNNE", "parcel+DENVER", anna, anna[:8], anna[:8].upper(),
                 "ALICE", "conv_7xq", "7Xq", "ca42F", "100%25_"):  # fmt: skip
        assert await ids(server, f"find={text}") == {anna}, text
    assert await ids(server, "find=parcel") == {anna, bob}
    assert await ids(server, "find=bob@") == {bob}
    assert anna not in await ids(server, f"find={anna[9:13]}{anna[14:18]}")
    for text in ("%25", "_arcel", "denver+bob", "Anna", "!", "%25%25"):
        assert bob not in await ids(server, f"find={text}"), text
    assert await ids(server, "find=Anna") == set()


async def test_the_owner_searches_among_ones_own_alone(server: Running) -> None:
    mine = await server.new_session(title="Parcel")
    await server.new_session(token=server.made("user", "bob"), title="Parcel")

    answer = await server.http("GET", "/me/sessions?find=parcel&brief=1")

    assert [each["session_id"] for each in answer.body["sessions"]] == [mine]


async def test_errors_silence_and_absent_screens_are_counted_and_found(desk: Running) -> None:
    agent, screen = await desk.pair_of()
    alone = await desk.join()
    fine = await desk.join()
    await agent.call("c1", "falls_over")
    await agent.result("c1")
    await agent.call("c2", timeout_ms=1000)
    await alone.call("c3")
    assert (await alone.result("c3"))["said"]["status"] == "no_screen"
    response = {"tool_name": "crm", "is_error": True}
    await alone.say("agent_tool_response", agent_tool_response=response)
    await fine.call("c4", "plain", parameters={"numbers": [1]})
    await fine.result("c4")
    assert (await agent.result("c2"))["said"]["status"] == "no_answer"

    assert await troubles(desk, agent.session_id) == {"failed": 2, "slow": 0, "no_screen": 0}
    assert await troubles(desk, alone.session_id) == {"failed": 1, "slow": 0, "no_screen": 1}
    assert await troubles(desk, fine.session_id) == {"failed": 0, "slow": 0, "no_screen": 0}
    assert await ids(desk, "trouble=failed") == {agent.session_id, alone.session_id}
    assert await ids(desk, "trouble=no_screen") == {alone.session_id}
    assert await ids(desk, "trouble=slow") == set()
    refused = await desk.http("GET", "/sessions?trouble=nonsense", token=desk.made("admin", "root"))
    assert refused.status == 400
    assert screen.session_id == agent.session_id


async def test_what_a_screen_could_not_show_is_trouble_once(server: Running) -> None:
    agent, screen = await server.pair_of()
    card = await agent.say("contextual_update", text="a card")
    for _ in range(2):
        await screen.send("rendered", of_seq=card["seq"], problem="The picture cannot be shown.")
        await agent.next_of("rendered")

    async with asyncio.timeout(20):
        while not (await troubles(server, agent.session_id))["failed"]:
            await asyncio.sleep(0.02)
    assert await troubles(server, agent.session_id) == {"failed": 1, "slow": 0, "no_screen": 0}


async def test_the_overview_times_each_tool_over_sessions_that_are_kept(desk: Running) -> None:
    agent = await desk.join()
    for number in range(3):
        await agent.call(f"p{number}", "plain", parameters={"numbers": [number]})
        await agent.result(f"p{number}")
    await agent.call("f", "falls_over")
    await agent.result("f")
    await agent.call("q")
    await agent.result("q")
    other = await desk.join(desk.made("user", "bob"))
    await other.call("p", "plain", parameters={"numbers": [1]})
    await other.result("p")
    await desk.http("DELETE", f"/sessions/{other.session_id}", token=desk.made("user", "bob"))
    admin = desk.made("admin", "root")

    overview = (await desk.http("GET", "/overview", token=admin)).body

    assert overview["sessions"] == {"failed": 1, "slow": 0, "no_screen": 1}
    assert overview["keep_ended_s"] == 86_400
    figures = {each["tool_name"]: each for each in overview["tools"]}
    assert overview["tools"][0]["tool_name"] == "plain"
    plain, asked = figures["plain"], figures["companion_choose"]
    assert plain["calls"] == 4
    assert 0 <= plain["p50_ms"] <= plain["p95_ms"] < 20_000
    assert figures["falls_over"]["troubles"] == {"failed": 1, "slow": 0, "no_screen": 0}
    assert (asked["calls"], asked["p50_ms"], asked["p95_ms"]) == (1, None, None)
    assert asked["troubles"]["no_screen"] == 1


async def test_what_is_erased_or_trimmed_is_counted_no_more(start: Any) -> None:
    server: Running = await start(tools="desk_tools", limit_records=1)
    agent = await server.join()
    await agent.call("f", "falls_over")
    await agent.result("f")
    erased = await server.join()
    await erased.call("g", "falls_over")
    await erased.result("g")
    await server.http("DELETE", f"/sessions/{erased.session_id}?erase=1")
    for number in range(40):
        await agent.say("contextual_update", text=str(number))
    assert server.app is not None
    counted = server.app[SESSIONS].troubles

    assert await counted.sessions() == {"failed": 0, "slow": 0, "no_screen": 0}
    assert await counted.tools() == []


async def test_percentiles_are_times_that_occurred(server: Running) -> None:
    assert server.app is not None
    sessions = server.app[SESSIONS]
    rows = [("many", took_ms) for took_ms in range(20, 0, -1)] + [("one", 7), ("two", 1), ("two", 9)]
    rows += [("many", None), ("none", None)]
    await sessions._database.transact(
        Statement("INSERT INTO tool_times VALUES ('s', ?, ?, ?)", (seq, tool_name, took_ms))
        for seq, (tool_name, took_ms) in enumerate(rows)
    )

    found = {tool.tool_name: (tool.calls, tool.p50_ms, tool.p95_ms) for tool in await sessions.troubles.tools()}

    assert found == {
        "many": (21, 10, 19), "one": (1, 7, 7), "two": (2, 1, 9), "none": (1, None, None),
    }  # fmt: skip
