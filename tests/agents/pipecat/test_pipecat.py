"""A Pipecat bot with its screen: the real package, a scripted model, no network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    InterruptionFrame,
    LLMMessagesAppendFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.workers.runner import WorkerRunner

from companion_ws.client import CompanionClient
from companion_ws.core.companion_tools import COMPANION_TOOLS
from companion_ws.testing.phone import Phone
from companion_ws.voice.offered import definitions
from companion_ws.voice.pipecat import (
    PROMPT,
    CompanionProcessor,
    FunctionSchema,
    register_companion_tools,
)
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
from tests.agents.pipecat.scripted import Ask, ScriptedLLM
from tests.voice.killable import KillableServer


class Call:
    """A running bot."""

    def __init__(
        self,
        companion: CompanionClient,
        reply: Callable[[str, str], str | Ask],
        previous: CompanionProcessor | None,
        tools: Any,
    ) -> None:
        self.model = ScriptedLLM(reply)
        schema = register_companion_tools(self.model, companion, tools)
        self.context = LLMContext([{"role": "system", "content": PROMPT}], tools=schema)
        aggregators = LLMContextAggregatorPair(self.context)
        self.screen = CompanionProcessor(companion, previous=previous)
        pipeline = Pipeline(
            [self.screen, aggregators.user(), self.model, aggregators.assistant()]
        )
        self.worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False, enable_rtvi=False)

    async def hear(self, text: str) -> None:
        message = {"role": "user", "content": text}
        await self.worker.queue_frame(LLMMessagesAppendFrame([message], run_llm=True))


@asynccontextmanager
async def call(
    companion: CompanionClient,
    reply: Callable[[str, str], str | Ask],
    previous: CompanionProcessor | None = None,
    tools: Any = None,
) -> AsyncIterator[Call]:
    running = Call(companion, reply, previous, tools)
    is_started = asyncio.Event()

    @running.worker.event_handler("on_pipeline_started")
    async def started(worker: Any, frame: Any) -> None:
        is_started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(running.worker)
    work = asyncio.create_task(runner.run())
    async with asyncio.timeout(20):
        await is_started.wait()
    try:
        yield running
        await running.worker.queue_frame(EndFrame())
        async with asyncio.timeout(20):
            await work
    finally:
        work.cancel()


async def test_killed_and_started_again_the_agent_learns_of_the_tap_and_once(
    killable: KillableServer,
) -> None:
    async with killable.client() as companion, call(companion, asks_once) as running:
        await running.hear("go")
        await until(lambda: len(running.model.said) == 1)
        phone = await kill_and_tap(killable, code_in(running.model.said[0]))
        await until(lambda: LATE in running.model.turns())
        await phone.say("thanks")
        await until(lambda: "thanks" in running.model.turns())
        assert running.model.turns() == ["go", LATE, "thanks"]
        assert running.model.said[1:] == [f"Heard: {LATE}", "Heard: thanks"]
        await phone.__aexit__(None, None, None)


async def test_what_is_tapped_in_time_is_the_result_of_the_tool_and_no_turn(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, asks_once) as running:
        await running.hear("go")
        await here.choose("air")
        await until(lambda: len(running.model.said) == 1)
        role, text = running.model.read[-1]
        assert (role, json.loads(text)) == ("tool", CHOSEN)
        await here.say("thanks")
        await until(lambda: "thanks" in running.model.turns())
        assert running.model.turns() == ["go", "thanks"]


async def test_what_is_tapped_after_an_interruption_is_a_turn(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, asks_once) as running:
        await running.hear("go")
        await here.question()
        await running.worker.queue_frame(InterruptionFrame())
        await until(lambda: "CANCELLED" in str(running.context.get_messages()))
        await here.choose("air")
        await until(lambda: LATE in running.model.turns())
        await here.say("thanks")
        await until(lambda: "thanks" in running.model.turns())
        assert running.model.turns() == ["go", LATE, "thanks"]


async def test_what_is_said_is_in_the_session_but_not_what_the_screen_said_itself(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        await here.say("from the screen")
        said = await recorded(agent_side, "agent_response")
        assert said["agent_response_event"]["agent_response"] == "Heard: from the screen"
        await running.worker.queue_frame(TranscriptionFrame("from the room", "ada", "now"))
        spoken = await recorded(agent_side, "user_transcript")
        assert spoken["user_transcription_event"]["user_transcript"] == "from the room"


async def test_a_tap_waits_until_the_bot_has_spoken(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        await running.worker.queue_frame(BotStartedSpeakingFrame())
        await until(lambda: not running.screen._is_quiet.is_set())
        await here.say("stop")
        await until(lambda: len(running.screen.attachment.pending) == 1)
        assert running.model.turns() == []
        await running.worker.queue_frame(BotStoppedSpeakingFrame())
        await until(lambda: running.model.turns() == ["stop"])


async def test_the_model_reads_what_the_screen_shows_and_only_the_newest(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        for step in (1, 2):
            await here.client.set_state("step", step)
            await until(
                lambda step=step: f"step = {step}" in str(running.context.get_messages())  # type: ignore[misc]
            )
        await here.say("and now?")
        await until(lambda: len(running.model.said) == 1)
        told = [text for role, text in running.model.contexts[-1] if "screen: step" in text]
        assert told == ["Set on the user’s screen: step = 2"]


@pytest.mark.parametrize("odd", [*ODD, None, "text", []], ids=str)
async def test_whatever_the_model_writes_it_reads_words_it_can_speak(
    odd: Any, agent_side: CompanionClient
) -> None:
    def reply(role: str, text: str) -> str | Ask:
        return ("companion_choose", odd) if text == "go" else "so be it"

    async with call(agent_side, reply) as running:
        await running.hear("go")
        await until(lambda: running.model.said == ["so be it"])
        role, text = running.model.read[-1]
        assert (role, json.loads(text)["status"]) == ("tool", "refused")


async def test_a_model_that_gives_every_call_the_same_id_asks_every_question(
    agent_side: CompanionClient, here: Phone
) -> None:
    def reply(role: str, text: str) -> str | Ask:
        return ("companion_choose", {**CHOICE, "title": text}) if role == "user" else "thanks"

    async with call(agent_side, reply) as running:
        running.model.call_id = "call_0"
        for count, title in enumerate(("Which?", "And back?"), 1):
            await running.hear(title)
            await here.choose("air")
            await until(lambda count=count: len(running.model.said) == count)  # type: ignore[misc]


async def test_what_the_agent_was_not_told_waits_for_its_next_pipeline(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, asks_once) as first:
        pass
    await here.say("are you there?")
    await until(lambda: len(first.screen.attachment.pending) == 1)
    async with call(agent_side, asks_once, first.screen) as again:
        await until(lambda: again.model.turns() == ["are you there?"])


async def test_a_server_tool_runs_and_its_mistakes_are_words_for_the_model(
    agent_side: CompanionClient,
) -> None:
    from companion_ws.sessions.tools import load_tools

    shop = load_tools("companion_ws.examples.shipping").values()
    tools = definitions("livekit", "https://x.example", shop)["tools"]

    def reply(role: str, text: str) -> str | Ask:
        return ("get_shipping_quotes", json.loads(text)) if role == "user" else "thanks"

    async with call(agent_side, reply, tools=tools) as running:
        await running.hear('{"from_zip": "94107", "to_zip": "10001", "weight": 5}')
        await until(lambda: len(running.model.said) == 1)
        assert "FedEx" in running.model.read[-1][1]
        await running.hear('{"weight": "heavy"}')
        await until(lambda: len(running.model.said) == 2)
        assert "from_zip" in running.model.read[-1][1]


def test_what_the_verb_prints_is_what_pipecat_takes() -> None:
    printed = definitions("pipecat", "https://x.example")["tools"]
    schemas = [FunctionSchema(**tool) for tool in printed]
    assert [schema.name for schema in schemas] == [*COMPANION_TOOLS]
