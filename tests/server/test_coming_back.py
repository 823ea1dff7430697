"""Coming back with `after`: what was missed follows once, in order, and then live."""

from __future__ import annotations

import asyncio
from typing import Any

from running import Running, Socket


async def fill(socket: Socket, count: int) -> None:
    for number in range(count):
        await socket.send("contextual_update", text=f"n{number}")
    while True:
        record = await socket.next_of("contextual_update")
        if record["text"] == f"n{count - 1}":
            return


async def seqs_until(socket: Socket, last: int) -> list[int]:
    seqs: list[int] = []
    while not seqs or seqs[-1] < last:
        message = await socket.next()
        if "seq" in message:
            seqs.append(message["seq"])
    return seqs


async def test_a_screen_that_comes_back_sees_what_it_missed(server: Running) -> None:
    agent, screen = await server.pair_of()
    await agent.say("contextual_update", text="first")
    seen = (await screen.next_of("contextual_update"))["seq"]
    await screen.leave()
    await fill(agent, 5)

    back = await server.join(
        session_id=agent.session_id, role="ui", after=seen, epoch=agent.joined["epoch"]
    )
    assert back.joined["recovery"] == "replay"
    assert await seqs_until(back, 6) == [2, 3, 4, 5, 6]
    await agent.say("contextual_update", text="live")
    assert (await back.next_of("contextual_update"))["seq"] == 7


async def test_who_missed_nothing_gets_a_replay_of_nothing(server: Running) -> None:
    agent = await server.join()
    await fill(agent, 3)

    back = await server.join(session_id=agent.session_id, after=3)
    assert (back.joined["recovery"], back.joined["seq"]) == ("replay", 3)
    assert await back.quiet() == []


async def test_after_zero_is_a_replay_of_everything_kept(start: Any) -> None:
    server = await start(limit_records=10)
    agent = await server.join()
    empty = await server.join(session_id=agent.session_id, after=0)
    assert (empty.joined["recovery"], empty.joined["first_seq"]) == ("replay", None)
    await fill(agent, 25)

    for epoch in (None, "another"):
        back = await server.join(session_id=agent.session_id, after=0, epoch=epoch)
        assert (back.joined["recovery"], back.joined["first_seq"]) == ("replay", 16)
        assert await seqs_until(back, 25) == list(range(16, 26))


async def test_who_asks_further_back_than_is_kept_gets_the_snapshot(start: Any) -> None:
    server = await start(limit_records=10)
    agent = await server.join()
    await fill(agent, 25)

    last_kept = await server.join(session_id=agent.session_id, after=15)
    assert last_kept.joined["recovery"] == "replay"
    assert await seqs_until(last_kept, 25) == list(range(16, 26))
    beyond = await server.join(session_id=agent.session_id, after=14)
    assert beyond.joined["recovery"] == "snapshot"
    assert await beyond.quiet() == [], "nothing is replayed"
    await agent.say("contextual_update", text="live")
    assert (await beyond.next_of("contextual_update"))["seq"] == 26


async def test_what_lies_ahead_or_in_another_log_is_answered_by_the_snapshot(
    server: Running,
) -> None:
    agent = await server.join()
    await fill(agent, 3)

    for params in ({"after": 4}, {"after": 2, "epoch": "another"}):
        back = await server.join(session_id=agent.session_id, **params)
        assert (back.joined["recovery"], back.joined["seq"]) == ("snapshot", 3)
        assert await back.quiet() == []
    plain = await server.join(session_id=agent.session_id, epoch="another")
    assert plain.joined["recovery"] == "none"


async def test_a_long_replay_under_live_traffic_misses_nothing_and_repeats_nothing(
    start: Any,
) -> None:
    server = await start(limit_messages_per_s=0)
    agent = await server.join()
    await fill(agent, 700)

    back = await server.join(session_id=agent.session_id, role="ui", after=0)

    async def go_on() -> None:
        for number in range(300):
            await agent.send("contextual_update", text=f"live {number}")
            if number % 20 == 0:
                await asyncio.sleep(0)

    going = asyncio.create_task(go_on())
    assert await seqs_until(back, 1000) == list(range(1, 1001))
    await going


async def test_history_does_not_change_the_state_that_joined_tells(server: Running) -> None:
    agent = await server.join()
    for value in (1, 2, 3):
        await agent.say("state_update", key="step", value=value)

    back = await server.join(session_id=agent.session_id, after=0)
    assert back.joined["state"] == {"step": {"value": 3, "revision": 3}}
    assert back.joined["seq"] == 3
    assert await seqs_until(back, 3) == [1, 2, 3]


async def test_a_restart_keeps_everything_and_the_epoch(server: Running) -> None:
    agent = await server.join()
    await agent.say("state_update", key="step", value={"a": 1.5})
    await agent.say("contextual_update", text="card", data={"cost": 12.99}, context_id="c")
    before = await server.join(session_id=agent.session_id, role="observer")
    await server.restart()

    back = await server.join(session_id=agent.session_id, role="observer", after=1)
    for same in ("session_id", "seq", "first_seq", "epoch", "state", "cards", "user"):
        assert back.joined[same] == before.joined[same], same
    assert (await back.next())["text"] == "card"


async def test_a_screen_that_joins_late_is_never_blank(server: Running) -> None:
    agent = await server.join()
    await agent.say("contextual_update", text="old", context_id="quote")
    await agent.say("contextual_update", text="new", context_id="quote")
    for number in range(20):
        await agent.say("contextual_update", text=str(number))

    late = await server.join(session_id=agent.session_id, role="ui")
    assert [card["text"] for card in late.joined["cards"]] == [str(n) for n in range(20)]
    await agent.say("contextual_update", text="newest", context_id="quote")
    late = await server.join(session_id=agent.session_id, role="ui")
    texts = [card["text"] for card in late.joined["cards"]]
    assert texts == [*(str(n) for n in range(1, 20)), "newest"]
    assert all(card["seq"] and card["sender"] for card in late.joined["cards"])


async def test_cards_of_a_late_screen_stay_within_128_kib(start: Any) -> None:
    server = await start(limit_messages_per_s=0)
    agent = await server.join()
    for number in range(4):
        await agent.say("contextual_update", text="x" * 60_000, context_id=f"c{number}")

    late = await server.join(session_id=agent.session_id, role="ui")
    assert [card["context_id"] for card in late.joined["cards"]] == ["c2", "c3"]


async def test_cards_and_questions_outlive_the_trimming_of_their_records(start: Any) -> None:
    server = await start(limit_records=3)
    agent, _ = await server.pair_of()
    for number in range(5):
        await agent.say("contextual_update", text=str(number), context_id=f"c{number % 4}")
    question = await agent.call("t1")
    for number in range(20):
        await agent.say("state_update", key="k", value=number)

    late = await server.join(session_id=agent.session_id, role="ui")
    for _ in range(2):
        assert [card["text"] for card in late.joined["cards"]] == ["1", "2", "3", "4"]
        [open_call] = late.joined["open_calls"]
        assert open_call["client_tool_call"] == question["client_tool_call"]
        assert late.joined["first_seq"] == 24
        await server.restart()
        late = await server.join(session_id=agent.session_id, role="ui")
    await late.say("contextual_update", text="new", context_id="c2")
    for number in range(5):
        await late.say("state_update", key="k", value=number)
    await server.restart()
    late = await server.join(session_id=agent.session_id, role="ui", after=0)
    assert [card["text"] for card in late.joined["cards"]] == ["1", "3", "4", "new"]
