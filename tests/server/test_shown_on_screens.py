"""What screens say they have shown: passed to agents, measured, and noted where it matters."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from running import Message, Running, Socket


async def noted(server: Running, session_id: str) -> list[Message]:
    answer = await server.http("GET", f"/sessions/{session_id}/records?after=0&limit=1000")
    return [{name: part for name, part in each.items() if name != "at"} for each in answer.body["rendered"]]


async def until_noted(server: Running, session_id: str, count: int) -> list[Message]:
    async with asyncio.timeout(20):
        while len(found := await noted(server, session_id)) < count:
            await asyncio.sleep(0.01)
    return found


async def paired(server: Running, session_id: str) -> Socket:
    made = await server.http("POST", f"/sessions/{session_id}/pairings", {})
    entered = await server.http("POST", "/pair", {"code": made.body["code"], "device": "Pixel"}, token=None)
    return await server.join(entered.body["token"])


async def test_a_question_is_noted_once_for_each_device_and_a_card_only_with_a_problem(
    server: Running,
) -> None:
    agent, screen = await server.pair_of()
    session_id = agent.session_id
    phone = await paired(server, session_id)
    card = await agent.say("contextual_update", text="quote_ready", ui={"x": 1})
    call = await agent.call("t1", "companion_confirm")

    for _ in range(3):
        await screen.send("rendered", of_seq=call["seq"])
        await screen.send("rendered", of_seq=card["seq"])
        await phone.send("rendered", of_seq=call["seq"], problem="The picture cannot be shown.")
    await phone.send("rendered", of_seq=card["seq"], problem="It has no root.")
    await phone.send("rendered", of_seq=99, problem="There is no such record.")
    told = [await agent.next_of("rendered") for _ in range(11)]
    assert told[-2]["problem"] == "It has no root."
    device = phone.joined["device_id"]
    expected = [
        {"of_seq": card["seq"], "device_id": device, "problem": "It has no root."},
        {"of_seq": call["seq"], "device_id": None, "problem": None},
        {"of_seq": call["seq"], "device_id": device, "problem": "The picture cannot be shown."},
    ]
    key = lambda each: (each["of_seq"], str(each["device_id"]))  # noqa: E731
    assert sorted(await until_noted(server, session_id, 3), key=key) == sorted(expected, key=key)
    await server.restart()
    back = await server.join(session_id=session_id, role="ui")
    await back.send("rendered", of_seq=call["seq"], problem="late")
    await back.quiet()
    assert sorted(await noted(server, session_id), key=key) == sorted(expected, key=key)


async def test_over_http_it_is_measured_and_noted_too(server: Running) -> None:
    agent = await server.join()
    call = await agent.call("t1", "companion_confirm")
    path = f"/sessions/{agent.session_id}/messages?role=ui"
    said = await server.http("POST", path, {"type": "rendered", "of_seq": call["seq"]})
    assert said.status == 200

    await until_noted(server, agent.session_id, 1)
    metrics = await server.http_session.get(f"{server.url}/metrics")
    assert re.search(r"companion_rendered_seconds_count 1\.0", await metrics.text())


async def test_notes_go_with_their_records_and_count_with_the_log(start: Any) -> None:
    server = await start(limit_records=40, limit_messages_per_s=0)
    agent, screen = await server.pair_of()
    call = await agent.call("t1", "companion_confirm")
    await screen.send("rendered", of_seq=call["seq"])
    await until_noted(server, agent.session_id, 1)
    for _ in range(80):
        await agent.say("user_message", text="x")
    live = await server.sessions.live(agent.session_id)
    assert live is not None
    assert (live.session.rendered, live.session.rendered_bytes) == ({}, 0)
    assert await noted(server, agent.session_id) == []

    narrow = await start(limit_log_bytes=20_000, limit_messages_per_s=0)
    agent, screen = await narrow.pair_of()
    cards = [await agent.say("contextual_update", text="x") for _ in range(40)]
    for card in cards:
        await screen.send("rendered", of_seq=card["seq"], problem="p" * 500)
    await until_noted(narrow, agent.session_id, 40)
    await agent.say("contextual_update", text="x")
    live = await narrow.sessions.live(agent.session_id)
    assert live is not None
    assert live.session.log_bytes + live.session.rendered_bytes <= 20_000 or live.session.first_seq == live.session.seq
