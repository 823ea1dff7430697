"""Each limit: what is just within it works, one more is refused with its code."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from running import Running, Socket


def padded(size: int) -> str:
    """Return a contextual update of exactly that many bytes."""
    bare = '{"type":"contextual_update","text":""}'
    return bare.replace('""}', '"' + "x" * (size - len(bare)) + '"}')


# Sizes.


async def test_a_message_of_the_limit_is_read_and_one_byte_more_closes_1009(start: Any) -> None:
    server = await start(limit_message_bytes=5000)
    agent, screen = await server.pair_of()

    await agent.ws.send_str(padded(5000))
    assert (await agent.next())["type"] == "contextual_update"
    await agent.ws.send_str(padded(5001))
    assert await agent.close_code() == 1009
    await screen.next_of("contextual_update")
    left = await screen.next_of("presence")
    assert left["connection_id"] == agent.connection_id
    assert (await screen.say("contextual_update", text="goes on"))["seq"] == 2


async def test_the_default_message_is_64_kib(server: Running) -> None:
    agent = await server.join()
    await agent.ws.send_str(padded(65_536))
    assert (await agent.next())["type"] == "contextual_update"
    await agent.ws.send_str(padded(65_537))
    assert await agent.close_code() == 1009


async def test_a_body_of_the_limit_is_read_and_one_byte_more_is_413(start: Any) -> None:
    server = await start(limit_message_bytes=5000)
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/messages"

    assert (await server.http("POST", path, data=padded(5000).encode())).status == 200
    refused = await server.http("POST", path, data=padded(5001).encode())
    assert (refused.status, refused.code) == (413, "body_too_large")


async def test_no_limit_on_messages_is_no_limit(start: Any) -> None:
    server = await start(limit_message_bytes=0)
    agent = await server.join()
    await agent.ws.send_str(padded(5_000_000))
    assert len((await agent.next())["text"]) > 4_900_000


# Rates.


async def test_a_burst_is_taken_and_one_more_is_refused(start: Any) -> None:
    server = await start(limit_messages_per_s=0.2, limit_burst=10)
    agent, screen = await server.pair_of()
    for number in range(11):
        await agent.send("contextual_update", text="x", requestId=f"r{number}")

    said = [await agent.next() for _ in range(11)]
    refused = [message for message in said if message["type"] == "error"]
    assert [error["code"] for error in refused] == ["too_many_requests"]
    assert refused[0]["requestId"] == "r10"
    assert 0 < refused[0]["retry_after_ms"] <= 5000
    assert (await screen.say("contextual_update", text="x"))["seq"] == 11, "others are not slowed"


async def test_messages_are_taken_again_after_the_time_that_was_named(start: Any) -> None:
    server = await start(limit_messages_per_s=20, limit_burst=1)
    agent = await server.join()
    await agent.send("ping")
    await agent.send("ping")
    refused = await agent.next_of("error")
    await asyncio.sleep(refused["retry_after_ms"] / 1000)
    await agent.send("ping", requestId="later")
    assert (await agent.next_of("pong", requestId="later"))["requestId"] == "later"


async def test_a_hundred_refusals_are_borne_and_one_more_closes_4429(start: Any) -> None:
    server = await start(limit_messages_per_s=0.01, limit_burst=1)
    agent = await server.join()
    await agent.say("ping")

    for _ in range(100):
        assert await agent.refused("ping") == "too_many_requests"
    await agent.send("ping")
    assert await agent.close_code() == 4429


@pytest.mark.parametrize(("per_s", "burst"), [(0, 5), (5, 0)])
async def test_zero_messages_a_second_or_a_burst_of_zero_means_no_limit(
    start: Any, per_s: int, burst: int
) -> None:
    server = await start(limit_messages_per_s=per_s, limit_burst=burst)
    agent = await server.join()
    for number in range(300):
        await agent.send("ping", requestId=str(number))
    assert {(await agent.next())["type"] for _ in range(300)} == {"pong"}


# Connections and sessions.


async def test_a_session_has_so_many_connections_and_no_more(start: Any) -> None:
    server = await start(limit_connections_per_session=3)
    first = await server.join()
    session_id = first.session_id
    others = [await server.join(session_id=session_id, role=r) for r in ("ui", "observer")]

    for role in ("agent", "ui", "observer"):
        assert (await server.refusal(session_id=session_id, role=role)).code == 4429
    stream = await server.http(
        "GET", f"/sessions/{session_id}/records", headers={"Accept": "text/event-stream"}
    )
    assert stream.status == 429
    assert (await server.join()).joined["created"], "another session has room"
    await others[0].leave()
    await first.next_of("presence", event="left")
    assert (await server.join(session_id=session_id)).session_id == session_id


async def test_a_user_has_so_many_connections_and_no_more(start: Any) -> None:
    server = await start(limit_connections_per_user=3)
    mine = [await server.join() for _ in range(3)]

    assert (await server.refusal()).code == 4429
    assert (await server.refusal(session_id=mine[0].session_id)).code == 4429
    made = await server.http(
        "POST", f"/sessions/{mine[0].session_id}/tokens", {"role": "ui", "ttl_s": 60}
    )
    assert (await server.refusal(made.body["token"])).code == 4429, "the owner's limit counts"
    assert (await server.join(server.token("bob"))).joined["created"]
    await mine[0].leave()
    async with asyncio.timeout(5):
        while (await server.http("GET", f"/sessions/{mine[0].session_id}")).body["connections"]["agent"]:
            await asyncio.sleep(0.01)
    await server.join()


async def test_who_comes_at_the_same_time_does_not_slip_past_the_limit(start: Any) -> None:
    server = await start(limit_connections_per_user=3)

    async def attempt() -> bool:
        socket = await server.socket()
        try:
            return (await socket.next())["type"] == "session_joined"
        except Exception:
            return False

    assert sum(await asyncio.gather(*(attempt() for _ in range(10)))) == 3


async def test_zero_connections_means_no_limit(start: Any) -> None:
    server = await start(limit_connections_per_session=0, limit_connections_per_user=0)
    first = await server.join()
    for _ in range(40):
        await server.join(session_id=first.session_id)


async def test_beyond_the_limit_the_oldest_session_nobody_is_in_makes_room(start: Any) -> None:
    server = await start(limit_sessions_per_user=3)
    used = await server.join()
    idle = await server.new_session()
    await server.new_session()
    newest = await server.new_session()

    listed = (await server.http("GET", "/me/sessions")).body["sessions"]
    ids = [s["session_id"] for s in listed if s["ended_at"] is None]
    assert idle not in ids
    assert len(ids) == 3
    assert {used.session_id, newest} <= set(ids)
    assert await used.quiet() == []


async def test_sessions_in_use_make_no_room(start: Any) -> None:
    server = await start(limit_sessions_per_user=2)
    await server.join()
    paired = await server.join()
    made = await server.http("POST", f"/sessions/{paired.session_id}/pairings", {})
    await server.http("POST", "/pair", {"code": made.body["code"], "device": "Pixel"}, token=None)
    await paired.leave()

    refused = await server.http("POST", "/sessions", {})
    assert refused.status == 429
    assert refused.code
    assert (await server.refusal()).code == 4429
    assert (await server.http("POST", "/sessions", {}, token=server.token("bob"))).status == 201
    shop = server.token("shop", "service")
    full = await server.http("POST", "/sessions", {"user": "alice"}, token=shop)
    assert full.status == 429, "the owner's limits count"
    assert (await server.http("POST", "/sessions", {"user": "carol"}, token=shop)).status == 201


async def test_no_party_ends_a_session_that_another_has_opened(start: Any) -> None:
    server = await start(limit_sessions_per_user=3)
    shop, bank = server.token("shop", "service"), server.token("bank", "service")

    async def opened(token: str, **body: Any) -> Any:
        return await server.http("POST", "/sessions", body, token=token)

    mine = await server.new_session()
    for _ in range(2):
        assert (await opened(shop, user="alice")).status == 201
    refused = await opened(bank, user="alice")
    assert (refused.status, refused.code) == (429, "too_many_connections")
    theirs = await opened(shop, user="alice")
    assert theirs.status == 201, "one of its own makes room"
    assert (await server.http("GET", f"/sessions/{mine}")).body["ended_at"] is None
    assert (await server.join()).joined["created"], "and so does one of the user's own"
    assert (await server.http("GET", f"/sessions/{mine}")).body["ended_at"]
    assert (await server.refusal()).code == 4429, "the one that is left is used"
    shown = await server.http("GET", f"/sessions/{theirs.body['session_id']}", token=shop)
    assert shown.body["ended_at"] is None


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_session_with_an_open_question_makes_no_room(start: Any, restarted: bool) -> None:
    server = await start(limit_sessions_per_user=1)
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/messages"
    call = {"tool_name": "companion_confirm", "tool_call_id": "t1"}
    await server.http("POST", f"{path}?wait=5", {"type": "client_tool_call", "client_tool_call": call})
    if restarted:
        await server.restart()

    assert (await server.http("POST", "/sessions", {})).status == 429
    cancel = {"type": "client_tool_cancel", "tool_call_id": "t1"}
    assert (await server.http("POST", path, cancel)).status == 200
    assert (await server.http("POST", "/sessions", {})).status == 201


# State.


async def test_a_value_a_state_and_their_keys_have_limits(start: Any) -> None:
    server = await start(limit_value_bytes=20, limit_state_bytes=60, limit_state_keys=4)
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/state"
    just, beyond = "x" * 18, "x" * 19

    assert (await agent.say("state_update", key="a", value=just))["type"] == "state_updated"
    assert await agent.refused("state_update", key="a", value=beyond) == "state_too_large"
    refused = await server.http("PUT", f"{path}/a", beyond)
    assert (refused.status, refused.code) == (413, "state_too_large")
    assert (await agent.say("state_update", key="b", value=just))["type"] == "state_updated"
    # 2 × (3 + 20) are 46 bytes; 14 are left: a key of one letter and a value of 11.
    assert await agent.refused("state_update", key="c", value="x" * 10) == "state_too_large"
    assert (await agent.say("state_update", key="c", value="x" * 9))["type"] == "state_updated"
    assert (await agent.say("state_update", key="a", value=1))["type"] == "state_updated"
    assert (await agent.say("state_update", key="d", value=1))["type"] == "state_updated"
    assert await agent.refused("state_update", key="e", value=1) == "state_too_large"
    assert (await server.http("PUT", f"{path}/e", 1)).status == 413
    assert (await agent.say("state_update", key="d", value=2))["type"] == "state_updated"
    await agent.say("state_delete", key="d")
    assert (await server.http("PUT", f"{path}/e", 1)).status == 200
    before = (await agent.say("state_get"))["state"]
    await server.restart()
    agent = await server.join(session_id=agent.session_id)
    assert agent.joined["state"] == before
    assert await agent.refused("state_update", key="f", value=1) == "state_too_large"


async def test_values_are_measured_as_compact_json(start: Any) -> None:
    server = await start(limit_value_bytes=12)
    agent = await server.join()
    await agent.ws.send_str('{"type":"state_update","key":"k","value": { "a" : [ 1, 2 ] } }')
    assert (await agent.next())["type"] == "state_updated"  # {"a":[1,2]} has 11 bytes
    assert await agent.refused("state_update", key="k", value="é" * 6) == "state_too_large"
    assert (await agent.say("state_update", key="k", value="é" * 5))["type"] == "state_updated"


# The log.


async def test_the_log_keeps_so_many_records(start: Any) -> None:
    server = await start(limit_records=5)
    agent = await server.join()
    for _ in range(5):
        await agent.say("contextual_update", text="x")
    assert (await server.join(session_id=agent.session_id, after=0)).joined["first_seq"] == 1
    await agent.say("contextual_update", text="x")

    back = await server.join(session_id=agent.session_id, after=0)
    assert back.joined["first_seq"] == 2
    assert (await server.join(session_id=agent.session_id, after=1)).joined["recovery"] == "replay"
    await agent.say("contextual_update", text="x")
    old = await server.join(session_id=agent.session_id, after=1)
    assert old.joined["recovery"] == "snapshot"
    await server.restart()
    records = await server.http("GET", f"/sessions/{agent.session_id}/records?limit=100")
    assert [record["seq"] for record in records.body["records"]] == [3, 4, 5, 6, 7]


async def test_the_log_keeps_so_many_bytes(start: Any) -> None:
    server = await start(limit_log_bytes=10_000)
    agent = await server.join()
    records = [await agent.say("contextual_update", text="x" * 2000) for _ in range(6)]
    sizes = [len(json.dumps(record, separators=(",", ":"))) for record in records]

    kept = (await server.http("GET", f"/sessions/{agent.session_id}/records")).body
    assert kept["first_seq"] == 3
    assert sum(sizes[2:]) <= 10_000 < sum(sizes[1:])
    alone = await agent.say("contextual_update", text="x" * 20_000)
    kept = (await server.http("GET", f"/sessions/{agent.session_id}/records")).body
    assert [record["seq"] for record in kept["records"]] == [alone["seq"]]


# The outbox.


@asynccontextmanager
async def silent(server: Running, session_id: str) -> AsyncIterator[None]:
    """A peer that joins by hand with a small receive buffer, and reads the join alone."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.config.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    path = f"/ws?token={server.token()}&session_id={session_id}&role=ui"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    try:
        await reader.readuntil(b"session_joined")
        yield
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def say_much(agent: Socket, screen: Socket, count: int, size: int) -> None:
    """Say that much while the agent and a screen read along."""
    for _ in range(count):
        record = await agent.say("contextual_update", text="x" * size)
        await screen.next_of("contextual_update", seq=record["seq"])


async def dropped_code(server: Running, agent: Socket) -> int:
    """Wait until somebody was dropped, and return the code in the trail."""
    if not any(message.get("event") == "dropped" for message in agent.heard):
        await agent.next_of("presence", event="dropped")
    path = f"/sessions/{agent.session_id}/trail"
    async with asyncio.timeout(5):
        while True:  # the trail is written a moment later
            trail = (await server.http("GET", path)).body["trail"]
            codes = [int(entry["code"]) for entry in trail if entry["event"] == "dropped"]
            if codes:
                return codes[0]


async def test_who_never_reads_is_cut_off_alone_and_loses_nothing(start: Any) -> None:
    server = await start(limit_outbox_bytes=100_000, limit_messages_per_s=0)
    agent, screen = await server.pair_of()
    async with silent(server, agent.session_id):
        await say_much(agent, screen, 100, 20_000)
        assert await dropped_code(server, agent) == 4408

    heard = [message["seq"] for message in screen.heard if "seq" in message]
    assert heard[-100:] == list(range(1, 101))
    back = await server.join(session_id=agent.session_id, role="ui", after=0)
    seqs = [(await back.next_of("contextual_update"))["seq"] for _ in range(100)]
    assert seqs == list(range(1, 101))


async def test_who_takes_nothing_for_two_seconds_is_let_go_within_the_limit_too(
    start: Any,
) -> None:
    server = await start(limit_outbox_bytes=0, limit_messages_per_s=0)
    agent, screen = await server.pair_of()
    async with silent(server, agent.session_id):
        await say_much(agent, screen, 40, 20_000)  # more than the kernel holds
        assert await dropped_code(server, agent) == 4408


async def test_who_has_nothing_to_take_is_not_slow(start: Any) -> None:
    server = await start(limit_outbox_bytes=100_000)
    agent, screen = await server.pair_of()
    async with silent(server, agent.session_id):
        await say_much(agent, screen, 5, 1000)
        await asyncio.sleep(2.8)
        assert [m for m in await agent.quiet() if m["type"] == "presence"] == []


async def test_a_stop_is_quick_beside_silent_peers(server: Running) -> None:
    agent = await server.join()
    async with silent(server, agent.session_id), silent(server, agent.session_id):
        async with asyncio.timeout(6):
            await server.stop()
        assert (await agent.end()).code == 1012
        with pytest.raises(aiohttp.ClientError):
            await server.join()


# Telephone calls.


@pytest.mark.parametrize(("limit", "ready"), [(2, [True, True, False]), (0, [True, True, True])])
async def test_calls_up_to_the_limit_have_a_session_and_one_more_goes_on_by_voice(
    limit: int, ready: list[bool], start: Any
) -> None:
    server = await start(limit_calls=limit, elevenlabs_tool_secret="s3cret")
    heard = []
    for call in range(3):
        answer = await server.http(
            "POST", "/elevenlabs/init", {"call_sid": f"CA{call}"},
            headers={"X-Companion-Secret": "s3cret"}, token=None,
        )  # fmt: skip
        heard.append(answer.body["dynamic_variables"]["companion_status"])
    assert heard == ["ready" if one else "unavailable" for one in ready]


# Open calls, and what a join carries.


async def test_a_session_has_so_many_open_calls_and_no_more(start: Any) -> None:
    server = await start(limit_open_calls=3)
    agent, screen = await server.pair_of()
    for number in range(3):
        await agent.call(f"t{number}", parameters={"title": str(number)})

    refused = await agent.call("t3", parameters={})
    assert (refused["code"], "retry_after_ms" in refused) == ("too_many_requests", False)
    call = {"type": "client_tool_call", "tool_name": "companion_choose", "tool_call_id": "t3"}
    over_http = await server.http(
        "POST", f"/sessions/{agent.session_id}/messages", call
    )
    assert (over_http.status, over_http.code) == (429, "too_many_requests")
    await screen.say("client_tool_result", tool_call_id="t0", result="{}")
    assert (await agent.call("t3", parameters={}))["type"] == "client_tool_call"


async def test_open_calls_of_a_session_have_256_kib_and_no_more(start: Any) -> None:
    server = await start(limit_messages_per_s=0)
    agent, _ = await server.pair_of()
    for number in range(4):
        await agent.call(f"t{number}", "mine", parameters={"x": "x" * 60_000})

    assert (await agent.call("t4", "mine", parameters={"x": "x" * 30_000}))["code"] == (
        "too_many_requests"
    )
    assert (await agent.call("t5", "mine", parameters={"x": "x" * 10_000}))["seq"]


@pytest.mark.parametrize("recovery", [{}, {"after": 0}])
async def test_what_a_join_carries_has_a_mebibyte_at_most(start: Any, recovery: Any) -> None:
    server = await start(
        limit_open_calls=0, limit_open_calls_bytes=0, limit_state_bytes=0, limit_messages_per_s=0,
        limit_connections_per_session=0, limit_connections_per_user=0,
    )  # fmt: skip
    agent, screen = await server.pair_of()
    for number in range(40):
        await agent.call(f"t{number}", "mine", parameters={"x": "x" * 30_000}, timeout_ms=120_000)
        await agent.say("state_update", key=f"k{number}", value="y" * 30_000)
        await screen.send("screen", text="z" * 500)

    late = await server.socket(session_id=agent.session_id, role="ui", **recovery)
    frame = await late.ws.receive()
    joined = json.loads(frame.data)
    assert len(frame.data.encode()) <= 1024 * 1024
    assert joined["open_calls"][-1]["client_tool_call"]["tool_call_id"] == "t39", "newest first"
    assert "k39" in joined["state"]
    assert joined["left_out"]["open_calls"] == 40 - len(joined["open_calls"])
    assert joined["left_out"]["state"] == 40 - len(joined["state"])


async def test_a_join_that_carries_everything_says_nothing_of_leaving_out(server: Running) -> None:
    agent, _ = await server.pair_of()
    await agent.say("state_update", key="k", value=1)
    assert "left_out" not in (await server.join(session_id=agent.session_id)).joined


def test_every_limit_has_a_test_here() -> None:
    """By name, so that a new limit is not forgotten."""
    import dataclasses
    from pathlib import Path

    from companion_ws.config import Config

    text = Path(__file__).read_text()
    limits = [f.name for f in dataclasses.fields(Config) if f.name.startswith("limit_")]
    assert [name for name in limits if name not in text] == []
