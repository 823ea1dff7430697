"""What every adapter stands on: calls that are answered in time, and a conversation joined to a session."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from companion_ws.client import CompanionClient
from companion_ws.testing.inbox import Inbox
from companion_ws.testing.phone import Phone
from companion_ws.voice.attachment import Attachment, Undelivered
from companion_ws.voice.calls import SessionCalls
from companion_ws.voice.mailbox import Letter
from companion_ws.voice.turns import Turns

CHOICE = {
    "title": "Which?",
    "options": [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}],
}


async def test_an_id_that_a_model_uses_for_another_question_is_another_question(
    companion: CompanionClient, here: Phone
) -> None:
    calls = SessionCalls(companion)
    for title in ("Which?", "And back?"):
        asking = asyncio.create_task(
            calls.text("companion_choose", {**CHOICE, "title": title}, "call_0")
        )
        await here.choose("air")
        assert json.loads(await asking)["id"] == "air"


async def test_the_same_call_delivered_twice_is_one_question_and_one_answer(
    companion: CompanionClient, here: Phone
) -> None:
    calls = SessionCalls(companion)
    twice = [asyncio.create_task(calls.text("companion_choose", CHOICE, "c")) for _ in range(2)]
    await here.choose("air")
    first, second = await asyncio.gather(*twice)
    assert first == second
    assert await calls.text("companion_choose", CHOICE, "c") == first


@pytest.mark.parametrize("arguments", [None, "null", "", "[1]", "no JSON", 7, '"text"', "{", {"options": "x"}])
async def test_whatever_stands_for_arguments_the_model_gets_words_it_can_speak(
    arguments: Any, companion: CompanionClient
) -> None:
    told = json.loads(await SessionCalls(companion).text("companion_choose", arguments, None))
    assert told["status"] == "refused"
    assert told["say"]
    assert told["reason"]


async def test_arguments_that_are_json_text_are_an_object(
    companion: CompanionClient, here: Phone
) -> None:
    calls = SessionCalls(companion)
    asking = asyncio.create_task(calls.text("companion_choose", json.dumps(CHOICE), 7))
    await here.choose("ground")
    assert json.loads(await asking)["id"] == "ground"


async def test_an_answer_to_a_call_that_was_interrupted_is_told_as_a_turn_and_once(
    companion: CompanionClient, here: Phone
) -> None:
    told = Inbox()
    is_busy = True

    async def tell(letter: Letter) -> None:
        if is_busy:
            raise Undelivered("speaking")
        await told.put(letter.text)

    attachment = Attachment(companion, tell)
    attachment.begin()
    asking = asyncio.create_task(SessionCalls(companion).text("companion_choose", CHOICE, "c"))
    await here.question()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await here.choose("air")
    async with asyncio.timeout(20):
        while not attachment.pending:
            await asyncio.sleep(0.01)
    is_busy = False
    assert await told.next() == "About “Which?”: UPS Next Day."
    await here.say("thanks")
    assert await told.next() == "thanks"
    assert attachment.close() == []


async def test_a_turn_that_the_agent_failed_at_is_told_by_the_next_turns(
    companion: CompanionClient, here: Phone
) -> None:
    first = Turns(companion)
    await here.say("are you there?")
    assert await anext(first) == "are you there?"
    assert len(first.pending) == 1, "it counts as told when the next one is asked for"
    again = Turns(companion, previous=first)
    assert await anext(again) == "are you there?"
    again.say("yes")
    assert await anext(again) == "yes"
    again.close()
    assert [letter.text for letter in again.pending] == ["yes"]


async def test_what_screens_set_stands_above_the_next_turn_the_newest_of_each(
    companion: CompanionClient, here: Phone
) -> None:
    turns = Turns(companion)
    for step in (1, 2):
        await here.client.set_state("step", step)
    await here.say("and now?")
    assert await anext(turns) == "Set on the user’s screen: step = 2\nand now?"
    await here.say("again")
    assert await anext(turns) == "again"


async def test_whoever_stops_waiting_for_a_turn_loses_none(
    companion: CompanionClient, here: Phone
) -> None:
    turns = Turns(companion)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(turns), 0.05)
    await here.say("hello")
    assert await anext(turns) == "hello"


async def test_turns_end_with_the_session(companion: CompanionClient) -> None:
    turns = Turns(companion)
    await companion.http("DELETE", f"/sessions/{companion.session_id}")
    assert [text async for text in turns] == []
