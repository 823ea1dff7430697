"""Many at once: everybody sees the same facts in the same order, and every join is of one instant."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from running import Message, Running, Socket

UNLIMITED = {
    "limit_messages_per_s": 0,
    "limit_connections_per_session": 0,
    "limit_connections_per_user": 0,
}


def folded(state: dict[str, Any], records: list[Message]) -> dict[str, Any]:
    state = dict(state)
    for record in records:
        if record["type"] == "state_updated":
            state[record["key"]] = {"value": record["value"], "revision": record["revision"]}
        elif record["type"] == "state_deleted":
            state.pop(record["key"], None)
    return state


async def chatter(socket: Socket, seed: int, count: int) -> None:
    chance = random.Random(seed)
    for number in range(count):
        key = f"k{chance.randrange(5)}"
        kind = chance.choice(["state_update", "state_update", "state_delete", "contextual_update"])
        fields: dict[str, Any] = {"key": key, "value": f"{seed}.{number}", "text": "x"}
        if chance.random() < 0.3:
            fields["if_revision"] = chance.randrange(100)
        await socket.send(kind, **fields)
        await asyncio.sleep(0)


async def listen(socket: Socket) -> list[Message]:
    """Return every record until the one that says it is over."""
    records: list[Message] = []
    while True:
        message = await socket.next()
        if "seq" in message and message["type"] != "session_joined":
            records.append(message)
            if message.get("text") == "over":
                return records


async def test_every_join_in_the_middle_of_a_crowd_is_of_one_instant(start: Any) -> None:
    server = await start(**UNLIMITED)
    talkers = [await server.join()]
    session_id = talkers[0].session_id
    talkers += [await server.join(session_id=session_id, role=role) for role in ("ui", "agent")]
    witness = await server.join(session_id=session_id, role="observer")
    late: list[Socket] = []
    listening = [asyncio.create_task(listen(each)) for each in (*talkers, witness)]

    async def come_late() -> None:
        for number in range(15):
            role = ("ui", "observer")[number % 2]
            socket = await server.join(
                session_id=session_id, role=role, after=(None, 0, number * 10)[number % 3]
            )
            late.append(socket)
            listening.append(asyncio.create_task(listen(socket)))

    async with asyncio.TaskGroup() as group:
        for seed, talker in enumerate(talkers):
            group.create_task(chatter(talker, seed, 120))
        group.create_task(come_late())
    await talkers[0].send("user_message", text="over")
    heard = await asyncio.gather(*listening)

    truth = heard[len(talkers)]
    assert [record["seq"] for record in truth] == list(range(1, len(truth) + 1))
    final = folded({}, truth)
    for records in heard[: len(talkers)]:
        assert records == truth
    for socket, records in zip(late, heard[len(talkers) + 1 :], strict=True):
        at = socket.joined["seq"]
        assert socket.joined["state"] == folded({}, truth[:at])
        first = at + 1
        if socket.joined["recovery"] == "replay":
            first = records[0]["seq"] if records else first
        assert records == truth[first - 1 :]
        assert folded(socket.joined["state"], [r for r in records if r["seq"] > at]) == final
    assert (await server.http("GET", f"/sessions/{session_id}/state")).body == final


async def test_of_many_who_want_to_be_first_one_is(server: Running) -> None:
    agent = await server.join()
    sockets = [await server.join(session_id=agent.session_id, role="ui") for _ in range(8)]
    answers = await asyncio.gather(
        *(s.say("state_update", key="winner", value=n, if_revision=0) for n, s in enumerate(sockets))
    )

    kinds = sorted(answer["type"] for answer in answers)
    assert kinds == ["error"] * 7 + ["state_updated"]
    winner = next(answer for answer in answers if answer["type"] == "state_updated")
    for answer in answers:
        if answer["type"] == "error":
            assert (answer["code"], answer["value"]) == ("revision_conflict", winner["value"])


async def test_sessions_do_not_hear_each_other(server: Running) -> None:
    agents = [await server.join(server.token(f"user{n}")) for n in range(6)]
    for number, agent in enumerate(agents):
        await agent.send("contextual_update", text=str(number))

    for number, agent in enumerate(agents):
        assert (await agent.next())["text"] == str(number)
        assert await agent.quiet() == []


async def test_the_owner_is_asked_and_answers_on_a_socket(start: Any) -> None:
    server = await start(pairing="confirm")
    agent = await server.join()
    page = await server.join(session_id=agent.session_id, role="observer")
    stranger = await server.join(server.token("mallory"))
    made = await server.http("POST", f"/sessions/{agent.session_id}/pairings", {})
    for allow, status in ((False, 403), (True, 201)):
        code = {"code": made.body["code"], "device": "Pixel 7"}
        claimed = await server.http("POST", "/pair", code, token=None)
        assert claimed.status == 202
        asked = await page.next_of("pairing_request")
        assert asked.keys() >= {
            "pairing_id", "device", "verification", "expires_at", "session_id", "timestamp"
        }  # fmt: skip
        assert "seq" not in asked
        assert asked["device"] == "Pixel 7"
        assert asked["verification"] == claimed.body["verification"]
        assert asked["session_id"] == agent.session_id
        waiting = await server.http("POST", "/pair", {"claim": claimed.body["claim"]}, token=None)
        assert waiting.status == 202
        answer = {"pairing_id": asked["pairing_id"], "allow": allow}
        assert (await stranger.say("pairing_answer", **answer))["type"] == "error"
        await page.send("pairing_answer", **answer)
        await page.quiet()
        done = await server.http("POST", "/pair", {"claim": claimed.body["claim"]}, token=None)
        assert done.status == status
        made = await server.http("POST", f"/sessions/{agent.session_id}/pairings", {})
    phone = await server.join(done.body["token"])
    assert (phone.joined["role"], phone.joined["device_id"]) == ("ui", done.body["device_id"])
    assert "seq" not in await phone.say("token_renew")
    assert (await phone.say("pairing_answer", **answer))["code"] == "forbidden"


async def test_a_paired_phone_is_named_and_can_be_sent_away(server: Running) -> None:
    agent = await server.join()
    made = await server.http("POST", f"/sessions/{agent.session_id}/pairings", {})
    ticket = made.body["url"].partition("#")[2]
    pair = {"ticket": ticket, "device": "Pixel 7"}
    paired = await server.http("POST", "/pair", pair, token=None)
    assert paired.status == 201
    assert (await server.http("POST", "/pair", pair, token=None)).status in (403, 404, 410)
    phone = await server.join(paired.body["token"])

    came = await agent.next_of("presence", event="joined")
    assert (came["device"], came["device_id"]) == ("Pixel 7", paired.body["device_id"])
    devices = (await server.http("GET", "/me/devices")).body["devices"]
    assert [device["device"] for device in devices] == ["Pixel 7"]
    path = f"/sessions/{agent.session_id}/devices/{paired.body['device_id']}"
    assert (await server.http("DELETE", path)).status in (200, 204)
    assert await phone.close_code() == 4501
    assert (await server.refusal(paired.body["token"])).code == 4501
    await agent.next_of("presence", connection_id=phone.connection_id)


async def test_without_fsync_everything_else_holds(start: Any) -> None:
    server = await start(durability="process")
    agent = await server.join()
    record = await agent.say("contextual_update", text="x")
    await server.restart()

    back = await server.join(session_id=agent.session_id, after=0)
    assert await back.next() == record


@pytest.mark.parametrize("size", [0, 125, 126, 65_000])
async def test_messages_of_every_frame_length_come_through(server: Running, size: int) -> None:
    agent, screen = await server.pair_of()
    await agent.send("contextual_update", text="x" * size)

    assert (await screen.next_of("contextual_update"))["text"] == "x" * size


async def test_nothing_is_told_before_session_joined(start: Any) -> None:
    server = await start(**UNLIMITED)
    agent = await server.join()
    is_over = asyncio.Event()

    async def keep_the_disk_busy() -> None:
        while not is_over.is_set():
            for _ in range(20):
                await agent.send("state_update", key="k", value="x" * 5000)
            await agent.quiet()

    async def come_in_haste() -> None:
        ping = b'{"type":"ping"}'
        frame = bytes((0x81, 0x80 | len(ping))) + bytes(4) + ping
        for _ in range(40):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port)
            path = f"/ws?token={server.token()}&session_id={agent.session_id}&role=ui"
            head = (
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n"
            )
            writer.write(head.encode() + frame)
            said = await reader.readuntil(b'"pong"')
            assert said.index(b'"session_joined"') < said.index(b'"pong"')
            writer.transport.abort()
        is_over.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(keep_the_disk_busy())
        group.create_task(come_in_haste())
