"""Sockets and streams that come in by another server than the one that has their session."""

from __future__ import annotations

import asyncio
import gc
import socket
from urllib.parse import urlsplit

import aiohttp
import pytest
from entrance import Entrance, before, fake_owner, place_of
from running import WAIT_S, Running, Socket, free_port

from companion_ws.nodes.place import Node
from companion_ws.nodes.splice import CLOSE_S, HELD_BYTES, Edges
from companion_ws.sessions.outbox import close_frame, frame
from companion_ws.web.guard.passing import LOOK_AGAIN

HANDSHAKE = (
    "Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
NOTHING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
"""What a pass is answered whose key is not known there yet."""
LOOK = f"HTTP/1.1 503 Service Unavailable\r\n{LOOK_AGAIN}: 1\r\nContent-Length: 0\r\n\r\n".encode()


def masked(payload: bytes, opcode: int = 0x1) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


async def joined_by(entrance: Entrance, server: Running, **params: str) -> Socket:
    ws = await server.http_session.ws_connect(
        f"{entrance.url}/ws", params={"token": server.token(), **params}, max_msg_size=0
    )
    screen = Socket(ws)
    screen.joined = await screen.next()
    return screen


async def raw(
    entrance: Entrance, path: str, more: bytes = b"", headers: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the entrance and send a handshake, and what comes with it.

    The kernel takes little of what is not read.
    """
    place = urlsplit(entrance.url)
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    one.connect((place.hostname, place.port))
    one.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=one)
    writer.write(f"GET {path} HTTP/1.1\r\n{headers}{HANDSHAKE}".encode() + more)
    return reader, writer


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Return what is read until the connection ends, reset or not."""
    read = b""
    async with asyncio.timeout(WAIT_S):
        try:
            while piece := await reader.read(65536):
                read += piece
        except ConnectionError:
            pass
    return read


async def test_a_screen_and_an_agent_on_two_servers_see_everything_in_order(server: Running) -> None:
    async with before(server) as entrance:
        agent = await server.join()
        screen = await joined_by(entrance, server, session_id=agent.session_id, role="ui")
        assert screen.joined["session_id"] == agent.session_id
        assert (await agent.next_of("presence", event="joined"))["role"] == "ui"
        for number in range(50):
            await agent.send("state_update", key="n", value=number)
            await screen.send("user_message", text=f"{number}")
        texts: dict[Socket, list[int]] = {}
        for each in (agent, screen):
            records = [await each.next_of("state_updated", "user_message") for _ in range(100)]
            texts[each] = [record["seq"] for record in records]
        assert texts[agent] == texts[screen] == list(range(1, 101))
        trail = (await server.http("GET", f"/sessions/{agent.session_id}/trail")).body["trail"]
        assert [(each["event"], each["role"]) for each in trail] == [("joined", "agent"), ("joined", "ui")]
        assert len(entrance.splices) == 1
        await screen.leave()
        assert (await agent.next_of("presence"))["event"] == "left"


async def test_pings_pass_both_ways_and_the_entrance_says_none_itself(server: Running) -> None:
    async with before(server) as entrance:
        session_id = await server.new_session()
        reader, writer = await raw(
            entrance, f"/ws?token={server.token()}&session_id={session_id}", masked(b"hello", 0x9)
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101")
        read = b""
        async with asyncio.timeout(WAIT_S):
            # Sent before the handshake was answered, and answered all the same.
            while frame(b"hello", 0xA) not in read:
                read += await reader.read(4096)
        assert b"session_joined" in read
        writer.close()


async def test_a_client_that_announces_a_body_is_joined_all_the_same(server: Running) -> None:
    async with before(server) as entrance:
        session_id = await server.new_session()
        reader, writer = await raw(
            entrance, f"/ws?token={server.token()}&session_id={session_id}",
            headers="Expect: 100-continue\r\nContent-Length: 0\r\n",
        )  # fmt: skip
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(masked(b"hello", 0x9))
        async with asyncio.timeout(WAIT_S):
            await reader.readuntil(frame(b"hello", 0xA))
        writer.close()


@pytest.mark.parametrize("params, code", [
    ({"token": "cwu_wrong"}, 4501), ({"role": "boss"}, 4500),
    ({"session_id": "4f6b0d1e-0000-4000-8000-000000000000", "strict": "1"}, 4504),
])  # fmt: skip
async def test_codes_of_a_refusal_reach_the_client(
    server: Running, params: dict[str, str], code: int
) -> None:
    async with before(server) as entrance:
        async with server.http_session.ws_connect(
            f"{entrance.url}/ws", params={"token": server.token(), **params}
        ) as ws:
            message = await ws.receive(WAIT_S)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)
            assert message.extra, "the owner's words"


async def test_the_code_of_an_end_reaches_the_client_and_the_clients_reaches_the_owner(
    server: Running,
) -> None:
    async with before(server) as entrance:
        one = await joined_by(entrance, server)
        two = await joined_by(entrance, server, session_id=one.session_id, role="ui")
        await two.ws.close(code=4000, message=b"gone to lunch")
        trail: list[dict[str, object]] = []
        async with asyncio.timeout(WAIT_S):
            while not any(each["event"] == "left" for each in trail):
                trail = (await server.http("GET", f"/sessions/{one.session_id}/trail")).body["trail"]
        left = next(each for each in trail if each["event"] == "left")
        assert (left["code"], left["reason"]) == (4000, "gone to lunch")
        await server.http("DELETE", f"/sessions/{one.session_id}")
        assert (await one.end()).code == 4510


async def test_a_refusal_before_the_handshake_ends_the_connection_and_nothing_follows_it(
    server: Running,
) -> None:
    async with before(server) as entrance:
        smuggled = b"GET /me/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        reader, writer = await raw(entrance, "/ws?token=a&token=b", smuggled)
        answer = await rest_of(reader)
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1 ") == 1
        writer.close()


async def test_an_event_stream_is_carried_and_ends_with_its_reader(server: Running) -> None:
    async with before(server) as entrance:
        agent = await server.join()
        url = f"{entrance.url}/sessions/{agent.session_id}/records"
        headers = {"Authorization": f"Bearer {server.token()}", "Accept": "text/event-stream"}
        async with server.http_session.get(url, headers=headers) as stream:
            assert stream.status == 200
            await agent.say("contextual_update", text="hello")
            read = b""
            async with asyncio.timeout(WAIT_S):
                while b'"text":"hello"' not in read:
                    read += await stream.content.readany()
            assert read.startswith(b'data: {"type":"session_joined"')
        async with asyncio.timeout(WAIT_S):
            while len(server.sessions.connections) > 1 or len(entrance.splices):
                await asyncio.sleep(0.01)


async def test_a_reader_who_stops_holds_64_kib_at_the_entrance_and_gets_all_of_it_later(
    server: Running,
) -> None:
    async with before(server) as entrance:
        agent = await server.join()
        path = f"/ws?token={server.token()}&session_id={agent.session_id}&role=ui"
        reader, writer = await raw(entrance, path)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        text, most = "x" * 30_000, 0
        for number in range(40):
            await agent.say("contextual_update", text=f"{number} {text}")
            most = max(most, entrance.splices.held_bytes)
        assert 0 < most <= HELD_BYTES
        writer.transport.resume_reading()
        read = b""
        async with asyncio.timeout(WAIT_S):
            while f'"text":"39 {text[:9]}'.encode() not in read:
                read += await reader.read(65536)
        assert read.count(b'"type":"contextual_update"') == 40
        writer.close()


async def test_a_reader_who_never_reads_again_is_cut_off(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion_ws.nodes.splice.STALL_S", 0.5)
    async with before(server) as entrance:
        agent = await server.join()
        path = f"/ws?token={server.token()}&session_id={agent.session_id}"
        reader, writer = await raw(entrance, path)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        for number in range(40):
            await agent.say("contextual_update", text=f"{number} {'x' * 30_000}")
        async with asyncio.timeout(WAIT_S):
            while len(entrance.splices):
                await asyncio.sleep(0.01)
        writer.close()


async def test_a_socket_whose_owner_is_lost_is_closed_1012(server: Running) -> None:
    async with before(server) as entrance:
        screen = await joined_by(entrance, server)
        next(iter(server.sessions.connections)).outbox.abort()
        closed = await screen.end()
        assert closed.code == 1012
        assert "reconnect" in closed.reason


async def test_an_owner_that_is_not_alive_any_more_is_lost_though_its_connection_stands(
    server: Running,
) -> None:
    async with before(server) as entrance:
        screen = await joined_by(entrance, server)
        entrance.places.node = None
        assert (await screen.end()).code == 1012


async def test_an_owner_that_cannot_be_reached_any_more_is_lost_though_it_lives(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion_ws.nodes.verbs.PROBE_S", 0.2)
    async with fake_owner(UPGRADED, frame(b"x"), hangs=True) as node, before(server, node) as entrance:
        reader, writer = await raw(entrance, "/ws")
        answer = await rest_of(reader)
        assert answer.endswith(b"reconnect.")
        assert (1012).to_bytes(2) in answer
        writer.close()


async def test_a_server_that_stops_closes_what_it_carries_1012(server: Running) -> None:
    async with before(server) as entrance:
        screen = await joined_by(entrance, server)
        reading = asyncio.create_task(screen.end())
        await entrance.splices.part_all()
        assert (await reading).code == 1012


@pytest.mark.parametrize("is_half", [True, False])
async def test_in_the_middle_of_a_frame_a_lost_owner_says_nothing(
    server: Running, is_half: bool
) -> None:
    whole = frame(b"x" * 300)
    said = whole + (whole[:-1] if is_half else b"")
    async with fake_owner(UPGRADED + said[:1], said[1:]) as node, before(server, node) as entrance:
        reader, writer = await raw(entrance, "/ws")
        answer = await rest_of(reader)
        after = answer.partition(b"\r\n\r\n")[2]
        assert after.startswith(said)
        told = after[len(said) :]
        if is_half:
            assert told == b""
        else:
            assert (told[:1], told[2:4]) == (b"\x88", (1012).to_bytes(2))
        writer.close()


async def test_a_close_frame_of_the_owner_is_the_last_word(server: Running) -> None:
    said = frame(b"bye") + close_frame(4408, "slow")
    async with fake_owner(UPGRADED, said) as node, before(server, node) as entrance:
        reader, writer = await raw(entrance, "/ws")
        assert (await rest_of(reader)).endswith(said)
        writer.close()


@pytest.mark.parametrize("said", [LOOK, NOTHING])
async def test_where_the_owner_is_none_any_more_the_entrance_looks_again(
    server: Running, said: bytes
) -> None:
    async with fake_owner(said) as node, before(server, node) as entrance:
        joining = asyncio.create_task(joined_by(entrance, server))
        async with asyncio.timeout(WAIT_S):
            while entrance.places.looks < 2:
                await asyncio.sleep(0.01)
        entrance.places.node = place_of(server)
        screen = await joining
        assert screen.joined["type"] == "session_joined"
        await screen.leave()


async def test_while_no_owner_answers_who_comes_is_held_until_the_session_is_here(
    server: Running,
) -> None:
    nobody = Node("owner", f"http://127.0.0.1:{free_port()}")
    async with before(server, nobody) as entrance:
        asking = asyncio.create_task(server.http_session.get(f"{entrance.url}/sessions/1/records"))
        async with asyncio.timeout(WAIT_S):
            while entrance.places.looks < 3:
                await asyncio.sleep(0.01)
        assert not asking.done()
        entrance.places.node = None
        async with await asking as answer:
            assert await answer.text() == "here"


async def test_an_owner_that_takes_a_request_and_stands_still_is_awaited_no_longer_than_it_lives(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion_ws.nodes.splice.ANSWER_S", 100 * WAIT_S)
    async with fake_owner(hangs=True) as node, before(server, node) as entrance:
        asking = asyncio.create_task(server.http_session.get(f"{entrance.url}/sessions/1/records"))
        async with asyncio.timeout(WAIT_S):
            while not entrance.places.looks:
                await asyncio.sleep(0.01)
            entrance.places.node = None
            async with await asking as answer:
                assert await answer.text() == "here"


async def test_a_client_that_goes_while_it_is_carried_is_gone_at_the_owner(server: Running) -> None:
    async with before(server) as entrance:
        screen = await joined_by(entrance, server)
        screen.vanish()
        async with asyncio.timeout(WAIT_S):
            while len(server.sessions.connections) or len(entrance.splices):
                await asyncio.sleep(0.01)


async def test_carried_connections_leave_nothing_for_the_collector(server: Running) -> None:
    async with before(server) as entrance:
        session_id = await server.new_session()
        path = f"/ws?token={server.token()}&session_id={session_id}"

        async def come_and_go() -> None:
            reader, writer = await raw(entrance, path)
            await reader.readuntil(b"session_joined")
            writer.write(masked((1000).to_bytes(2), 0x8))
            await rest_of(reader)
            writer.close()
            await writer.wait_closed()

        await come_and_go()
        await asyncio.sleep(0.1)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(10):
                await come_and_go()
            async with asyncio.timeout(WAIT_S):
                while len(entrance.splices) or len(server.sessions.connections):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(2 * CLOSE_S)  # Timers that would have cut them off have run.
            gc.collect()
            found = [type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("companion_ws.nodes")]
            assert found == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_edges_of_frames_are_found_in_whatever_pieces_they_come(piece: int) -> None:
    sizes = [0, 1, 125, 126, 127, 65535, 65536, 70000]
    frames = [frame(b"x" * size) for size in sizes]
    frames.append(masked(b"abc"))
    stream, ends, at = b"".join(frames), set[int](), 0
    for each in frames:
        at += len(each)
        ends.add(at)
    edges, seen = Edges(), set[int]()
    assert edges.is_between
    for start in range(0, len(stream), piece):
        edges.feed(stream[start : start + piece])
        if edges.is_between:
            seen.add(min(start + piece, len(stream)))
    assert seen == {end for end in ends if end % piece == 0 or end == len(stream)}
    assert not edges.has_closed
    edges.feed(close_frame(4510, "over")[:3])
    assert edges.has_closed


