"""The real Python SDK, both Conversation classes, joined to a session of a real server."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from elevenlabs import ElevenLabs
from elevenlabs.conversational_ai.conversation import ClientTools

from companion_ws.client import CompanionClient
from companion_ws.core.errors import ToolClosed
from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from companion_ws.voice.elevenlabs import companion_tools
from tests.voice.agents import Agent
from tests.voice.conftest import screen

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
CHOICE = {"title": "Which?", "options": OPTIONS}
CHOSEN = {"status": "chosen", "id": "air", "label": "UPS Next Day"}

both = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {"tools": "companion_ws.examples.shipping"}


async def record_of(companion: CompanionClient, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        async for record in companion.records():
            if record["type"] == kind:
                return record
    raise AssertionError


@both
async def test_the_agent_asks_and_the_screen_answers(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        asking = asyncio.create_task(agent.said.call_tool("companion_choose", CHOICE))
        await here.choose("air")
        result = await asking
    assert result.json == CHOSEN
    assert not result.is_error


@both
async def test_the_call_has_the_ids_of_its_conversation_and_of_elevenlabs_and_says_them_once(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        asking = asyncio.create_task(
            agent.said.call_tool("companion_choose", CHOICE, tool_call_id="call_of_elevenlabs")
        )
        asked = await here.question()
        assert asked["tool_call_id"] == f"{agent.said.id}:call_of_elevenlabs"
        assert "tool_call_id" not in asked["parameters"]
        await here.choose("air")
        await asking


@both
async def test_a_server_tool_answers_the_agent(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    tools = companion_tools(companion, ["get_shipping_quotes"])
    async with Agent(kind, sdk, fake, companion, tools=tools) as agent:
        parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
        result = await agent.said.call_tool("get_shipping_quotes", parcel)
        assert "FedEx" in result.result
        assert not result.is_error


@both
async def test_a_failing_server_tool_is_an_error_result(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        result = await agent.said.call_tool("get_shipping_quotes", {"weight": "heavy"})
        assert result.is_error
        assert "from_zip" in result.result


@both
async def test_a_tool_that_was_not_named_is_refused_by_the_sdk(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    tools = companion_tools(companion, ["companion_choose"])
    assert isinstance(tools, ClientTools)
    async with Agent(kind, sdk, fake, companion, tools=tools) as agent:
        result = await agent.said.call_tool("open_pod_bay_doors")
        assert result.is_error


@both
async def test_own_tools_work_beside_the_screens(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    tools = companion_tools(companion, ["companion_choose"])
    tools.register("add", lambda parameters: str(parameters["a"] + parameters["b"]))
    async with Agent(kind, sdk, fake, companion, tools=tools) as agent:
        assert (await agent.said.call_tool("add", {"a": 1, "b": 2})).result == "3"


@both
async def test_what_is_said_is_in_the_session_and_the_conversation_leads_there(
    kind: str,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    companion_server: CompanionServer,
) -> None:
    heard: list[str] = []

    def on_response(text: str) -> None:
        heard.append(text)

    async def on_response_async(text: str) -> None:
        heard.append(text)

    own = on_response_async if kind == "async" else on_response
    async with Agent(kind, sdk, fake, companion, callback_agent_response=own) as agent:
        await agent.said.hear("to Berlin please")
        await agent.said.say("Two rates")
        await agent.said.correct("Two rates", "Two")
        await agent.said.interrupt()
        spoken = await record_of(companion, "user_transcript")
        assert spoken["user_transcription_event"]["user_transcript"] == "to Berlin please"
        answer = await record_of(companion, "agent_response")
        assert answer["agent_response_event"]["agent_response"] == "Two rates"
        await record_of(companion, "agent_response_correction")
        await record_of(companion, "interruption")
        await record_of(companion, "conversation_initiation_metadata")
        assert agent.attachment.conversation_id == agent.said.id
        found = await companion_server.sessions.find(conversation_id=agent.said.id)
        assert found is not None
        assert found.session_id == companion.session_id
    assert heard == ["Two rates"]


@both
async def test_a_tap_becomes_a_turn_and_what_a_screen_shows_an_update(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        await here.client.contextual_update("address", {"city": "Berlin"}, context_id="form")
        update = await agent.said.contextual_updates.next()
        assert (update["text"], update["context_id"]) == ('address: {"city":"Berlin"}', "form")
        await here.shows("two rates")
        update = await agent.said.contextual_updates.next()
        assert update["text"] == "The user’s screen shows: two rates"
        await here.tap("selected", {"id": "air"}, "I take UPS Next Day")
        assert await agent.said.user_messages.next() == "I take UPS Next Day"
        await here.client.send({"type": "user_activity"})
        await agent.said.user_activities.next()


@both
async def test_what_happens_before_the_conversation_waits_for_it_newest_only(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    agent = Agent(kind, sdk, fake, companion)
    for step in range(5):
        await here.client.contextual_update("step", {"at": step}, context_id="step")
    await here.say("hello")
    await companion.wait_until(lambda client: client.seq >= 6, 5)
    async with agent:
        assert await agent.said.user_messages.next() == "hello"
        assert [update["text"] for update in agent.said.contextual_updates] == ['step: {"at":4}']


@both
async def test_what_the_agent_was_not_told_waits_for_its_next_conversation(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        await agent.end()
        await here.say("are you there?")
        async with asyncio.timeout(20):
            while not agent.attachment.pending:
                await asyncio.sleep(0.01)
        again = Agent(kind, sdk, fake, companion, previous=agent.attachment)
        async with again:
            assert await again.said.user_messages.next() == "are you there?"


@both
async def test_a_conversation_that_joins_a_session_with_a_past_is_told_of_it(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    await companion.set_state("destination", "Berlin")
    async with Agent(kind, sdk, fake, companion) as agent:
        update = await agent.said.contextual_updates.next()
        assert update["text"] == 'So far in this session: destination = "Berlin"'


# The screen is late, never there, or answers twice.


@both
async def test_without_a_screen_the_agent_gets_something_to_say_and_the_late_answer_as_a_turn(
    kind: str,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    companion_server: CompanionServer,
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        result = await agent.said.call_tool("companion_choose", CHOICE)
        assert result.json["status"] == "no_screen"
        assert result.json["say"]
        assert not result.is_error
        async with screen(companion_server, companion.session_id) as late:
            await late.choose("air")
            assert await agent.said.user_messages.next() == "About “Which?”: UPS Next Day."


@both
async def test_a_screen_that_does_not_answer_releases_the_agent_in_time(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    tools = companion_tools(companion, answer_within_s=2.0)
    async with Agent(kind, sdk, fake, companion, tools=tools) as agent:
        result = await agent.said.call_tool("companion_choose", CHOICE, timeout_s=15)
        assert result.json["status"] == "no_answer"
        await here.choose("ground")
        assert await agent.said.user_messages.next() == "About “Which?”: FedEx Ground."


@both
async def test_two_screens_answer_and_the_agent_hears_the_first(
    kind: str,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    companion_server: CompanionServer,
    here: Phone,
) -> None:
    async with (
        screen(companion_server, companion.session_id) as other,
        Agent(kind, sdk, fake, companion) as agent,
    ):
        asking = asyncio.create_task(agent.said.call_tool("companion_choose", CHOICE))
        asked = await other.question()
        await here.choose("air")
        with pytest.raises(ToolClosed):
            await other.client.answer_tool(asked["tool_call_id"], {"status": "chosen", "id": "x"})
        assert (await asking).json["id"] == "air"
        assert await agent.said.ping() < 5, "a second result would have closed it"


@both
@pytest.mark.parametrize("is_handed_on", [True, False])
async def test_what_is_tapped_after_its_conversation_dropped_is_a_turn_of_the_next(
    kind: str,
    is_handed_on: bool,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    here: Phone,
) -> None:
    first = Agent(kind, sdk, fake, companion)
    await first.start()
    asking = asyncio.create_task(first.said.call_tool("companion_choose", CHOICE))
    await here.question()
    await first.said.end(1011)
    with suppress(Exception):
        await asking
    await first.end()
    previous = first.attachment if is_handed_on else None
    async with Agent(kind, sdk, fake, companion, previous=previous) as again:
        await here.choose("air")
        assert await again.said.user_messages.next() == "About “Which?”: UPS Next Day."
        await here.say("thanks")
        await again.said.user_messages.until(lambda text: text == "thanks")
        assert list(again.said.user_messages) == ["About “Which?”: UPS Next Day.", "thanks"]
    first.attachment.close()


@both
async def test_a_provider_may_number_the_calls_of_each_conversation_alike(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    for title in ("Which?", "And now?"):
        async with Agent(kind, sdk, fake, companion) as agent:
            asking = asyncio.create_task(
                agent.said.call_tool(
                    "companion_choose", {**CHOICE, "title": title}, tool_call_id="call_0"
                )
            )
            await here.choose("air")
            assert (await asking).json == CHOSEN


@both
async def test_a_question_of_a_program_that_died_is_answered_to_the_next_one(
    kind: str,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    companion_server: CompanionServer,
    here: Phone,
) -> None:
    async with companion_server.client(session_id=companion.session_id) as gone:
        await gone.send(
            {
                "type": "client_tool_call",
                "client_tool_call": {
                    "tool_name": "companion_choose", "tool_call_id": "c", "parameters": CHOICE,
                },
            }
        )  # fmt: skip
    async with companion_server.client(session_id=companion.session_id) as next_one:
        async with Agent(kind, sdk, fake, next_one) as agent:
            await here.choose("air")
            assert await agent.said.user_messages.next() == "About “Which?”: UPS Next Day."


@both
async def test_what_another_agent_asked_and_waits_for_is_nobody_elses_turn(
    kind: str,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    companion_server: CompanionServer,
    here: Phone,
) -> None:
    async with (
        companion_server.client(session_id=companion.session_id) as other,
        Agent(kind, sdk, fake, companion) as agent,
    ):
        asking = asyncio.create_task(other.call_tool("companion_choose", **CHOICE))
        await here.choose("air")
        assert (await asking)["id"] == "air"
        await here.say("thanks")
        assert await agent.said.user_messages.next() == "thanks"


# The agent's program leaves, or says more than a message holds.


async def test_leaving_the_session_ends_what_was_attached(
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion_server: CompanionServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    client = companion_server.client()
    async with client:
        Agent("async", sdk, fake, client)
        await client.set_state("while", "attached")
    assert [task for task in asyncio.all_tasks() if "Attachment" in repr(task)] == []
    assert "The companion was left" in caplog.text


async def test_a_speech_longer_than_a_message_is_cut_and_costs_no_seat(
    fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    seat = companion.joined["connection_id"]
    async with Agent("async", sdk, fake, companion) as agent:
        await agent.said.hear("ä" * 100_000)
        spoken = await record_of(companion, "user_transcript")
        assert spoken["user_transcription_event"]["user_transcript"].endswith("ä…")
        result = await agent.said.call_tool("companion_show", {"title": "x" * 100_000})
        assert "bytes" in result.result
    assert companion.joined["connection_id"] == seat


# The server goes away.


@both
async def test_the_server_goes_away_in_between_and_the_answer_still_arrives(
    kind: str,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    companion_server: CompanionServer,
    here: Phone,
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        asking = asyncio.create_task(agent.said.call_tool("companion_choose", CHOICE))
        await here.question()
        await companion_server.stop()
        await companion_server.start()
        await here.choose("air")
        assert (await asking).json == CHOSEN


@both
async def test_while_the_server_is_away_the_agent_is_answered_and_hears_the_rest_later(
    kind: str,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    companion_server: CompanionServer,
    here: Phone,
) -> None:
    tools = companion_tools(companion, answer_within_s=1.0)
    async with Agent(kind, sdk, fake, companion, tools=tools) as agent:
        await companion_server.stop()
        result = await agent.said.call_tool("companion_choose", CHOICE, timeout_s=15)
        assert result.json["status"] == "unreachable"
        assert result.json["say"]
        assert not result.is_error
        await companion_server.start()
        await here.choose("air")
        assert await agent.said.user_messages.next() == "About “Which?”: UPS Next Day."


@both
async def test_a_session_that_ended_is_an_error_result_and_no_silence(
    kind: str,
    fake: FakeElevenLabs,
    sdk: ElevenLabs,
    companion: CompanionClient,
    companion_server: CompanionServer,
    here: Phone,
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        asking = asyncio.create_task(agent.said.call_tool("companion_choose", CHOICE))
        await here.question()
        await companion_server.sessions.end(companion.session_id, "done")
        result = await asking
        assert result.is_error
        assert "over" in result.result


@both
async def test_a_call_the_session_refuses_is_an_error_result(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        result = await agent.said.call_tool("x" * 300)
        assert result.is_error


@both
async def test_a_form_written_as_text_reaches_the_screen_as_a_schema(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    async with Agent(kind, sdk, fake, companion) as agent:
        asking = asyncio.create_task(
            agent.said.call_tool(
                "companion_form", {"title": "Where?", "schema": json.dumps(schema)}
            )
        )
        asked = await here.question("companion_form")
        assert asked["parameters"]["schema"] == schema
        await here.submit(city="Berlin")
        assert (await asking).json == {"status": "submitted", "values": {"city": "Berlin"}}


@both
async def test_what_the_server_says_is_in_the_language_of_the_conversation(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    agent = Agent(kind, sdk, fake, companion)
    agent.conversation.config.conversation_config_override = {"agent": {"language": "de"}}
    async with agent:
        await record_of(companion, "conversation_initiation_metadata")
        async with asyncio.timeout(20):
            while True:
                path = f"/sessions/{companion.session_id}"
                if (await companion.http("GET", path))["language"] == "de":
                    break
        result = await agent.said.call_tool("companion_choose", CHOICE)
        assert "Begleitbildschirm" in result.json["say"]


async def test_a_conversation_on_a_loop_of_its_own_is_served_there(
    fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    agent = Agent("async", sdk, fake, companion)

    def elsewhere() -> None:
        async def talk() -> None:
            # Its events belong to the loop they are made on.
            agent.conversation._should_stop = asyncio.Event()
            await agent.conversation.start_session()
            await agent.conversation.wait_for_session_end()

        asyncio.run(talk())

    talking = asyncio.create_task(asyncio.to_thread(elsewhere))
    said = await fake.next_conversation()
    asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
    await here.choose("air")
    assert (await asking).json == CHOSEN
    await here.say("thanks")
    assert await said.user_messages.next() == "thanks"
    await said.end()
    await talking
    agent.attachment.close()


async def test_many_tools_at_once_are_answered_each(
    fake: FakeElevenLabs, sdk: ElevenLabs, companion: CompanionClient
) -> None:
    parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
    async with Agent("async", sdk, fake, companion) as agent:
        results = await asyncio.gather(
            *(agent.said.call_tool("get_shipping_quotes", parcel) for _ in range(50))
        )
    assert len({result.tool_call_id for result in results}) == 50
    assert all("FedEx" in result.result for result in results)
