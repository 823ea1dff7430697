"""What a program that embeds the server does with its sessions."""

from __future__ import annotations

import asyncio

import pytest
from running import Running

from companion_ws import SESSIONS
from companion_ws.core.errors import InvalidMessage, SessionNotFound, StateTooLarge, UnknownType


async def test_the_three_functions_of_the_guide_reach_everybody(server: Running) -> None:
    assert server.app is not None
    sessions = server.app[SESSIONS]
    agent, screen = await server.pair_of()

    told = await sessions.broadcast_to_session(
        agent.session_id, {"type": "contextual_update", "text": "quote_ready", "data": {"cost": 1}}
    )
    assert told["sender"] == {"role": "server", "user": "alice", "connection_id": None}
    assert await screen.next_of("contextual_update") == told == await agent.next()
    changed = await sessions.update_session_state(agent.session_id, "step", {"n": 2})
    assert (changed["type"], changed["revision"]) == ("state_updated", 2)
    assert await screen.next_of("state_updated") == changed
    assert await sessions.get_session_state(agent.session_id, "step") == {"n": 2}
    assert await sessions.get_session_state(agent.session_id, "absent") is None
    assert await sessions.get_session_state(agent.session_id) == {"step": {"n": 2}}


@pytest.mark.parametrize(
    "value", [2**53, "\ud800", [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]], "x" * 300_000]
)
async def test_a_program_is_held_to_what_a_socket_may_send(server: Running, value: object) -> None:
    agent = await server.join()
    message = {"type": "contextual_update", "text": "x", "data": value}
    with pytest.raises(InvalidMessage):
        await server.sessions.broadcast_to_session(agent.session_id, message)
    assert await agent.quiet() == []


async def test_what_the_protocol_refuses_is_raised(server: Running) -> None:
    sessions = server.sessions
    session_id = await server.new_session()

    with pytest.raises(SessionNotFound):
        await sessions.broadcast_to_session("nowhere", {"type": "user_activity"})
    with pytest.raises(SessionNotFound):
        await sessions.get_session_state("nowhere")
    with pytest.raises(UnknownType):
        await sessions.broadcast_to_session(session_id, {"type": "nothing"})
    with pytest.raises(InvalidMessage):
        await sessions.broadcast_to_session(session_id, {"type": "contextual_update"})
    with pytest.raises(StateTooLarge):
        await sessions.update_session_state(session_id, "k", "x" * 40_000)


async def test_a_program_may_ask_the_screens(server: Running) -> None:
    agent, screen = await server.pair_of()
    call = {"tool_name": "companion_confirm", "tool_call_id": "t1"}
    await server.sessions.broadcast_to_session(
        agent.session_id, {"type": "client_tool_call", "client_tool_call": call}
    )
    waiting = asyncio.create_task(server.sessions.waiting.result(agent.session_id, "t1", 5))
    await screen.next_of("client_tool_call")
    answered = await screen.say(
        "client_tool_result", tool_call_id="t1", result='{"status":"confirmed"}'
    )

    assert await waiting == answered
    assert await server.sessions.waiting.result(agent.session_id, "t1", 5) == answered
    assert await server.sessions.waiting.result(agent.session_id, "t2", 5) is None


async def test_a_caller_that_is_cancelled_takes_nothing_back(server: Running) -> None:
    agent = await server.join()
    saying = asyncio.create_task(
        server.sessions.update_session_state(agent.session_id, "step", 1)
    )
    await asyncio.sleep(0)
    saying.cancel()

    assert (await agent.next_of("state_updated"))["value"] == 1


async def test_sessions_are_made_found_bound_and_ended(server: Running) -> None:
    sessions = server.sessions
    made = await sessions.create("alice", title="Parcel", language="de")
    await sessions.conversations.bind(made.session_id, conversation_id="conv_1", call_sid="CA1")

    for found in (
        await sessions.find(conversation_id="conv_1"),
        await sessions.find(call_sid="CA1"),
        await sessions.summary(made.session_id),
    ):
        assert found is not None
        assert (found.session_id, found.title, found.language) == (made.session_id, "Parcel", "de")
    agent = await server.join(session_id=made.session_id)
    assert agent.joined["conversation_id"] == "conv_1"
    await sessions.end(made.session_id, "over")
    assert (await agent.next_of("session_ended"))["reason"] == "over"
    assert await agent.close_code() == 4510
    kept = await sessions.summary(made.session_id)
    assert kept is not None
    assert kept.ended_at_ms is not None
    with pytest.raises(SessionNotFound):
        await sessions.end(made.session_id, "again")
