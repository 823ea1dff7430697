"""What a member can make the disk keep counts against a limit of its session, by every door."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from postgres_server import shared
from running import Message, Running

from companion_ws import SESSIONS
from companion_ws.core.errors import InvalidMessage

LONG = "k" * 256
"""As long as a key may be."""


def rows(server: Running, sql: str) -> list[Any]:
    if server.config.database is not None:
        return shared().query(shared().name(server.config.database_path), sql)
    connection = sqlite3.connect(f"file:{server.config.database_path}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def mcp(server: Running, session_id: str, name: str, arguments: Message) -> Message:
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }  # fmt: skip
    answer = await server.http(
        "POST", "/mcp", body, headers={"X-Companion-Session": session_id}
    )
    result: Message = answer.body["result"]
    return result


# Keys.


@pytest.mark.parametrize("key", [LONG, "ключ" * 64])
async def test_a_key_of_256_characters_is_set_by_every_door(server: Running, key: str) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/state/{key}"

    assert (await agent.say("state_update", key=key, value=1))["type"] == "state_updated"
    assert (await server.http("PUT", path, 2)).status == 200
    assert not (await mcp(server, agent.session_id, "set_state", {"key": key, "value": 3})).get("isError")
    assert server.app is not None
    await server.app[SESSIONS].update_session_state(agent.session_id, key, 4)
    assert (await server.http("GET", path)).body[key]["value"] == 4
    assert (await server.http("DELETE", path)).status == 204


async def test_one_character_more_is_refused_by_every_door(server: Running) -> None:
    agent = await server.join()
    key = LONG + "k"
    path = f"/sessions/{agent.session_id}/state/{key}"

    assert await agent.refused("state_update", key=key, value=1) == "invalid_message"
    assert await agent.refused("state_delete", key=key) == "invalid_message"
    assert await agent.refused("state_get", key=key) == "invalid_message"
    refused = await server.http("PUT", path, 1)
    assert (refused.status, refused.code) == (400, "invalid_message")
    assert (await server.http("DELETE", path)).status == 404
    over_http = await server.http(
        "POST", f"/sessions/{agent.session_id}/messages",
        {"type": "state_delete", "key": key},
    )  # fmt: skip
    assert (over_http.status, over_http.code) == (400, "invalid_message")
    assert (await mcp(server, agent.session_id, "set_state", {"key": key, "value": 3}))["isError"]
    assert server.app is not None
    with pytest.raises(InvalidMessage):
        await server.app[SESSIONS].update_session_state(agent.session_id, key, 4)
    assert (await agent.say("state_get"))["state"] == {}


async def test_deleted_keys_leave_nothing_behind(start: Any) -> None:
    server = await start(limit_messages_per_s=0)
    agent = await server.join()
    await agent.say("state_update", key="kept", value=1)
    for number in range(50):
        key = f"{number}".rjust(256, "x")
        if number % 2:
            await agent.send("state_update", key=key, value=1)
        await agent.send("state_delete", key=key)
    for step in range(3):  # In one batch of the writer, most likely.
        await agent.send("state_update", key="again", value=step)
        await agent.send("state_delete", key="again")
    await agent.send("state_update", key="again", value="last")
    await agent.quiet()

    assert rows(server, "SELECT key FROM state ORDER BY key") == [("again",), ("kept",)]
    await server.restart()
    agent = await server.join(session_id=agent.session_id)
    assert {key: entry["value"] for key, entry in agent.joined["state"].items()} == {
        "again": "last", "kept": 1
    }  # fmt: skip


# What repeated requests are answered from.


async def test_a_large_message_with_an_idempotency_key_is_stored_once(server: Running) -> None:
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/messages"
    message = {"type": "contextual_update", "text": "x" * 60_000}
    made = [
        await server.http("POST", path, message, headers={"Idempotency-Key": f"key-{number}"})
        for number in range(20)
    ]

    [(size, count)] = rows(server, "SELECT sum(length(memory)), count(*) FROM answers")
    assert (count, size < 20 * 500) == (20, True)
    await server.restart()
    again = await server.http("POST", path, message, headers={"Idempotency-Key": "key-19"})
    assert (again.body, again.headers["Idempotency-Replayed"]) == (made[19].body, "true")
    other = await server.http("POST", path, {**message, "text": "y"}, headers={"Idempotency-Key": "key-3"})
    assert other.status == 422
    assert (await server.http("GET", f"/sessions/{session_id}")).body["seq"] == 20


async def test_a_repeat_of_what_was_trimmed_says_which_record_it_was(start: Any) -> None:
    server = await start(limit_records=1)
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/messages"
    first = {"type": "state_update", "key": "k", "value": 1}
    await server.http("POST", path, first, headers={"Idempotency-Key": "a"})
    await server.http("POST", path, {**first, "value": 2}, headers={"Idempotency-Key": "b"})

    await server.restart()
    again = await server.http("POST", path, first, headers={"Idempotency-Key": "a"})
    assert again.body["duplicate"]
    assert {name: again.body[name] for name in ("type", "seq", "revision")} == {
        "type": "state_updated", "seq": 1, "revision": 1
    }  # fmt: skip


async def test_asking_for_the_state_with_a_key_keeps_no_copy_of_it(server: Running) -> None:
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/messages"
    await server.http("PUT", f"/sessions/{session_id}/state/k", "x" * 30_000)
    for value in ("x" * 30_000, "now"):
        await server.http("PUT", f"/sessions/{session_id}/state/k", value)
        answer = await server.http("POST", path, {"type": "state_get"}, headers={"Idempotency-Key": "a"})
        assert answer.body["state"]["k"]["value"] == value
    assert rows(server, "SELECT count(*) FROM answers") == [(0,)]


async def test_what_is_remembered_for_repeats_counts_as_the_log_does(start: Any) -> None:
    server = await start(limit_log_bytes=20_000, limit_messages_per_s=0)
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/messages"
    message = {"type": "user_message", "text": "x"}
    for number in range(60):
        key = {"Idempotency-Key": f"{number}".rjust(120, "k")}
        assert (await server.http("POST", path, message, headers=key)).status == 200

    [(answers,)] = rows(server, "SELECT sum(length(memory) + 256) FROM answers")
    [(log,)] = rows(server, "SELECT sum(length(body)) FROM records JOIN tips USING (number) WHERE records.seq >= first_seq")
    assert answers + log <= 20_000 or rows(server, "SELECT seq - first_seq FROM tips") == [(0,)]
    await server.restart()
    await server.http("POST", path, message)
    [(after,)] = rows(server, "SELECT sum(length(body)) FROM records JOIN tips USING (number) WHERE records.seq >= first_seq")
    assert after <= log + 500


async def test_calls_that_are_closed_count_with_the_log_and_the_oldest_are_forgotten(
    start: Any,
) -> None:
    server = await start(limit_log_bytes=16_000, limit_messages_per_s=0)
    agent, screen = await server.pair_of()
    ids = [f"{number}".rjust(200, "x") for number in range(120)]
    for call_id in ids:
        await agent.call(call_id, "mine")
        await screen.say("client_tool_result", tool_call_id=call_id, result="{}")

    [(count,)] = rows(server, "SELECT count(*) FROM calls")
    assert 1 <= count < 60
    for _ in ("at once", "after a restart"):
        other = {"tool_name": "other", "tool_call_id": ids[-1]}
        assert await agent.refused("client_tool_call", **other) == "tool_call_reused"
        await server.restart()
        agent = await server.join(session_id=agent.session_id)
    assert (await agent.call(ids[0], "mine"))["client_tool_call"]["tool_call_id"] == ids[0]
    await server.restart()
    back = await server.join(session_id=agent.session_id)
    assert [call["client_tool_call"]["tool_call_id"] for call in back.joined["open_calls"]] == [ids[0]]


# Rates.


async def test_messages_over_http_have_the_rate_of_a_connection(start: Any) -> None:
    server = await start(limit_messages_per_s=0.01, limit_burst=5)
    session_id, token = await server.new_session(), server.token()
    path = f"/sessions/{session_id}"
    message = {"type": "user_message", "text": "x"}
    for number in range(3):
        answer = await server.http("POST", f"{path}/messages", message, token=token)
        assert (answer.status, answer.body["seq"]) == (200, number + 1)
    assert (await server.http("PUT", f"{path}/state/k", 1, token=token)).status == 200
    assert (await server.http("DELETE", f"{path}/state/k", token=token)).status == 204

    for method, at, body in (
        ("POST", "/messages", message), ("POST", "/messages", {"type": "ping"}),
        ("PUT", "/state/k", 1), ("DELETE", "/state/k", None),
    ):  # fmt: skip
        refused = await server.http(method, f"{path}{at}", body, token=token)
        assert (refused.status, refused.code) == (429, "too_many_requests")
        assert 0 < refused.body["retry_after_ms"] <= int(refused.headers["Retry-After"]) * 1000
    assert (await server.http("GET", f"{path}/state", token=token)).status == 200
    other = await server.new_session(token)
    assert (await server.http("POST", f"/sessions/{other}/messages", message, token=token)).status == 200
    mine = await server.http("POST", f"{path}/messages", message)
    assert mine.status == 200, "another token is another sender"
    assert mine.body["seq"] == 6


async def test_an_mcp_agent_has_the_rate_of_a_connection_too(start: Any) -> None:
    server = await start(limit_messages_per_s=0.01, limit_burst=2)
    session_id, token = await server.new_session(), server.token()
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "set_state", "arguments": {"key": "k", "value": 1}},
    }  # fmt: skip
    headers = {"X-Companion-Session": session_id}
    said = [(await server.http("POST", "/mcp", body, headers=headers, token=token)).body["result"] for _ in range(3)]

    assert [bool(result.get("isError")) for result in said] == [False, False, True]
    assert "too_many_requests" in said[2]["content"][0]["text"]


@pytest.mark.parametrize(("per_s", "burst"), [(0, 5), (0, 0), (5, 0)])
async def test_zero_switches_the_burst_off_too(start: Any, per_s: int, burst: int) -> None:
    server = await start(limit_messages_per_s=per_s, limit_burst=burst)
    session_id, token = await server.new_session(), server.token()
    for _ in range(120):
        answer = await server.http(
            "POST", f"/sessions/{session_id}/messages", {"type": "ping"}, token=token
        )
        assert answer.status == 200
