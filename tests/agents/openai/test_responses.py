"""An OpenAI agent run turn by turn, by the real Agents SDK over Responses, with a strict local fake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agents import Agent, OpenAIResponsesModel, RunConfig, Runner
from openai import AsyncOpenAI

from companion_ws.client import CompanionClient
from companion_ws.testing.phone import Phone
from companion_ws.voice.offered import definitions
from companion_ws.voice.openai import PROMPT, Turns, companion_tools
from tests.agents.cases import LATE, ODD, asks_once, code_in, kill_and_tap, recorded, until
from tests.agents.fake_openai import FakeOpenAI, Script
from tests.voice.killable import KillableServer


class Call:
    """An agent that is run for each turn; `said` is what it said."""

    def __init__(self, fake: FakeOpenAI, agent: Agent[Any], turns: Turns) -> None:
        self.fake, self.turns = fake, turns
        self.said: list[str] = []
        self._agent = agent

    async def run(self) -> None:
        history: list[Any] = []
        async for text in self.turns:
            history.append({"role": "user", "content": text})
            config = RunConfig(tracing_disabled=True)
            result = await Runner.run(self._agent, history, run_config=config)
            history = result.to_input_list()
            self.turns.heard(result.final_output)
            self.said.append(result.final_output)


@asynccontextmanager
async def call(
    companion: CompanionClient, script: Script, previous: Turns | None = None, tools: Any = None
) -> AsyncIterator[Call]:
    async with (
        FakeOpenAI(script) as fake,
        AsyncOpenAI(base_url=fake.url, api_key="any") as client,
    ):
        agent = Agent(
            name="Ada",
            instructions=PROMPT,
            model=OpenAIResponsesModel("fake", client),
            tools=companion_tools(companion, tools),
        )
        running = Call(fake, agent, Turns(companion, previous=previous))
        work = asyncio.create_task(running.run())
        yield running
        work.cancel()
        await asyncio.wait([work])
        if not work.cancelled() and (error := work.exception()):
            raise error


async def test_killed_and_started_again_the_agent_learns_of_the_tap_and_once(
    killable: KillableServer,
) -> None:
    async with killable.client() as companion, call(companion, asks_once) as running:
        running.turns.say("go")
        await until(lambda: len(running.said) == 1)
        phone = await kill_and_tap(killable, code_in(running.said[0]))
        await until(lambda: LATE in running.fake.turns)
        await phone.say("thanks")
        await until(lambda: "thanks" in running.fake.turns)
        assert running.fake.turns == ["go", LATE, "thanks"]
        await phone.__aexit__(None, None, None)


async def test_what_is_said_is_in_the_session_and_what_a_screen_set_stands_above_the_turn(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        for step in (1, 2):
            await here.client.set_state("step", step)
        await here.say("and now?")
        await until(lambda: len(running.said) == 1)
        assert running.fake.turns == ["Set on the user’s screen: step = 2\nand now?"]
        running.turns.say("typed")
        spoken = await recorded(agent_side, "user_transcript")
        assert spoken["user_transcription_event"]["user_transcript"] == "typed"
        await recorded(agent_side, "agent_response")


@pytest.mark.parametrize("odd", [*ODD, "null", "no JSON", "[]"], ids=str)
async def test_whatever_the_model_writes_it_reads_words_it_can_speak(
    odd: Any, agent_side: CompanionClient
) -> None:
    def script(role: str, text: str) -> Any:
        return ("companion_choose", odd) if text == "go" else "so be it"

    async with call(agent_side, script) as running:
        running.turns.say("go")
        await until(lambda: running.said == ["so be it"])
        role, text = running.fake.read[-1]
        assert (role, json.loads(text)["status"]) == ("tool", "refused")


async def test_a_server_tool_runs_and_its_mistakes_are_words_for_the_model(
    agent_side: CompanionClient,
) -> None:
    from companion_ws.sessions.tools import load_tools

    shop = load_tools("companion_ws.examples.shipping").values()
    tools = definitions("openai", "https://x.example", shop)["tools"]

    def script(role: str, text: str) -> Any:
        return ("get_shipping_quotes", text) if role == "user" else "thanks"

    async with call(agent_side, script, tools=tools) as running:
        running.turns.say('{"from_zip": "94107", "to_zip": "10001", "weight": 5}')
        await until(lambda: len(running.said) == 1)
        assert "FedEx" in running.fake.read[-1][1]
        running.turns.say('{"weight": "heavy"}')
        await until(lambda: len(running.said) == 2)
        assert "from_zip" in running.fake.read[-1][1]
