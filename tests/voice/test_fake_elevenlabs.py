"""The strict fake: the real Python SDK talks to it, and what ElevenLabs refuses, it refuses."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from elevenlabs import ElevenLabs
from elevenlabs.conversational_ai.conversation import (
    AsyncConversation,
    ClientTools,
    Conversation,
    ConversationInitiationData,
)

from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from tests.voice.silent_audio import AsyncSilentAudio, SilentAudio


async def opened(fake: FakeElevenLabs, first: Any, query: str = "?agent_id=a") -> Any:
    session = aiohttp.ClientSession()
    socket = await session.ws_connect(f"{fake.origin}/v1/convai/conversation{query}")
    await socket.send_json(first)
    return session, socket


INITIATION = {"type": "conversation_initiation_client_data"}


@pytest.mark.parametrize("requires_auth", [False, True])
async def test_the_synchronous_sdk_holds_a_conversation(
    fake: FakeElevenLabs, sdk: ElevenLabs, requires_auth: bool
) -> None:
    tools = ClientTools()
    tools.register("add", lambda parameters: str(parameters["a"] + parameters["b"]))
    conversation = Conversation(
        sdk,
        "agent",
        audio_interface=SilentAudio(),
        requires_auth=requires_auth,
        client_tools=tools,
        config=ConversationInitiationData(dynamic_variables={"name": "Ada"}),
    )
    await asyncio.to_thread(conversation.start_session)
    at_fake = await fake.next_conversation()
    assert at_fake.dynamic_variables == {"name": "Ada"}
    assert (await at_fake.call_tool("add", {"a": 1, "b": 2})).result == "3"
    assert await at_fake.ping() < 5
    conversation.send_user_message("hello")
    assert await at_fake.user_messages.next() == "hello"
    conversation.send_contextual_update("the user looks at the rates")
    assert (await at_fake.contextual_updates.next())["text"] == "the user looks at the rates"
    await asyncio.to_thread(conversation.end_session)
    assert await asyncio.to_thread(conversation.wait_for_session_end) == at_fake.id


async def test_the_asynchronous_sdk_holds_a_conversation(
    fake: FakeElevenLabs, sdk: ElevenLabs
) -> None:
    heard: list[str] = []

    async def on_agent_response(text: str) -> None:
        heard.append(text)

    conversation = AsyncConversation(
        sdk,
        "agent",
        audio_interface=AsyncSilentAudio(),
        requires_auth=False,
        callback_agent_response=on_agent_response,
    )
    await conversation.start_session()
    at_fake = await fake.next_conversation()
    await at_fake.say("Good morning")
    await at_fake.ping()
    assert heard == ["Good morning"]
    await conversation.end_session()
    assert await conversation.wait_for_session_end() == at_fake.id


async def test_an_sdk_that_sends_an_object_as_result_is_closed_as_by_the_real_service(
    fake: FakeElevenLabs, sdk: ElevenLabs
) -> None:
    tools = ClientTools()
    tools.register("rates", lambda parameters: {"cost": 1})
    conversation = AsyncConversation(
        sdk,
        "agent",
        audio_interface=AsyncSilentAudio(),
        requires_auth=False,
        client_tools=tools,
    )
    await conversation.start_session()
    at_fake = await fake.next_conversation()
    with pytest.raises(ConnectionError, match="1008"):
        await at_fake.call_tool("rates")
    assert at_fake.close_reason == "client_tool_result.result is not a string"
    await conversation.end_session()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "set_volume"}, "unknown message type 'set_volume'"),
        ({"type": "contextual_update", "data": {}}, "contextual_update.text is not a string"),
        ({"type": "user_message"}, "user_message.text is not a string"),
        ({"type": "user_message", "text": 5}, "user_message.text is not a string"),
        (
            {"type": "user_message", "rich_content_id": 5},
            "user_message.rich_content_id is not a string",
        ),
        ({"type": "feedback", "event_id": 1, "score": 5}, "feedback.score is neither like nor dislike"),
        (INITIATION, "unknown message type 'conversation_initiation_client_data'"),
        (
            {"type": "client_tool_result", "tool_call_id": "x", "result": "", "is_error": False},
            "second or unasked result for x",
        ),
        ({"type": "pong", "event_id": 99}, "pong for no ping"),
        (["no", "object"], "not a JSON object"),
    ],
)
async def test_what_the_real_service_refuses_is_closed_with_1008(
    fake: FakeElevenLabs, message: Any, reason: str
) -> None:
    session, socket = await opened(fake, INITIATION)
    await socket.receive_json()
    await socket.send_str(json.dumps(message))
    closed = await socket.receive()
    assert (socket.close_code, closed.extra) == (1008, reason)
    await session.close()


async def test_a_missing_dynamic_variable_is_refused() -> None:
    async with FakeElevenLabs(required_variables=["session_id"]) as fake:
        session, socket = await opened(fake, INITIATION)
        closed = await socket.receive()
        assert socket.close_code == 1008
        assert "session_id" in closed.extra
        await session.close()


async def test_a_dynamic_variable_that_is_an_object_is_refused(fake: FakeElevenLabs) -> None:
    session, socket = await opened(fake, {**INITIATION, "dynamic_variables": {"a": {}}})
    await socket.receive()
    assert socket.close_code == 1008
    await session.close()


async def test_a_dynamic_variable_that_is_null_is_none(fake: FakeElevenLabs) -> None:
    async with FakeElevenLabs(required_variables=["name"]) as strict:
        for one, code in ((fake, None), (strict, 1008)):
            session, socket = await opened(one, {**INITIATION, "dynamic_variables": {"name": None}})
            await socket.receive()
            assert socket.close_code == code
            await session.close()
    session, socket = await opened(fake, {**INITIATION, "dynamic_variables": None})
    assert (await socket.receive_json())["type"] == "conversation_initiation_metadata"
    await session.close()


async def test_a_tap_on_rich_content_needs_no_text(fake: FakeElevenLabs) -> None:
    session, socket = await opened(fake, INITIATION)
    at_fake = await fake.next_conversation()
    await socket.send_json({"type": "user_message", "rich_content_id": "rc_1"})
    assert await at_fake.rich_content_taps.next() == "rc_1"
    await socket.send_json({"type": "user_message", "text": None, "rich_content_id": None})
    await socket.send_json({"type": "user_message", "text": "hi", "rich_content_id": "rc_2"})
    assert await at_fake.user_messages.next() == "hi"
    assert await at_fake.rich_content_taps.next() == "rc_2"
    await session.close()


async def test_an_initiation_nested_under_its_own_name_is_refused(fake: FakeElevenLabs) -> None:
    kind = "conversation_initiation_client_data"
    session, socket = await opened(fake, {"type": kind, kind: {"dynamic_variables": {}}})
    await socket.receive()
    assert socket.close_code == 1008
    await session.close()


async def test_a_conversation_must_begin_with_its_initiation(fake: FakeElevenLabs) -> None:
    session, socket = await opened(fake, {"type": "user_message", "text": "hi"})
    await socket.receive()
    assert socket.close_code == 1008
    await session.close()


async def test_an_agent_that_needs_a_signed_url_refuses_others() -> None:
    async with FakeElevenLabs(requires_auth=True, api_key="right") as fake:
        session, socket = await opened(fake, INITIATION)
        await socket.receive()
        assert socket.close_code == 1008
        path = f"{fake.url}/v1/convai/conversation/get-signed-url?agent_id=a"
        async with session.get(path, headers={"xi-api-key": "wrong"}) as answer:
            assert answer.status == 401
        async with session.get(path, headers={"xi-api-key": "right"}) as answer:
            url = (await answer.json())["signed_url"]
        async with session.ws_connect(url) as allowed:
            await allowed.send_json(INITIATION)
            assert (await allowed.receive_json())["type"] == "conversation_initiation_metadata"
        await session.close()


async def test_a_call_nobody_answers_runs_out_and_a_late_result_is_kept(
    fake: FakeElevenLabs,
) -> None:
    session, socket = await opened(fake, INITIATION)
    at_fake = await fake.next_conversation()
    with pytest.raises(TimeoutError):
        await at_fake.call_tool("slow", tool_call_id="t1", timeout_s=0.05)
    await socket.send_json(
        {"type": "client_tool_result", "tool_call_id": "t1", "result": "x", "is_error": False}
    )
    await socket.send_json({"type": "user_message", "text": "still here"})
    await at_fake.user_messages.next()
    assert [late.result for late in at_fake.late_results] == ["x"]
    await session.close()


async def test_the_subprotocol_is_selected_only_when_offered(fake: FakeElevenLabs) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{fake.origin}/v1/convai/conversation?agent_id=a"
        async with session.ws_connect(url, protocols=["convai"]) as socket:
            assert socket.protocol == "convai"
        async with session.ws_connect(url) as socket:
            assert socket.protocol is None
