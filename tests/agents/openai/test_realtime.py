"""An OpenAI Realtime agent with its screen: the real Agents SDK, its real socket, a strict local fake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agents.realtime import RealtimeAgent, RealtimeRunner

from companion_ws.client import CompanionClient
from companion_ws.testing.phone import Phone
from companion_ws.voice.openai import PROMPT, Attachment, attach, companion_tools
from tests.agents.cases import (
    CHOICE,
    CHOSEN,
    LATE,
    ODD,
    asks_once,
    code_in,
    kill_and_tap,
    recorded,
    until,
)
from tests.agents.fake_openai import FakeOpenAI, Script
from tests.voice.killable import KillableServer


class Call:
    """A running agent at the fake."""

    def __init__(self, fake: FakeOpenAI, session: Any, attachment: Attachment) -> None:
        self.fake, self.session, self.attachment = fake, session, attachment


@asynccontextmanager
async def call(
    companion: CompanionClient, script: Script, previous: Attachment | None = None
) -> AsyncIterator[Call]:
    async with FakeOpenAI(script) as fake:
        agent = RealtimeAgent(name="Ada", instructions=PROMPT, tools=companion_tools(companion))
        where: Any = {"url": f"ws://127.0.0.1:{fake.port}/v1/realtime", "api_key": "any"}
        run_config: Any = {"tracing_disabled": True}
        runner = RealtimeRunner(agent, config=run_config)
        async with await runner.run(model_config=where) as session:
            attachment = attach(session, companion, previous=previous)
            reading = asyncio.create_task(_read(session))
            yield Call(fake, session, attachment)
            reading.cancel()


async def _read(session: Any) -> None:
    async for event in session:
        if event.type == "error":
            print(event.error)


async def test_killed_and_started_again_the_agent_learns_of_the_tap_and_once(
    killable: KillableServer,
) -> None:
    async with killable.client() as companion, call(companion, asks_once) as running:
        await running.session.send_message("go")
        said = await recorded(companion, "agent_response")
        code = code_in(said["agent_response_event"]["agent_response"])
        phone = await kill_and_tap(killable, code)
        await until(lambda: LATE in running.fake.turns)
        await phone.say("thanks")
        await until(lambda: "thanks" in running.fake.turns)
        assert running.fake.turns == ["go", LATE, "thanks"]
        await phone.__aexit__(None, None, None)


async def test_what_is_tapped_in_time_is_the_result_of_the_tool_and_no_turn(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, asks_once) as running:
        await running.session.send_message("go")
        await here.choose("air")
        await until(lambda: running.fake.read[-1][0] == "tool")
        assert json.loads(running.fake.read[-1][1]) == CHOSEN
        await here.say("thanks")
        await until(lambda: "thanks" in running.fake.turns)
        assert running.fake.turns == ["go", "thanks"]


async def test_what_is_said_is_in_the_session_but_not_what_the_screen_said_itself(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        await here.say("from the screen")
        said = await recorded(agent_side, "agent_response")
        assert said["agent_response_event"]["agent_response"] == "Heard: from the screen"
        await running.session.send_message("from the room")
        spoken = await recorded(agent_side, "user_transcript")
        assert spoken["user_transcription_event"]["user_transcript"] == "from the room"


async def test_a_tap_waits_until_the_model_has_spoken(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        running.fake.speak.clear()
        await running.session.send_message("a long story")
        await until(lambda: running.fake.turns == ["a long story"])
        await here.say("stop")
        await until(lambda: len(running.attachment.pending) == 1)
        running.fake.speak.set()
        await until(lambda: running.fake.turns == ["a long story", "stop"])


async def test_the_model_reads_what_the_screen_shows_and_only_the_newest(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        await here.client.set_state("step", 1)
        await until(lambda: not running.attachment.pending and agent_side.seq >= 1)
        await here.client.set_state("step", 2)
        await here.say("and now?")
        await until(lambda: len(running.fake.read) == 1)
        told = [text for role, text in running.fake.contexts[-1] if "screen: step" in text]
        assert told == ["Set on the user’s screen: step = 2"]


@pytest.mark.parametrize("odd", [*ODD, "null", "no JSON", "[]"], ids=str)
async def test_whatever_the_model_writes_it_reads_words_it_can_speak(
    odd: Any, agent_side: CompanionClient
) -> None:
    def script(role: str, text: str) -> Any:
        return ("companion_choose", odd) if text == "go" else "so be it"

    async with call(agent_side, script) as running:
        await running.session.send_message("go")
        await until(lambda: len(running.fake.read) == 2)
        role, text = running.fake.read[-1]
        assert (role, json.loads(text)["status"]) == ("tool", "refused")


async def test_a_question_whose_connection_dropped_is_answered_to_the_next_one(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, asks_once) as first:
        await first.session.send_message("go")
        await here.question()
    await here.choose("air")
    await until(lambda: len(first.attachment.pending) == 1)
    async with call(agent_side, asks_once, first.attachment) as again:
        await until(lambda: again.fake.turns == [LATE])


async def test_the_same_question_asked_twice_is_on_the_screen_once(
    agent_side: CompanionClient, here: Phone
) -> None:
    def script(role: str, text: str) -> Any:
        return ("companion_choose", CHOICE) if role == "user" else "thanks"

    async with call(agent_side, script) as running:
        await running.session.send_message("go")
        await here.question()
        await until(lambda: len(running.fake.read) == 1)
        await running.session.send_message("well?")
        await recorded(agent_side, "client_tool_call", 2)
        await here.choose("air")
        await until(lambda: str(running.fake.contexts[-1]).count("UPS Next Day") == 2)
