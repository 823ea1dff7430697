"""Calls a server tool answers: whatever it does, the agent gets one result in time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import desk_tools
import pytest
from running import Running, Socket


@pytest.fixture
async def desk(start: Any) -> Any:
    desk_tools.hanging.clear()
    yield await start(tools="desk_tools")
    desk_tools.hanging.set()


async def run(agent: Socket, name: str, parameters: dict[str, Any], **fields: Any) -> dict[str, Any]:
    call = await agent.call(f"call-{name}", name, parameters=parameters, **fields)
    assert call["handled_by"] == "server"
    return await agent.result(f"call-{name}")


async def test_what_a_tool_returns_is_the_result_and_what_it_emits_is_seen(desk: Running) -> None:
    agent, screen = await desk.pair_of()
    await agent.call(
        "t1", "quotes", parameters={"from_zip": "80202", "weight": 2.5, "unheard_of": 1}
    )

    call = await screen.next_of("client_tool_call")
    assert call["deadline_at"] == call["timestamp"] + 18_000
    update = await screen.next_of("contextual_update")
    assert update["data"] == {"quotes": [{"carrier": "FedEx", "cost": 5.0}], "from": "80202"}
    assert update["sender"]["role"] == "server"
    assert update["sender"]["user"] == "alice"
    state = await screen.next_of("state_updated")
    assert (state["key"], state["value"]) == ("quotes", [{"carrier": "FedEx", "cost": 5.0}])
    result = await screen.result("t1")
    assert result["said"] == [{"carrier": "FedEx", "cost": 5.0}]
    assert (result["is_error"], result["answered_by"], result["tool_name"]) == (
        False, "server", "quotes"
    )
    assert result["sender"]["role"] == "server"
    assert await agent.result("t1") == {**result}


async def test_a_plain_function_is_a_tool_too(desk: Running) -> None:
    agent = await desk.join()
    assert (await run(agent, "plain", {"numbers": [1, 2, "3"]}))["said"] == {"sum": 6}


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("says_no", {}, "Mars"),
        ("falls_over", {}, "failed"),
        ("no_json", {}, "failed"),
        ("exits", {}, "failed"),
        ("exits_in_a_thread", {}, "failed"),
        ("interrupts", {}, "failed"),
        ("raises_cancelled", {}, "failed"),
        ("cancels_itself", {}, "failed"),
        ("runs_dry", {}, "failed"),
        ("quotes", {"from_zip": "80202"}, "weight"),
        ("quotes", {"from_zip": "80202", "weight": "heavy"}, "weight"),
        ("quotes", {"from_zip": None, "weight": 1}, "from_zip"),
        ("plain", {"numbers": "many"}, "numbers"),
        ("plain", {"numbers": {"a": 1}}, "numbers"),
    ],
)
async def test_a_tool_that_fails_says_so(
    desk: Running, name: str, parameters: dict[str, Any], words: str
) -> None:
    agent = await desk.join()
    result = await run(agent, name, parameters)

    call = next(m for m in agent.heard if m["type"] == "client_tool_call")
    assert result["is_error"] is True
    assert result["said"].keys() == {"status", "message"}
    assert result["said"]["status"] == "error"
    assert words in result["said"]["message"]
    assert "secret internals" not in result["result"]
    assert result["timestamp"] < call["deadline_at"] - 10_000, "long before the deadline"
    assert (await agent.say("contextual_update", text="goes on"))["type"] == "contextual_update"


@pytest.mark.parametrize("name", ["hangs", "hangs_in_a_thread", "holds_on"])
async def test_a_tool_that_hangs_is_answered_for_before_the_deadline(
    desk: Running, name: str
) -> None:
    agent = await desk.join()
    result = await run(agent, name, {}, timeout_ms=1000)

    call = next(m for m in agent.heard if m["type"] == "client_tool_call")
    assert result["is_error"] is True
    assert call["timestamp"] + 500 < result["timestamp"] < call["deadline_at"]


async def test_a_tool_that_does_not_let_itself_be_stopped_does_not_hold_the_server(
    desk: Running,
) -> None:
    agent = await desk.join()
    await agent.call("t1", "holds_on")
    async with asyncio.timeout(10):
        await desk.restart()

    agent = await desk.join(session_id=agent.session_id, after=0)
    assert (await agent.result("t1"))["said"] == {"status": "interrupted"}


async def test_screens_do_not_answer_for_a_server_tool(desk: Running) -> None:
    agent, screen = await desk.pair_of()
    await agent.call("t1", "hangs")
    answer = {"tool_call_id": "t1", "result": "{}"}

    assert await screen.refused("client_tool_result", **answer) == "tool_closed"
    late = await desk.join(session_id=agent.session_id, role="ui")
    assert late.joined["open_calls"] == [], "it is no question"
    await agent.send("client_tool_cancel", tool_call_id="t1")
    assert (await agent.result("t1"))["said"] == {"status": "cancelled"}


async def test_a_tool_nobody_waits_for_runs_all_the_same(desk: Running) -> None:
    agent, screen = await desk.pair_of()
    call = await agent.call(
        "t1", "quotes", parameters={"from_zip": "1", "weight": 1}, expects_response=False
    )
    assert call["deadline_at"] is None

    await screen.next_of("state_updated")
    assert not [m for m in await screen.quiet() if m["type"] == "client_tool_result"]


async def test_a_run_cut_off_by_a_restart_is_not_repeated(desk: Running, tmp_path: Path) -> None:
    agent = await desk.join()
    path = tmp_path / "runs"
    await agent.call("t1", "once", parameters={"path": str(path)})
    await agent.quiet()
    await desk.restart()

    agent = await desk.join(session_id=agent.session_id, after=0)
    result = await agent.result("t1")
    assert (result["said"], result["is_error"]) == ({"status": "interrupted"}, True)
    assert path.read_text() == "x"
    assert [m for m in await agent.quiet() if m["type"] == "client_tool_result"] == []


async def test_a_run_that_may_be_repeated_is_and_emits_nothing_twice(
    desk: Running, tmp_path: Path
) -> None:
    agent = await desk.join()
    path = tmp_path / "runs"
    await agent.call("t1", "counts", parameters={"path": str(path)})
    await agent.next_of("contextual_update")
    await desk.restart()

    agent = await desk.join(session_id=agent.session_id, after=0)
    result = await agent.result("t1")
    assert (result["said"], result["is_error"]) == (2, False)
    updates = [m for m in agent.heard if m["type"] == "contextual_update"]
    assert [update["data"] for update in updates] == [{"n": 0}]


async def test_waiting_over_http_gives_the_tools_result(desk: Running) -> None:
    session_id = await desk.new_session()
    body = {
        "type": "client_tool_call",
        "tool_name": "plain", "tool_call_id": "t1", "parameters": {"numbers": [1, 2]},
    }
    path = f"/sessions/{session_id}/messages?wait=5"
    answer = await desk.http("POST", path, body)

    assert answer.status == 200
    assert answer.body["type"] == "client_tool_result"
    assert json.loads(answer.body["result"]) == {"sum": 3}
    again = await desk.http("POST", path, body)
    assert again.body["seq"] == answer.body["seq"]


async def test_the_shipping_example_quotes_and_makes_a_label(start: Any) -> None:
    server = await start(tools="companion_ws.examples.shipping")
    agent, screen = await server.pair_of()
    await agent.call(
        "t1", "get_shipping_quotes",
        parameters={"from_zip": "80202", "to_zip": "10001", "weight": 2.5},
    )

    ready = await screen.next_of("contextual_update", text="quote_ready")
    assert ready["data"]["select"] == "selected_shipping_option"
    quote = ready["data"]["quotes"][0]
    assert quote.keys() >= {"id", "carrier", "service", "cost", "currency", "eta_days"}
    assert not (await agent.result("t1"))["is_error"]
    await agent.call(
        "t2", "create_label",
        parameters={"carrier": quote["carrier"], "service": quote["service"]},
    )
    await screen.next_of("contextual_update", text="label_created")
    assert not (await agent.result("t2"))["is_error"]


async def test_a_tool_that_says_too_much_costs_nobody_the_connection(desk: Running) -> None:
    most = desk.config.limit_outbox_bytes // 2
    agent, screen = await desk.pair_of()
    for name, count, is_error in (
        ("wordy", most - 6, False), ("wordy", most - 5, True), ("wordy", 3_000_000, True),
        ("shouts", 3_000_000, True), ("shouts", 1000, False),
    ):  # fmt: skip
        tool_call_id = f"{name}-{count}"
        await agent.call(tool_call_id, name, parameters={"count": count})
        result = await agent.result(tool_call_id)
        assert result["is_error"] is is_error, (name, count)
        await screen.result(tool_call_id)
        await asyncio.sleep(0.3)  # longer than a burst may stand over an outbox's bound
    assert (await agent.say("ping"))["type"] == "pong"
    assert (await screen.say("ping"))["type"] == "pong"
