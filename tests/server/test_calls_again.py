"""A call that comes again: the same one is answered, another one refused, the same question joined."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import Any

import pytest
from running import Message, Running, Socket

FIRST = {"title": "Which service?", "options": [{"id": "air", "label": "Air"}], "max": 1}
SAME = {"max": 1.0, "options": [{"label": "Air", "id": "air"}], "title": "Which service?"}
OTHER = {**FIRST, "title": "Which colour?"}
CHOSEN = '{"status":"chosen","id":"air","label":"Air"}'


def asked(tool_call_id: str, parameters: Any, **more: Any) -> Message:
    call = {"tool_name": "companion_choose", "tool_call_id": tool_call_id, "parameters": parameters}
    return {"type": "client_tool_call", "client_tool_call": {**call, **more}}


async def answer(screen: Socket, tool_call_id: str) -> Message:
    return await screen.say("client_tool_result", tool_call_id=tool_call_id, result=CHOSEN)


async def repeat(agent: Socket, call: Message) -> Message:
    """Send a call again; its record comes back under the name it was first sent with."""
    await agent.send(**{"type_" if name == "type" else name: part for name, part in call.items()})
    return await agent.next_of("client_tool_call", duplicate=True)


async def test_the_same_call_is_answered_with_its_record_and_its_result(server: Running) -> None:
    agent, screen = await server.pair_of()
    record = await agent.call("t1", parameters=FIRST)
    result = await answer(screen, "t1")
    await agent.next_of("client_tool_result")

    again = await repeat(agent, asked("t1", SAME, timeout_ms=1000, expects_response=False))
    assert again["seq"] == record["seq"]
    known = await agent.next_of("client_tool_result")
    assert (known["seq"], known["duplicate"]) == (result["seq"], True)
    assert await screen.quiet() == []


async def test_an_id_with_another_question_is_refused_by_every_door(server: Running) -> None:
    agent, screen = await server.pair_of()
    path = f"/sessions/{agent.session_id}/messages"
    await agent.call("t1", parameters=FIRST)

    for _ in ("open", "answered", "after a restart"):
        refused = await agent.call("t1", parameters=OTHER)
        assert (refused["code"], refused["tool_call_id"]) == ("tool_call_reused", "t1")
        over_http = await server.http("POST", path, asked("t1", OTHER))
        assert (over_http.status, over_http.code) == (409, "tool_call_reused")
        waiting = await server.http("POST", f"{path}?wait=5", asked("t1", OTHER))
        assert (waiting.status, waiting.code) == (409, "tool_call_reused")
        if not any(m["type"] == "client_tool_result" for m in screen.heard):
            await answer(screen, "t1")
        else:
            await server.restart()
            agent = await server.join(session_id=agent.session_id)
            screen = await server.join(session_id=agent.session_id, role="ui")
    assert (await repeat(agent, asked("t1", SAME)))["duplicate"]


@pytest.mark.sqlite
async def test_calls_of_a_database_of_before_are_compared_too(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.call("t1", parameters=FIRST)
    await answer(screen, "t1")
    await agent.call("t2", parameters=FIRST)
    await server.halt()
    with sqlite3.connect(server.config.database_path) as connection:
        connection.execute("UPDATE calls SET content = x''")
    connection.close()
    await server.start()

    agent = await server.join(session_id=agent.session_id)
    for call_id in ("t1", "t2"):
        assert (await agent.call(call_id, parameters=OTHER))["code"] == "tool_call_reused"
        assert (await repeat(agent, asked(call_id, SAME)))["duplicate"]


async def test_a_question_asked_twice_is_shown_once_and_answers_both(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.call("t1", parameters=FIRST)
    joined = await agent.call("t2", parameters=SAME)
    assert joined["joins"] == "t1"
    late = await server.join(session_id=agent.session_id, role="ui")
    assert [call["client_tool_call"]["tool_call_id"] for call in late.joined["open_calls"]] == ["t1"]
    assert late.joined["open_calls"][0]["open_until"] == joined["timestamp"] + 600_000

    await answer(screen, "t1")
    assert [(await agent.result(each))["said"]["id"] for each in ("t1", "t2")] == ["air", "air"]
    assert (await answer(late, "t1"))["code"] == "tool_closed"
    assert (await answer(late, "t2"))["code"] == "tool_closed"


async def test_over_http_both_who_wait_for_the_same_question_are_answered(server: Running) -> None:
    agent, screen = await server.pair_of()
    path = f"/sessions/{agent.session_id}/messages?wait=20"
    async with asyncio.TaskGroup() as asking:
        answers = [
            asking.create_task(server.http("POST", path, asked(f"t{number}", FIRST)))
            for number in range(3)
        ]
        for _ in range(3):
            await screen.next_of("client_tool_call")
        await answer(screen, "t1")
    assert {task.result().body["tool_call_id"] for task in answers} == {"t0", "t1", "t2"}
    assert {task.result().body["result"] for task in answers} == {CHOSEN}


async def test_the_question_stays_until_the_last_who_asks_has_cancelled(server: Running) -> None:
    agent, screen = await server.pair_of()
    for call_id in ("t1", "t2", "t3"):
        await agent.call(call_id, parameters=FIRST)
    assert (await agent.say("client_tool_cancel", tool_call_id="t1"))["question_open"]
    await server.restart()
    agent = await server.join(session_id=agent.session_id)
    screen = await server.join(session_id=agent.session_id, role="ui")
    assert len(screen.joined["open_calls"]) == 1
    assert (await agent.say("client_tool_cancel", tool_call_id="t3"))["question_open"]

    await answer(screen, "t1")
    result = await agent.next_of("client_tool_result", answered_by="ui")
    assert (result["tool_call_id"], json.loads(result["result"])["id"]) == ("t2", "air")
    assert [m for m in await agent.quiet() if m["type"] != "presence"] == []
    after = await server.join(session_id=agent.session_id, role="ui")
    assert after.joined["open_calls"] == []


async def test_when_the_last_has_cancelled_nobody_can_answer(server: Running) -> None:
    agent, screen = await server.pair_of()
    for call_id in ("t1", "t2"):
        await agent.call(call_id, parameters=FIRST)
    for call_id in ("t2", "t1"):
        await agent.say("client_tool_cancel", tool_call_id=call_id)

    for call_id in ("t1", "t2"):
        assert (await answer(screen, call_id))["code"] == "tool_closed"
