"""The real JavaScript SDK in Node, joined to a session of a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from companion_ws.client import CompanionClient
from companion_ws.core.companion_tools import COMPANION_TOOLS
from companion_ws.testing.fake_elevenlabs import FakeConversation, FakeElevenLabs
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from tests.voice.conftest import screen
from tests.voice.node import NodeAgent

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
CHOICE = {"title": "Which?", "options": OPTIONS}


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {"tools": "companion_ws.examples.shipping"}


@pytest.fixture
def answer_within_ms() -> int:
    return 19_000


@pytest.fixture
async def agent(
    companion_server: CompanionServer,
    companion: CompanionClient,
    fake: FakeElevenLabs,
    answer_within_ms: int,
) -> AsyncIterator[NodeAgent]:
    options = {
        "url": companion_server.url,
        "token": companion_server.token(),
        "sessionId": companion.session_id,
        "answerWithinMs": answer_within_ms,
    }
    async with NodeAgent(options, fake.origin) as running:
        assert await running.order("ready", "ready") == companion.session_id
        yield running


@pytest.fixture
async def said(agent: NodeAgent, fake: FakeElevenLabs) -> FakeConversation:
    id = await agent.order("start", "started")
    conversation = await fake.next_conversation()
    assert conversation.id == id
    assert conversation.subprotocol == "convai"
    return conversation


async def test_the_agent_asks_and_the_screen_answers(said: FakeConversation, here: Phone) -> None:
    asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE, tool_call_id="of11"))
    assert (await here.question())["tool_call_id"] == f"{said.id}:of11"
    await here.choose("air")
    assert (await asking).json["id"] == "air"


async def test_any_tool_name_is_answered_and_own_tools_come_first(
    agent: NodeAgent, said: FakeConversation
) -> None:
    assert (await said.call_tool("add", {"a": 1, "b": 2})).result == "3"
    parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
    assert "FedEx" in (await said.call_tool("get_shipping_quotes", parcel)).result
    wrong = await said.call_tool("get_shipping_quotes", {})
    assert wrong.is_error
    assert "from_zip" in wrong.result
    assert await agent.order("names", "names") == ["add", *COMPANION_TOOLS]


async def test_tools_that_react_copied_are_answered_without_being_listed(
    agent: NodeAgent, fake: FakeElevenLabs, here: Phone
) -> None:
    """`useConversation` copies what it is given, the options and their tools."""
    await agent.order("start_copied", "started")
    said = await fake.next_conversation()
    asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
    await here.choose("air")
    assert (await asking).json["id"] == "air"
    assert (await said.call_tool("add", {"a": 1, "b": 2})).result == "3"


async def test_what_is_tapped_after_its_conversation_dropped_is_a_turn_of_the_next(
    agent: NodeAgent, said: FakeConversation, here: Phone, fake: FakeElevenLabs
) -> None:
    asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
    await here.question()
    await said.end(1011)
    with suppress(Exception):
        await asking
    await agent.order("start", "started")
    again = await fake.next_conversation()
    await here.choose("air")
    assert await again.user_messages.next() == "About “Which?”: UPS Next Day."


async def test_a_question_of_a_page_that_was_reloaded_is_answered_to_the_next_one(
    companion_server: CompanionServer,
    companion: CompanionClient,
    fake: FakeElevenLabs,
    here: Phone,
) -> None:
    options = {
        "url": companion_server.url,
        "token": companion_server.token(),
        "sessionId": companion.session_id,
    }
    async with NodeAgent(options, fake.origin) as first:
        await first.order("start", "started")
        said = await fake.next_conversation()
        asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
        await here.question()
    with suppress(Exception):
        await asking
    await companion.wait_until(lambda it: len(it.presence) == 2, 20)
    async with NodeAgent(options, fake.origin) as second:
        await second.order("start", "started")
        again = await fake.next_conversation()
        await here.choose("air")
        assert await again.user_messages.next() == "About “Which?”: UPS Next Day."


async def test_a_provider_may_number_the_calls_of_each_conversation_alike(
    agent: NodeAgent, here: Phone, fake: FakeElevenLabs
) -> None:
    for title in ("Which?", "And now?"):
        await agent.order("start", "started")
        said = await fake.next_conversation()
        asking = asyncio.create_task(
            said.call_tool("companion_choose", {**CHOICE, "title": title}, tool_call_id="call_0")
        )
        await here.choose("air")
        assert (await asking).json["id"] == "air"
        await agent.order("end", "ended")


async def test_an_id_that_a_model_uses_for_another_question_is_another_question(
    said: FakeConversation, here: Phone
) -> None:
    for title in ("Which?", "And back?"):
        asking = asyncio.create_task(
            said.call_tool("companion_choose", {**CHOICE, "title": title}, tool_call_id="call_0")
        )
        await here.choose("air")
        assert (await asking).json["id"] == "air"


async def test_a_speech_longer_than_a_message_is_cut_and_the_bridge_goes_on(
    agent: NodeAgent, said: FakeConversation, companion: CompanionClient, here: Phone
) -> None:
    await said.hear("ä" * 100_000)
    async with asyncio.timeout(20):
        async for record in companion.records():
            if record["type"] == "user_transcript":
                text = record["user_transcription_event"]["user_transcript"]
                break
    assert text.endswith("ä…")
    await said.call_tool("companion_show", {"title": "x" * 100_000})
    asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
    await here.choose("air")
    assert (await asking).json["id"] == "air"


async def test_what_is_said_is_in_the_session_and_the_conversation_leads_there(
    agent: NodeAgent,
    said: FakeConversation,
    companion: CompanionClient,
    companion_server: CompanionServer,
) -> None:
    await said.hear("to Berlin please")
    await said.say("Two rates")
    assert await agent.says("heard") == "to Berlin please"
    texts = []
    async with asyncio.timeout(10):
        async for record in companion.records():
            if record["type"] == "user_transcript":
                texts.append(record["user_transcription_event"]["user_transcript"])
            if record["type"] == "agent_response":
                texts.append(record["agent_response_event"]["agent_response"])
                break
    assert texts == ["to Berlin please", "Two rates"]
    found = await companion_server.sessions.find(conversation_id=said.id)
    assert found is not None
    assert found.session_id == companion.session_id


async def test_a_tap_becomes_a_turn_and_what_a_screen_shows_an_update(
    said: FakeConversation, here: Phone
) -> None:
    for step in range(5):
        await here.client.contextual_update("step", {"at": step}, context_id="step")
    await here.tap("selected", {"id": "air"}, "I take UPS Next Day")
    assert await said.user_messages.next() == "I take UPS Next Day"
    last = await said.contextual_updates.until(lambda update: update["text"] == 'step: {"at":4}')
    assert last["context_id"] == "step"
    await here.client.send({"type": "user_activity"})
    await said.user_activities.next()


async def test_what_the_agent_was_not_told_waits_for_its_next_conversation(
    agent: NodeAgent, said: FakeConversation, here: Phone, fake: FakeElevenLabs
) -> None:
    await agent.order("end", "ended")
    await here.say("are you there?")
    async with asyncio.timeout(20):
        while await agent.order("pending", "pending") != ["are you there?"]:
            pass
    await agent.order("start", "started")
    again = await fake.next_conversation()
    assert await again.user_messages.next() == "are you there?"


async def test_without_a_screen_the_agent_gets_something_to_say_and_the_late_answer_as_a_turn(
    said: FakeConversation, companion_server: CompanionServer, companion: CompanionClient
) -> None:
    result = await said.call_tool("companion_choose", CHOICE)
    assert result.json["status"] == "no_screen"
    assert not result.is_error
    async with screen(companion_server, companion.session_id) as late:
        await late.choose("air")
        assert await said.user_messages.next() == "About “Which?”: UPS Next Day."


@pytest.mark.parametrize("answer_within_ms", [2500])
async def test_a_screen_that_does_not_answer_releases_the_agent_in_time(
    said: FakeConversation, here: Phone
) -> None:
    result = await said.call_tool("companion_choose", CHOICE, timeout_s=15)
    assert result.json["status"] == "no_answer"
    await here.choose("ground")
    assert await said.user_messages.next() == "About “Which?”: FedEx Ground."


async def test_two_screens_answer_and_the_agent_hears_the_first(
    said: FakeConversation,
    companion_server: CompanionServer,
    companion: CompanionClient,
    here: Phone,
) -> None:
    async with screen(companion_server, companion.session_id) as other:
        asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
        asked = await other.question()
        await here.choose("air")
        assert (await asking).json["id"] == "air"
        with pytest.raises(Exception, match="answered"):
            await other.client.answer_tool(asked["tool_call_id"], {"status": "chosen", "id": "x"})
        assert await said.ping() < 5


async def test_the_server_goes_away_in_between_and_the_answer_still_arrives(
    said: FakeConversation, companion_server: CompanionServer, here: Phone
) -> None:
    asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
    await here.question()
    await companion_server.stop()
    await companion_server.start()
    await here.choose("air")
    assert (await asking).json["id"] == "air"


@pytest.mark.parametrize("answer_within_ms", [1500])
async def test_while_the_server_is_away_the_agent_is_answered_and_hears_the_rest_later(
    said: FakeConversation, companion_server: CompanionServer, here: Phone
) -> None:
    await companion_server.stop()
    result = await said.call_tool("companion_choose", CHOICE, timeout_s=15)
    assert result.json["status"] == "unreachable"
    assert not result.is_error
    await companion_server.start()
    await here.choose("air")
    assert await said.user_messages.next() == "About “Which?”: UPS Next Day."


async def test_what_cannot_be_asked_is_a_normal_result_and_what_can_is_asked(
    said: FakeConversation, here: Phone
) -> None:
    result = await said.call_tool("companion_choose", {"title": "Which?", "options": "{"})
    assert not result.is_error
    assert result.json["status"] == "refused"
    assert result.json["say"]
    assert "options" in result.json["reason"]
    options = "```json\n[{\"value\": \"air\", \"name\": \"UPS Next Day\"},]\n```"
    asking = asyncio.create_task(
        said.call_tool("companion_choose", {"title": "\ud83d?", "options": options, "multiple": None})
    )
    await here.choose("air")
    assert (await asking).json["label"] == "UPS Next Day"
