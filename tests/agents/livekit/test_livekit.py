"""A LiveKit agent with its screen: the real package, a scripted model, no network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.llm import ToolContext

from companion_ws.client import CompanionClient
from companion_ws.core.companion_tools import COMPANION_TOOLS
from companion_ws.testing.phone import Phone
from companion_ws.voice.livekit import PROMPT, Attachment, attach, companion_toolset
from companion_ws.voice.offered import definitions
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
from tests.agents.livekit.scripted import Ask, ScriptedLLM
from tests.voice.killable import KillableServer


class Call:
    """A running agent; `said` is what it said, `model` what its language model read."""

    def __init__(self, companion: CompanionClient, reply: Callable[[str, str], str | Ask]) -> None:
        self.model = ScriptedLLM(reply)
        self.session: AgentSession[Any] = AgentSession(llm=self.model)
        self.companion = companion
        self.said: list[str] = []
        self.session.on("conversation_item_added", self._note)

    def _note(self, event: Any) -> None:
        if getattr(event.item, "role", "") == "assistant":
            self.said.append(event.item.text_content)

    def turns(self) -> list[str]:
        return [text for role, text in self.model.read if role == "user"]


@asynccontextmanager
async def call(
    companion: CompanionClient,
    reply: Callable[[str, str], str | Ask],
    previous: Attachment | None = None,
    tools: Any = None,
) -> AsyncIterator[Call]:
    running = Call(companion, reply)
    running.attachment = attach(running.session, companion, previous=previous)  # type: ignore[attr-defined]
    tools = companion_toolset(companion, tools)
    await running.session.start(Agent(instructions=PROMPT, tools=[tools]))
    try:
        yield running
    finally:
        await running.session.aclose()


async def test_killed_and_started_again_the_agent_learns_of_the_tap_and_once(
    killable: KillableServer,
) -> None:
    async with killable.client() as companion, call(companion, asks_once) as running:
        running.session.generate_reply(user_input="go")
        await until(lambda: len(running.said) == 1)
        phone = await kill_and_tap(killable, code_in(running.said[0]))
        await until(lambda: LATE in running.turns())
        await phone.say("thanks")
        await until(lambda: "thanks" in running.turns())
        assert running.turns() == ["go", LATE, "thanks"]
        await until(lambda: running.said[1:] == [f"Heard: {LATE}", "Heard: thanks"])
        await phone.__aexit__(None, None, None)


async def test_what_is_tapped_in_time_is_the_result_of_the_tool_and_no_turn(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, asks_once) as running:
        running.session.generate_reply(user_input="go")
        await here.choose("air")
        await until(lambda: len(running.said) == 1)
        role, text = running.model.read[-1]
        assert (role, json.loads(text)) == ("tool", CHOSEN)
        await here.say("thanks")
        await until(lambda: "thanks" in running.turns())
        assert running.turns() == ["go", "thanks"]


async def test_what_is_said_is_in_the_session_but_not_what_the_screen_said_itself(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        await here.say("from the screen")
        await until(lambda: running.said == ["Heard: from the screen"])
        running.session.generate_reply(user_input="from the room")
        spoken = await recorded(agent_side, "user_transcript")
        assert spoken["user_transcription_event"]["user_transcript"] == "from the room"
        said = await recorded(agent_side, "agent_response")
        assert said["agent_response_event"]["agent_response"] == "Heard: from the screen"


async def test_the_model_reads_what_the_screen_shows_and_only_the_newest(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        for step in (1, 2):
            await here.client.set_state("step", step)
            await until(lambda step=step: f"step = {step}" in str(  # type: ignore[misc]
                running.session.current_agent.chat_ctx.items))  # fmt: skip
        await here.say("and now?")
        await until(lambda: len(running.said) == 1)
        told = [text for role, text in running.model.contexts[-1] if "screen: step" in text]
        assert told == ["Set on the user’s screen: step = 2"]


@pytest.mark.parametrize("odd", [*ODD, "null", "[]"], ids=str)
async def test_whatever_the_model_writes_it_reads_words_it_can_speak(
    odd: Any, agent_side: CompanionClient
) -> None:
    def reply(role: str, text: str) -> str | Ask:
        return ("companion_choose", odd) if text == "go" else "so be it"

    async with call(agent_side, reply) as running:
        running.session.generate_reply(user_input="go")
        await until(lambda: running.said == ["so be it"])
        role, text = running.model.read[-1]
        assert role == "tool"
        assert text.startswith(("{", "Error")), text


async def test_a_model_that_gives_every_call_the_same_id_asks_every_question(
    agent_side: CompanionClient, here: Phone
) -> None:
    def reply(role: str, text: str) -> str | Ask:
        return ("companion_choose", {**CHOICE, "title": text}) if role == "user" else "thanks"

    async with call(agent_side, reply) as running:
        running.model.call_id = "call_0"
        for count, title in enumerate(("Which?", "And back?"), 1):
            running.session.generate_reply(user_input=title)
            await here.choose("air")
            await until(lambda count=count: len(running.said) == count)  # type: ignore[misc]


async def test_a_tap_whose_reply_is_interrupted_is_known_to_the_next_reply_and_once(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, lambda role, text: f"Heard: {text}") as running:
        running.model.may_speak.clear()
        running.session.generate_reply(user_input="a long story")
        await until(lambda: len(running.model.read) == 1)
        await here.say("stop")
        await until(lambda: len(running.attachment.pending) == 1)  # type: ignore[attr-defined]
        await running.session.interrupt()
        running.model.may_speak.set()
        await until(lambda: not running.attachment.pending)  # type: ignore[attr-defined]
        running.session.generate_reply(user_input="and now?")
        await until(lambda: "Heard: and now?" in running.said)
        assert running.model.contexts[-1].count(("user", "stop")) == 1


async def test_what_the_agent_was_not_told_waits_for_its_next_session(
    agent_side: CompanionClient, here: Phone
) -> None:
    async with call(agent_side, asks_once) as first:
        pass
    await here.say("are you there?")
    await until(lambda: len(first.attachment.pending) == 1)  # type: ignore[attr-defined]
    async with call(agent_side, asks_once, first.attachment) as again:  # type: ignore[attr-defined]
        await until(lambda: again.turns() == ["are you there?"])


async def test_a_server_tool_runs_and_its_mistakes_are_words_for_the_model(
    agent_side: CompanionClient,
) -> None:
    from companion_ws.sessions.tools import load_tools

    shop = load_tools("companion_ws.examples.shipping").values()
    tools = definitions("livekit", "https://x.example", shop)["tools"]

    def reply(role: str, text: str) -> str | Ask:
        return ("get_shipping_quotes", text) if role == "user" else "thanks"

    async with call(agent_side, reply, tools=tools) as running:
        running.session.generate_reply(
            user_input='{"from_zip": "94107", "to_zip": "10001", "weight": 5}'
        )
        await until(lambda: len(running.said) == 1)
        assert "FedEx" in running.model.read[-1][1]
        running.session.generate_reply(user_input='{"weight": "heavy"}')
        await until(lambda: len(running.said) == 2)
        assert "from_zip" in running.model.read[-1][1]


async def test_the_tools_may_be_handed_over_as_one_or_one_by_one(
    agent_side: CompanionClient,
) -> None:
    toolset = companion_toolset(agent_side)
    for tools in ([toolset], [*toolset], toolset):
        agent = Agent(instructions=PROMPT, tools=tools)  # type: ignore[arg-type]
        assert {*ToolContext(agent.tools).function_tools} == {*COMPANION_TOOLS}


def test_what_the_verb_prints_is_what_livekit_takes() -> None:
    async def answer(raw_arguments: dict[str, object]) -> str:
        return ""

    printed = definitions("livekit", "https://x.example")["tools"]
    tools = ToolContext([function_tool(answer, raw_schema=schema) for schema in printed])
    assert {*tools.function_tools} == {*COMPANION_TOOLS}
