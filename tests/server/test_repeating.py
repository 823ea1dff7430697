"""The same requestId sent again changes nothing and answers who asks."""

from __future__ import annotations

from typing import Any

from running import Running


async def test_the_same_request_answers_its_first_record(server: Running) -> None:
    agent, screen = await server.pair_of()
    first = await agent.say("contextual_update", requestId="r1", text="one")
    await screen.next_of("contextual_update")

    again = await agent.say("contextual_update", requestId="r1", text="something else")
    assert again == {**first, "duplicate": True}
    assert "duplicate" not in first
    assert await screen.quiet() == [], "nobody else hears of it"
    assert (await agent.say("contextual_update", text="two"))["seq"] == 2


async def test_a_request_is_known_on_another_connection_and_after_a_restart(
    server: Running,
) -> None:
    agent = await server.join()
    first = await agent.say("state_update", requestId="r1", key="k", value=1)
    other = await server.join(session_id=agent.session_id)
    assert await other.say("state_update", requestId="r1", key="k", value=2) == {
        **first, "duplicate": True
    }
    assert await agent.quiet() == [
        message for message in agent.heard[-2:-1] if message["type"] == "presence"
    ]
    await server.restart()

    back = await server.join(session_id=agent.session_id)
    assert await back.say("state_update", requestId="r1", key="k", value=3) == {
        **first, "duplicate": True
    }
    assert back.joined["state"]["k"]["value"] == 1


async def test_a_request_belongs_to_user_role_and_device(server: Running) -> None:
    agent, screen = await server.pair_of(device="Pixel")
    await agent.say("user_message", requestId="r1", text="agent's")
    await screen.next_of("user_message")
    tablet = await server.join(session_id=agent.session_id, role="ui", device="Tablet")
    await screen.quiet()

    screens = await screen.say("user_message", requestId="r1", text="screen's")
    assert (screens["text"], screens["seq"]) == ("screen's", 2)
    await tablet.next_of("user_message")
    label = await tablet.say("user_message", requestId="r1", text="tablet's")
    assert label == {**screens, "duplicate": True}, "a label is no device"
    made = await server.http(
        "POST", f"/sessions/{agent.session_id}/pairings", {}
    )
    paired = await server.http("POST", "/pair", {"code": made.body["code"], "device": "x"}, token=None)
    phone = await server.join(paired.body["token"])
    phones = await phone.say("user_message", requestId="r1", text="phone's")
    assert (phones["text"], phones["seq"]) == ("phone's", 3)


async def test_a_trimmed_record_is_answered_with_what_is_known(start: Any) -> None:
    server = await start(limit_records=2)
    agent = await server.join()
    await agent.say("state_update", requestId="r1", key="k", value=1)
    await agent.say("contextual_update", requestId="r2", text="x")
    for _ in range(3):
        await agent.say("contextual_update", text="x")

    for _ in range(2):
        state = await agent.say("state_update", requestId="r1", key="k", value=2)
        assert state["type"] == "state_updated"
        assert (state["seq"], state["revision"], state["duplicate"]) == (1, 1, True)
        update = await agent.say("contextual_update", requestId="r2", text="y")
        assert (update["type"], update["seq"], update["duplicate"]) == ("contextual_update", 2, True)
        await server.restart()
        agent = await server.join(session_id=agent.session_id)


async def test_a_request_without_id_gets_one_of_the_servers(server: Running) -> None:
    agent = await server.join()
    await agent.send("contextual_update", text="x")
    await agent.send("contextual_update", text="x", requestId=None)

    made = [(await agent.next_of("contextual_update"))["requestId"] for _ in range(2)]
    assert len(set(made)) == 2
    assert all(made)


async def test_refusals_are_not_remembered(server: Running) -> None:
    agent = await server.join()

    refused = await agent.say("state_update", requestId="r1", key="k", value=1, if_revision=9)
    assert refused["code"] == "revision_conflict"
    assert (await agent.say("contextual_update", requestId="r1"))["code"] == "invalid_message"
    record = await agent.say("state_update", requestId="r1", key="k", value=1, if_revision=0)
    assert (record["type"], record["seq"]) == ("state_updated", 1)
    assert "duplicate" not in record


async def test_a_request_pressed_twice_before_it_is_stored_is_one_record(server: Running) -> None:
    agent = await server.join()
    for _ in range(20):
        await agent.send("contextual_update", text="x", requestId="r1")

    answers = [await agent.next_of("contextual_update") for _ in range(20)]
    assert {answer["seq"] for answer in answers} == {1}
    assert [answer.get("duplicate", False) for answer in answers] == [False] + [True] * 19


async def test_http_and_socket_know_the_same_requests(server: Running) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/messages"
    body = {"type": "contextual_update", "text": "x", "requestId": "r1"}
    first = (await server.http("POST", path, body)).body

    assert await agent.next_of("contextual_update") == first
    assert (await server.http("POST", path, body)).body == {**first, "duplicate": True}
    assert await agent.say("contextual_update", text="x", requestId="r1") == {
        **first, "duplicate": True
    }
    by_key = {"type": "contextual_update", "text": "y"}
    keyed = {"Idempotency-Key": "key-1"}
    made = await server.http("POST", path, by_key, headers=keyed)
    again = await server.http("POST", path, by_key, headers=keyed)
    assert again.body["seq"] == made.body["seq"]


async def test_a_tool_call_sent_again_answers_its_record_and_its_result(server: Running) -> None:
    agent, screen = await server.pair_of()
    call = await agent.call("t1", requestId="r1")
    await agent.send("client_tool_call", requestId="r2", tool_name="companion_choose", tool_call_id="t1")
    assert await agent.next_of("client_tool_call") == {**call, "duplicate": True}
    await screen.say("client_tool_result", tool_call_id="t1", result='{"id":"air"}')
    result = await agent.next_of("client_tool_result")

    for request_id in ("r1", "new"):
        await agent.send(
            "client_tool_call", requestId=request_id, tool_name="companion_choose",
            tool_call_id="t1",
        )
        assert await agent.next_of("client_tool_call") == {**call, "duplicate": True}
        assert await agent.next_of("client_tool_result") == {**result, "duplicate": True}
    assert await screen.quiet() == []
    await server.restart()
    agent = await server.join(session_id=agent.session_id)
    await agent.send("client_tool_call", requestId="r1", tool_name="companion_choose", tool_call_id="t1")
    assert await agent.next_of("client_tool_call") == {**call, "duplicate": True}
    assert await agent.next_of("client_tool_result") == {**result, "duplicate": True}


async def test_a_request_of_long_ago_is_found_on_the_disk_and_nobody_overtakes_its_answer(
    start: Any,
) -> None:
    server = await start(limit_messages_per_s=0, limit_records=100)
    agent = await server.join()
    first = await agent.say("contextual_update", requestId="first", text="0")
    for number in range(1, 400):
        await agent.say("contextual_update", requestId=f"r{number}", text=f"{number}")
    for again in range(2):
        # Sent in one go: what is said behind a repeat keeps its place.
        await agent.send("contextual_update", requestId="first", text="again")
        await agent.send("contextual_update", requestId="r350", text="again")
        await agent.send("state_update", key="behind", value=again)
        heard = [await agent.next(), await agent.next(), await agent.next()]
        assert [message.get("duplicate") for message in heard] == [True, True, None]
        # Its record has been trimmed; that of r350 has not.
        assert {"type": first["type"], "seq": first["seq"]}.items() <= heard[0].items()
        assert heard[1]["text"] == "350"
        assert heard[2]["type"] == "state_updated"
        await server.restart()
        agent = await server.join(session_id=agent.session_id)
    assert agent.joined["seq"] == 402
