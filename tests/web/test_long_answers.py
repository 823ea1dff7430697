"""Long answers: whole, in pieces, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from companion_ws.database.sqlite import copies
from companion_ws.sessions import store
from companion_ws.web.guard import pieces
from tests.running import WAIT_S, Running

UNLIMITED: Any = {"limit_messages_per_s": 0, "limit_sessions_per_user": 0}


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with Running(**UNLIMITED) as running:
        yield running


async def talked(server: Running, records: int, size: int) -> str:
    agent = await server.join()
    for number in range(records):
        await agent.send("contextual_update", text=f"{number} " + "x" * size)
        if number % 5 == 4:
            await agent.next_of("contextual_update", text=f"{number} " + "x" * size)
    await agent.send("state_update", key="k", value={"a": [1]}, requestId="last")
    await agent.next_of("state_updated", requestId="last")
    return agent.session_id


async def test_an_export_of_several_logs_is_whole_and_comes_in_pieces(server: Running) -> None:
    ids = [await talked(server, 40, 10_000) for _ in range(3)]
    answer = await server.http("GET", "/me/export")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    exported = answer.body
    assert {"user", "tokens", "devices", "sessions"} <= set(exported)
    assert [session["session_id"] for session in exported["sessions"]] == ids[::-1]
    for session in exported["sessions"]:
        assert [record["seq"] for record in session["records"]] == list(range(1, 42))
        assert session["state"]["k"]["value"] == {"a": [1]}
        assert session["trail"][0]["event"] == "joined"
    assert (await server.http("GET", "/me/export", token=server.token("nobody"))).body == {
        **(await server.http("GET", "/me/export", token=server.token("nobody"))).body,
        "user": "nobody", "sessions": [],
    }  # fmt: skip
    assert (await server.http("HEAD", "/me/export")).status == 200


async def test_others_are_served_between_the_pieces_of_an_export(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the clock: what the loop does between two pieces is counted."""
    for _ in range(3):
        await talked(server, 60, 20_000)
    sizes: list[int] = []
    real = pieces._write

    async def noted(request: Any, response: Any, data: bytes) -> None:
        sizes.append(len(data))
        await real(request, response, data)

    monkeypatch.setattr(pieces, "_write", noted)
    turns = 0
    is_over = False

    async def others() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            await asyncio.sleep(0)

    going = asyncio.create_task(others())
    await server.http("GET", "/me/export")
    is_over = True
    await going
    assert len(sizes) > 20
    assert max(sizes) < 2 * pieces.AT_ONCE_BYTES + 32_768
    assert turns > len(sizes)


@pytest.mark.parametrize("limit", [1, 99, 100, 101, 1000])
async def test_a_page_of_records_ends_at_its_limit_and_says_what_is_next(
    server: Running, limit: int
) -> None:
    session_id = await talked(server, 100, 3000)
    after: int | None = 0
    seqs: list[int] = []
    while after is not None:
        path = f"/sessions/{session_id}/records?after={after}&limit={limit}"
        page = (await server.http("GET", path)).body
        assert page["first_seq"] == 1
        assert len(page["records"]) <= limit
        seqs += [record["seq"] for record in page["records"]]
        after = page["next"]
        if limit == 1:
            assert after == 1
            return
    assert seqs == list(range(1, 102))


async def test_an_empty_log_is_a_page_too(server: Running) -> None:
    page = await server.http("GET", f"/sessions/{await server.new_session()}/records")
    assert {"records": [], "first_seq": None, "next": None}.items() <= page.body.items()


async def test_a_list_of_more_tokens_than_are_read_at_once_is_whole(server: Running) -> None:
    admin = server.token("root", "admin")
    made = [
        (await server.http("POST", "/tokens", {"user": f"u{n % 3}", "role": "user"}, token=admin))
        .body["id"]
        for n in range(12)
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("companion_ws.access.credentials.LISTED_AT_ONCE", 5)
        listed = (await server.http("GET", "/tokens", token=admin)).body["tokens"]
        ones = (await server.http("GET", "/tokens?user=u1", token=admin)).body["tokens"]
    assert {token["id"] for token in listed} == set(made)
    assert len(listed) == 12
    assert [token["user"] for token in ones] == ["u1"] * 4


async def test_who_reads_no_further_is_let_go_of(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PATIENCE_S", 0.3)
    await talked(server, 250, 30_000)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(("127.0.0.1", server.config.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    writer.write(
        b"GET /me/export HTTP/1.1\r\nHost: localhost\r\n"
        + f"Authorization: Bearer {server.token()}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.7)
    read = b""
    with suppress(OSError):
        async with asyncio.timeout(WAIT_S):
            while part := await reader.read(65_536):
                read += part
    assert not read.endswith(b"0\r\n\r\n"), "the answer never came to its end"
    writer.close()


async def test_an_erased_person_of_many_sessions_is_gone(server: Running) -> None:
    ids = [await talked(server, 3, 100) for _ in range(9)]
    token = server.token()
    assert (await server.http("DELETE", "/me", token=token)).status == 204
    admin = server.token("root", "admin")
    for session_id in ids:
        path = f"/sessions/{session_id}"
        assert (await server.http("GET", path, token=admin)).status == 404
    assert (await server.http("GET", "/sessions", token=admin)).body["sessions"] == []


async def test_what_an_erasing_leaves_behind_is_swept_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Running(**UNLIMITED, keep_ended="24h", session_ttl="2s") as server:
        session_id = await talked(server, 3, 100)
        # As a crash between the step that ends all and those that delete.
        database = server.sessions._database
        await database.transact([store.Statement(sql, ("alice",)) for sql in store.ABANDON])
        async with asyncio.timeout(WAIT_S):
            while await database.read(
                "SELECT 1 FROM records JOIN sessions USING (number) WHERE session_id = ?",
                (session_id,),
            ):
                await asyncio.sleep(0.05)
        assert await database.read("SELECT 1 FROM sessions") == []


def test_a_json_array_of_nothing_is_one() -> None:
    async def none() -> AsyncIterator[Any]:
        for entry in ():
            yield entry

    async def whole() -> bytes:
        return b"".join([piece async for piece in pieces.array(none())])

    assert json.loads(asyncio.run(whole())) == []


async def test_what_is_said_during_a_backup_is_acknowledged_before_its_end(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await server.join()
    has_begun, may_end = threading.Event(), threading.Event()
    real = copies.write_copy

    def slow(connection: Any, target: Path) -> None:
        has_begun.set()
        assert may_end.wait(WAIT_S)
        real(connection, target)

    monkeypatch.setattr(copies, "write_copy", slow)
    copying = asyncio.create_task(server.sessions._database.backup(tmp_path / "copy.db"))
    await asyncio.to_thread(has_begun.wait, WAIT_S)
    assert (await agent.say("contextual_update", text="meanwhile"))["seq"] == 1
    may_end.set()
    await copying
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
