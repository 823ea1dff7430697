"""Calls the screens answer: the first answer wins, nobody waits in vain, a late one counts."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import pytest
from running import Message, Running, Socket

from companion_ws.core.companion_tools import COMPANION_TOOLS

CHOSEN = '{"status":"chosen","id":"air","label":"UPS Next Day"}'
TITLE = {"title": "Which service?"}
COMPANION = ",".join(COMPANION_TOOLS)
"""What the CompanionUI names when it joins."""


async def answer(screen: Socket, tool_call_id: str, result: str = CHOSEN, **more: Any) -> Message:
    return await screen.say("client_tool_result", tool_call_id=tool_call_id, result=result, **more)


async def test_a_screen_answers_and_everybody_hears_it(server: Running) -> None:
    agent, screen = await server.pair_of()
    observer = await server.join(session_id=agent.session_id, role="observer")
    call = await agent.call("t1", parameters=TITLE)

    assert call["handled_by"] == "screens"
    assert call["deadline_at"] == call["timestamp"] + 18_000
    assert call["client_tool_call"] == {
        "tool_name": "companion_choose", "tool_call_id": "t1", "parameters": TITLE,
        "expects_response": True, "timeout_ms": 18_000,
    }  # fmt: skip
    assert await screen.next_of("client_tool_call") == call
    result = await answer(screen, "t1")
    assert result["type"] == "client_tool_result"
    assert result.keys() >= {
        "tool_name", "tool_call_id", "result", "is_error", "answered_by", "seq", "sender"
    }  # fmt: skip
    assert (result["result"], result["is_error"], result["answered_by"]) == (CHOSEN, False, "ui")
    assert result["sender"]["connection_id"] == screen.connection_id
    assert await agent.next_of("client_tool_result") == result
    assert await observer.next_of("client_tool_result") == result
    late = await server.join(session_id=agent.session_id, role="ui")
    assert late.joined["open_calls"] == []


async def test_of_several_screens_the_first_wins(server: Running) -> None:
    agent = await server.join()
    screens = [await server.join(session_id=agent.session_id, role="ui") for _ in range(5)]
    await agent.call("t1")
    for number, screen in enumerate(screens):
        await screen.next_of("client_tool_call")
        await screen.send(
            "client_tool_result", tool_call_id="t1", result=str(number), requestId=f"r{number}"
        )

    told = [[m for m in await s.quiet() if m["type"] != "presence"] for s in screens]
    results = {m["seq"] for heard in told for m in heard if m["type"] == "client_tool_result"}
    errors = [m for heard in told for m in heard if m["type"] == "error"]
    assert len(results) == 1
    assert [error["code"] for error in errors] == ["tool_closed"] * 4
    assert [m["type"] for m in await agent.quiet()].count("client_tool_result") == 1


async def test_a_result_has_to_be_a_string_for_a_call_that_was_made(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.call("t1")

    for wrong in ({"status": "chosen"}, None, 7, ["x"]):
        fields = {"tool_call_id": "t1", "result": wrong}
        assert await screen.refused("client_tool_result", **fields) == "invalid_message"
    assert (await answer(screen, "never"))["code"] == "tool_unknown"
    nested = await screen.say(
        "client_tool_result", client_tool_result={"tool_call_id": "t1", "result": "no JSON at all"}
    )
    assert (nested["type"], nested["result"]) == ("client_tool_result", "no JSON at all")


async def test_an_error_of_a_screen_is_a_result(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.call("t1")
    await answer(screen, "t1", '{"status":"broken"}', is_error=True)

    assert (await agent.result("t1"))["is_error"] is True


async def test_a_tool_no_screen_names_is_shown_at_once(server: Running) -> None:
    agent, screen = await server.pair_of(tools="companion_choose,companion_show")
    await agent.call("t1", "draw_a_map", parameters={"city": "Denver"})

    await screen.next_of("client_tool_call")
    result = await agent.result("t1")
    assert (result["said"], result["is_error"]) == ({"status": "shown"}, False)
    assert (await answer(screen, "t1"))["code"] == "tool_closed"
    await agent.call("t2", "companion_choose")
    assert (await answer(screen, "t2"))["type"] == "client_tool_result"


async def test_a_screen_that_names_nothing_answers_anything(server: Running) -> None:
    agent, screen = await server.pair_of()
    await server.join(session_id=agent.session_id, role="ui", tools="other_tool")
    await agent.call("t1", "draw_a_map")
    await screen.next_of("client_tool_call")

    assert "client_tool_result" not in [m["type"] for m in await agent.quiet()]
    assert (await answer(screen, "t1"))["type"] == "client_tool_result"


async def test_with_no_screen_the_agent_can_say_how_to_open_one_long_before_its_deadline(
    server: Running,
) -> None:
    agent = await server.join()
    call = await agent.call("t1", parameters=TITLE)
    result = await agent.result("t1")

    assert result["timestamp"] < call["deadline_at"] - 10_000
    said = result["said"]
    assert (said["status"], result["is_error"]) == ("no_screen", False)
    assert len(said["pairing_code"]) == 9
    assert said["pairing_code"].isdigit()
    assert said["pairing_url"].endswith("/c")
    groups = [said["pairing_code"][at : at + 3] for at in (0, 3, 6)]
    assert " ".join(groups) in said["say"]
    assert result["answered_by"] == "server"

    paired = await server.http("POST", "/pair", {"code": said["pairing_code"], "device": "Pixel"}, token=None)
    assert paired.status == 201
    phone = await server.join(paired.body["token"])
    [question] = phone.joined["open_calls"]
    assert question["client_tool_call"] == call["client_tool_call"]
    late = await answer(phone, "t1")
    assert (late["type"], late["in_reply_to"], late["result"]) == ("user_message", "t1", CHOSEN)
    assert "UPS Next Day" in late["text"]
    assert await agent.next_of("user_message") == late
    assert (await answer(phone, "t1"))["code"] == "tool_closed"
    again = await server.join(paired.body["token"])
    assert again.joined["open_calls"] == []


async def test_while_a_pairing_is_open_the_call_waits_for_who_comes(server: Running) -> None:
    agent = await server.join()
    made = await server.http("POST", f"/sessions/{agent.session_id}/pairings", {})
    await agent.call("t1")
    assert "client_tool_result" not in [m["type"] for m in await agent.quiet()]

    paired = await server.http("POST", "/pair", {"code": made.body["code"], "device": "x"}, token=None)
    phone = await server.join(paired.body["token"])
    [question] = phone.joined["open_calls"]
    assert question["released"] is False
    assert (await answer(phone, "t1"))["type"] == "client_tool_result"
    assert (await agent.result("t1"))["answered_by"] == "ui"


async def test_while_a_paired_phone_is_away_the_call_waits_for_its_deadline(
    server: Running,
) -> None:
    agent = await server.join()
    made = await server.http("POST", f"/sessions/{agent.session_id}/pairings", {})
    paired = await server.http("POST", "/pair", {"code": made.body["code"], "device": "x"}, token=None)
    phone = await server.join(paired.body["token"])
    phone.vanish()
    await agent.next_of("presence", event="dropped")
    call = await agent.call("t1", timeout_ms=1000)
    result = await agent.result("t1")

    assert result["said"]["status"] == "no_screen"
    assert 0 <= result["timestamp"] - call["deadline_at"] < 500
    phone = await server.join(paired.body["token"])
    assert phone.joined["open_calls"][0]["released"] is True


async def test_when_the_phone_is_sent_away_for_good_the_agent_is_released(server: Running) -> None:
    agent = await server.join()
    made = await server.http("POST", f"/sessions/{agent.session_id}/pairings", {})
    paired = await server.http("POST", "/pair", {"code": made.body["code"], "device": "x"}, token=None)
    phone = await server.join(paired.body["token"])
    await agent.call("t1")
    gone = await server.http(
        "DELETE", f"/sessions/{agent.session_id}/devices/{paired.body['device_id']}"
    )
    assert gone.status in (200, 204)

    assert await phone.close_code() == 4501
    left = await agent.next_of("presence", connection_id=phone.connection_id)
    result = await agent.result("t1")
    assert result["said"]["status"] == "no_screen"
    assert result["timestamp"] - left["timestamp"] < 1000


async def test_when_the_last_way_in_closes_the_agent_is_released(server: Running) -> None:
    agent = await server.join()
    made = await server.http("POST", f"/sessions/{agent.session_id}/pairings", {"ttl_s": 1})
    await agent.call("t1")

    result = await agent.result("t1")
    assert result["said"]["status"] == "no_screen"
    assert 0 <= result["timestamp"] - made.body["url_expires_at"] < 1000


async def test_a_screen_that_leaves_for_good_releases_the_agent_long_before_its_deadline(
    server: Running,
) -> None:
    agent, screen = await server.pair_of()
    call = await agent.call("t1")
    await screen.leave()

    result = await agent.result("t1")
    assert result["said"]["status"] == "no_screen"
    assert result["timestamp"] < call["deadline_at"] - 10_000


async def test_a_screen_that_reloads_keeps_the_question(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.call("t1")
    await screen.leave()
    screen = await server.join(session_id=agent.session_id, role="ui")

    assert [c["client_tool_call"]["tool_call_id"] for c in screen.joined["open_calls"]] == ["t1"]
    assert (await answer(screen, "t1"))["type"] == "client_tool_result"
    assert (await agent.result("t1"))["answered_by"] == "ui"


@pytest.mark.parametrize("how", ["leaves", "vanishes"])
async def test_when_the_screen_that_answers_a_tool_is_gone_the_others_show_it(
    server: Running, how: str
) -> None:
    agent, screen = await server.pair_of(tools="draw_a_map")
    await server.join(session_id=agent.session_id, role="ui", tools=COMPANION)
    call = await agent.call("t1", "draw_a_map")
    if how == "leaves":
        await screen.leave()
    else:
        screen.vanish()

    result = await agent.result("t1")
    assert (result["said"], result["is_error"]) == ({"status": "shown"}, False)
    assert result["timestamp"] < call["deadline_at"] - 10_000


async def test_whoever_comes_while_a_screen_reloads_does_not_take_its_question(
    server: Running,
) -> None:
    agent, screen = await server.pair_of(tools="draw_a_map")
    await server.join(session_id=agent.session_id, role="ui", tools=COMPANION)
    await agent.call("t1", "draw_a_map")
    await screen.leave()
    await agent.next_of("presence", event="left")
    await server.join(session_id=agent.session_id, role="ui", tools=COMPANION)
    screen = await server.join(session_id=agent.session_id, role="ui", tools="draw_a_map")

    assert [c["client_tool_call"]["tool_call_id"] for c in screen.joined["open_calls"]] == ["t1"]
    assert (await answer(screen, "t1"))["type"] == "client_tool_result"
    assert (await agent.result("t1"))["answered_by"] == "ui"


async def test_a_screen_that_does_not_answer_in_time_releases_the_agent(server: Running) -> None:
    agent, screen = await server.pair_of()
    call = await agent.call("t1", timeout_ms=1000, parameters=TITLE)
    result = await agent.result("t1")

    assert (result["said"]["status"], result["is_error"]) == ("no_answer", False)
    assert result["said"]["say"]
    assert 0 <= result["timestamp"] - call["deadline_at"] < 500
    late = await server.join(session_id=agent.session_id, role="ui")
    assert late.joined["open_calls"][0]["released"] is True
    counted = await answer(screen, "t1")
    assert (counted["type"], counted["in_reply_to"]) == ("user_message", "t1")
    assert await late.next_of("user_message") == counted
    assert (await answer(late, "t1"))["code"] == "tool_closed"
    again = {"tool_name": "companion_choose", "tool_call_id": "t1", "parameters": TITLE}
    await agent.send("client_tool_call", **again)
    assert (await agent.next_of("client_tool_call"))["duplicate"] is True
    assert (await agent.next_of("client_tool_result"))["seq"] == result["seq"]


async def test_a_deadline_holds_across_a_restart(server: Running) -> None:
    agent, _ = await server.pair_of()
    call = await agent.call("t1", timeout_ms=1500)
    await server.restart()

    agent = await server.join(session_id=agent.session_id, after=call["seq"])
    result = await agent.result("t1")
    assert result["said"]["status"] in ("no_screen", "no_answer")
    assert result["timestamp"] - call["deadline_at"] < 1000
    screen = await server.join(session_id=agent.session_id, role="ui")
    assert screen.joined["open_calls"][0]["client_tool_call"]["tool_call_id"] == "t1"
    assert (await answer(screen, "t1"))["type"] == "user_message"
    await server.restart()
    back = await server.join(session_id=agent.session_id, after=0)
    kinds = [m["type"] for m in await back.quiet() if "seq" in m]
    assert kinds == ["client_tool_call", "client_tool_result", "user_message"]


async def test_a_deadline_that_passed_while_the_server_was_down_is_answered_at_its_start(
    server: Running,
) -> None:
    agent, _ = await server.pair_of()
    call = await agent.call("t1", timeout_ms=1000)
    await server.halt()
    while time.time() * 1000 < call["deadline_at"]:  # it passes while nobody is there
        await asyncio.sleep(0.05)
    await server.start()

    agent = await server.join(session_id=agent.session_id, after=0)
    assert (await agent.result("t1"))["said"]["status"] == "no_screen"


async def test_after_a_restart_nobody_waits_for_screens_that_cannot_come(server: Running) -> None:
    agent, _ = await server.pair_of()
    call = await agent.call("t1")
    await server.restart()

    agent = await server.join(session_id=agent.session_id, after=call["seq"])
    result = await agent.result("t1")
    assert result["said"]["status"] == "no_screen"
    assert result["timestamp"] < call["deadline_at"] - 10_000


async def test_after_a_restart_screens_come_back_in_any_order_and_keep_their_questions(
    server: Running,
) -> None:
    agent, _ = await server.pair_of(tools="draw_a_map")
    await agent.call("t1", "draw_a_map")
    await server.restart()

    await server.join(session_id=agent.session_id, role="ui", tools=COMPANION)
    agent = await server.join(session_id=agent.session_id)
    assert "client_tool_result" not in [m["type"] for m in await agent.quiet()]
    screen = await server.join(session_id=agent.session_id, role="ui", tools="draw_a_map")
    assert [c["client_tool_call"]["tool_call_id"] for c in screen.joined["open_calls"]] == ["t1"]
    assert (await answer(screen, "t1"))["type"] == "client_tool_result"
    # What is asked from now on waits for nobody.
    await agent.call("t2", "draw_a_graph")
    assert (await agent.result("t2"))["said"] == {"status": "shown"}


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("companion_choose", TITLE, "options"),
        ("companion_choose", {"options": "air, sea"}, "options"),
        ("companion_form", TITLE, "schema"),
    ],
)
@pytest.mark.parametrize("tools", [COMPANION, f"{COMPANION},a_fifth_tool"])
async def test_a_question_with_nothing_to_tap_is_the_agents_error_at_once(
    server: Running, name: str, parameters: Message, words: str, tools: str
) -> None:
    agent, _ = await server.pair_of(tools=tools)
    call = await agent.call("t1", name, parameters=parameters)

    result = await agent.result("t1")
    assert (result["is_error"], result["said"]["status"]) == (True, "error")
    assert words in result["said"]["message"]
    assert result["timestamp"] < call["deadline_at"] - 10_000


async def test_a_screen_of_ones_own_may_ask_in_its_own_way(server: Running) -> None:
    agent, own = await server.pair_of(tools="companion_choose")
    await server.join(session_id=agent.session_id, role="ui", tools=COMPANION)
    await agent.call("t1", parameters=TITLE)

    assert "client_tool_result" not in [m["type"] for m in await agent.quiet()]
    assert (await answer(own, "t1"))["type"] == "client_tool_result"


@pytest.mark.parametrize("late", [False, True])
async def test_an_agent_withdraws_a_question(server: Running, late: bool) -> None:
    agent, screen = await server.pair_of()
    await agent.call("t1", timeout_ms=1000)
    if late:
        await agent.result("t1")
    withdrawn = await agent.say("client_tool_cancel", tool_call_id="t1")

    if not late:
        assert withdrawn["type"] == "client_tool_result"
        assert json.loads(withdrawn["result"]) == {"status": "cancelled"}
        assert (withdrawn["is_error"], withdrawn["answered_by"]) == (False, "agent")
    assert withdrawn["seq"]
    assert (await answer(screen, "t1"))["code"] == "tool_closed"
    assert await agent.refused("client_tool_cancel", tool_call_id="t1") == "tool_closed"
    assert await agent.refused("client_tool_cancel", tool_call_id="t9") == "tool_unknown"
    joined = await server.join(session_id=agent.session_id, role="ui")
    assert joined.joined["open_calls"] == []


async def test_an_answered_call_cannot_be_withdrawn(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.call("t1")
    await answer(screen, "t1")

    assert await agent.refused("client_tool_cancel", tool_call_id="t1") == "tool_closed"


async def test_a_question_nobody_waits_for_is_shown_and_its_answer_is_a_message(
    server: Running,
) -> None:
    agent, screen = await server.pair_of(tools="companion_choose")
    call = await agent.call("t1", expects_response=False, parameters=TITLE)
    assert call["deadline_at"] is None
    await agent.call("t2", "draw_a_map", expects_response=False)
    await screen.next_of("client_tool_call")

    late = await server.join(session_id=agent.session_id, role="ui")
    assert [c["released"] for c in late.joined["open_calls"]] == [True, True]
    assert not [m for m in await agent.quiet() if m["type"] == "client_tool_result"]
    message = await answer(screen, "t1")
    assert (message["type"], message["in_reply_to"]) == ("user_message", "t1")


async def test_the_agents_language_is_spoken(server: Running) -> None:
    session_id = await server.new_session(language="de")
    agent = await server.join(session_id=session_id)
    await agent.call("t1", parameters={"title": "Versand"})
    assert "Code" in (await agent.result("t1"))["said"]["say"]

    screen = await server.join(session_id=session_id, role="ui")
    late = await answer(screen, "t1", '{"status":"chosen","id":"x","label":"Express"}')
    assert late["text"] == "Zu „Versand“: Express."


@pytest.mark.parametrize("nothing", ["null", "", "{}"])
async def test_a_late_answer_that_says_nothing_is_told_in_words(
    server: Running, nothing: str
) -> None:
    agent, screen = await server.pair_of()
    await agent.call("t1", parameters=TITLE, expects_response=False)

    late = await answer(screen, "t1", nothing)
    assert late["text"] == "About “Which service?”: answered."
    assert late["result"] == nothing


async def test_waiting_over_http_gives_the_persons_answer(server: Running) -> None:
    session_id = await server.new_session()
    screen = await server.join(session_id=session_id, role="ui")
    body = {"type": "client_tool_call", "client_tool_call": {
        "tool_name": "companion_confirm", "tool_call_id": "t1", "parameters": TITLE
    }}  # fmt: skip
    asking = asyncio.create_task(
        server.http("POST", f"/sessions/{session_id}/messages?role=agent&wait=7", body)
    )
    await screen.next_of("client_tool_call")
    await answer(screen, "t1", '{"status":"confirmed"}')

    result = await asking
    assert (result.status, result.body["type"]) == (200, "client_tool_result")
    assert json.loads(result.body["result"]) == {"status": "confirmed"}


async def test_a_call_of_another_session_is_nobodys_here(server: Running) -> None:
    agent, _ = await server.pair_of()
    await agent.call("t1")
    other, other_screen = await server.pair_of()

    assert (await answer(other_screen, "t1"))["code"] == "tool_unknown"
    assert (await other.call("t1"))["seq"] == 1, "ids belong to their session"


async def test_every_call_of_a_busy_day_gets_exactly_one_result(start: Any) -> None:
    server = await start(limit_messages_per_s=0, tools="desk_tools")
    chance = random.Random(7)
    agent, screen = await server.pair_of(tools="companion_choose")
    session_id, calls = agent.session_id, [f"t{number}" for number in range(60)]
    names = ["companion_choose", "draw_a_map", "plain", "hangs", "says_no"]

    async def busy(begin: int, end: int) -> None:
        for call_id in calls[begin:end]:
            call = {"tool_name": chance.choice(names), "tool_call_id": call_id, "timeout_ms": 1000}
            for _ in range(chance.choice([1, 1, 2])):
                await agent.send("client_tool_call", **call)
            if chance.random() < 0.3:
                await agent.send("client_tool_cancel", tool_call_id=call_id)
            for _ in range(chance.choice([0, 1, 2])):
                await screen.send("client_tool_result", tool_call_id=call_id, result=CHOSEN)
            if chance.random() < 0.2:
                await asyncio.sleep(0.02)

    await busy(0, 40)
    await agent.quiet()  # what the server has not read is not accepted
    await server.restart()
    agent = await server.join(session_id=session_id)
    screen = await server.join(session_id=session_id, role="ui", tools="companion_choose")
    await busy(40, 60)
    records: list[Message] = []
    results: dict[str, int] = {}
    async with asyncio.timeout(15):
        while len(results) < len(calls):
            path = f"/sessions/{session_id}/records?limit=1000"
            records = (await server.http("GET", path)).body["records"]
            results = {r["tool_call_id"]: 0 for r in records if r["type"] == "client_tool_result"}
            await asyncio.sleep(0.05)

    for record in records:
        if record["type"] == "client_tool_result":
            results[record["tool_call_id"]] += 1
    assert set(results.values()) == {1}
    asked = [r["client_tool_call"]["tool_call_id"] for r in records if r["type"] == "client_tool_call"]
    assert asked == calls, "each was recorded once"
    late = [r["in_reply_to"] for r in records if r["type"] == "user_message"]
    assert len(late) == len(set(late)), "one late answer counts"
