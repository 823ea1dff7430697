"""The disk refuses, the files go, pages break: nobody is told what is not so, and it is said why."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hostile import CHANGES, Call, Machine
from real_server import Screen, Server, joined, running
from small_disk import SmallDisk
from test_kill import intact

BEGAN, ENDED = "database_refuses", "database_writes_again"


@asynccontextmanager
async def served(
    tmp_path: Path, *flags: str
) -> AsyncIterator[tuple[Machine, Server, aiohttp.ClientSession]]:
    data = tmp_path / "data"
    with Machine(tmp_path, data) as machine:
        async with (
            running(data, *flags, environment=machine.environment) as server,
            aiohttp.ClientSession() as http,
        ):
            yield machine, server, http


async def ready(http: aiohttp.ClientSession, server: Server) -> tuple[int, str]:
    """Return what /readyz answers: status, and what it says where it is red."""
    async with http.get(f"{server.url}/readyz") as answer:
        return answer.status, (await answer.json()).get("detail", "")


async def until_ready(http: aiohttp.ClientSession, server: Server, status: int = 200) -> str:
    async with asyncio.timeout(20):
        while True:
            now, why = await ready(http, server)
            if now == status:
                return why
            await asyncio.sleep(0.05)


async def said(screen: Screen, text: str) -> dict[str, Any]:
    return await screen.until(
        requestId=await screen.send({"type": "contextual_update", "text": text})
    )


def lines(server: Server, event: str) -> list[str]:
    return [line for line in server.output if event in line]


async def until_line(server: Server, event: str) -> str:
    async with asyncio.timeout(20):
        while not lines(server, event):
            await asyncio.sleep(0.05)
    return lines(server, event)[0]


@pytest.mark.parametrize(
    ("calls", "error", "words"),
    [
        (CHANGES, errno.EROFS, "Read-only file system"),
        (Call.WRITE | Call.SYNC, errno.EIO, "disk I/O error"),
        (Call.WRITE | Call.ALLOCATE | Call.TRUNCATE, errno.ENOSPC, "full"),
    ],
)
async def test_a_disk_that_refuses_is_named_once_and_goes_on_when_it_takes_writes_again(
    calls: Call, error: int, words: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as (machine, server, http), joined(http, server) as agent:
        stored = [(await said(agent, "before"))["seq"]]
        machine.refuse(calls, error)
        assert (await said(agent, "refused"))["code"] == "unavailable"
        await until_ready(http, server, 503)
        # Several tries later: files cannot be opened, nor their modes changed.
        machine.refuse(calls | Call.OPEN | Call.MODE | Call.STAT, error)
        await asyncio.sleep(2.2)
        assert (await said(agent, "still refused"))["code"] == "unavailable"
        machine.heal()
        await until_ready(http, server)
        stored.append((await said(agent, "after"))["seq"])
        await until_line(server, ENDED)
        assert stored == [1, 2]
        began, ended = lines(server, BEGAN), lines(server, ENDED)
        assert len(began) == 1, "one line when it begins"
        assert len(ended) == 1, "one line when it ends"
        if error != errno.EROFS:
            assert words in began[0]
        assert "SQLITE" in began[0] or words in began[0]
        async with joined(
            http, server, session_id=agent.joined["session_id"], after=0
        ) as again:
            await again.until(seq=2)
        assert await server.end() == 0


async def test_a_stop_while_the_disk_refuses_everything_exits_0(tmp_path: Path) -> None:
    async with served(tmp_path) as (machine, server, http):
        async with joined(http, server) as agent:
            await said(agent, "before")
            machine.refuse(CHANGES, errno.EROFS)
            assert (await said(agent, "refused"))["code"] == "unavailable"
            await until_line(server, BEGAN)
        assert await server.end() == 0, server.output
        assert not any("Traceback" in line for line in server.output), server.output
        machine.heal()
        await server.start()
        async with joined(http, server, session_id=agent.joined["session_id"], after=0) as again:
            assert (await again.until(seq=1))["text"] == "before"


async def test_a_stop_on_a_disk_that_became_read_only_unnoticed_exits_0(tmp_path: Path) -> None:
    async with served(tmp_path) as (machine, server, http):
        async with joined(http, server) as agent:
            await said(agent, "before")
        machine.refuse(CHANGES, errno.EROFS)
        assert await server.end(signal.SIGINT) == 0, server.output
        assert not any("Traceback" in line for line in server.output), server.output


@pytest.mark.parametrize("name", ["companion.db", "companion.db-wal", "."])
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_files_that_go_under_the_server_are_noticed_before_anything_is_acknowledged(
    name: str, how: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as (_, server, http), joined(http, server) as agent:
        await said(agent, "before")
        lost, kept = server.data / name, tmp_path / "kept"
        if how == "replaced":
            copy = tmp_path / "copy"
            shutil.copytree(lost, copy) if name == "." else shutil.copy(lost, copy)
        os.rename(server.data if name == "." else lost, kept)
        if how == "replaced":
            os.rename(copy, server.data if name == "." else lost)
        assert (await said(agent, "gone"))["code"] == "unavailable"
        why = await until_ready(http, server, 503)
        assert how in why or name == "."
        assert "restore a backup" in await until_line(server, BEGAN)
        # Reading goes on with what is open, and nothing begins in its place.
        async with joined(http, server, session_id=agent.joined["session_id"]) as late:
            assert late.joined["seq"] == 1
        if how == "removed":
            assert not lost.exists()
            os.rename(kept, server.data if name == "." else lost)
            await until_ready(http, server)
            assert (await said(agent, "back"))["seq"] == 2
        assert await server.end() == 0


async def test_a_database_that_goes_while_nobody_writes_turns_readyz_red(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, server, http):
        await until_ready(http, server)
        (server.data / "companion.db").unlink()
        assert "removed" in await until_ready(http, server, 503)
        async with http.get(f"{server.url}/healthz") as answer:
            assert answer.status == 200


async def test_broken_pages_are_said_with_the_way_out_and_cost_only_whoever_needs_them(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    async with running(data) as server, aiohttp.ClientSession() as http:
        async with joined(http, server) as agent:
            session_id = agent.joined["session_id"]
            for number in range(400):
                await agent.send({"type": "contextual_update", "text": f"{number}" * 200})
            await agent.until(seq=400)
        assert await server.end() == 0
        await server.start()
        async with http.get(f"{server.url}/readyz") as answer:
            assert answer.status == 200
        broken = data / "companion.db"
        size = broken.stat().st_size
        noise = random.Random(1).randbytes(size // 2)
        with broken.open("r+b") as file:
            file.seek(size // 2 // 4096 * 4096)
            file.write(noise)
        codes = set()
        for _ in range(3):
            try:
                async with joined(http, server, session_id=session_id, after=0) as late:
                    await late.to_the_end()
                    codes.add(late.ws.close_code)
            except ConnectionResetError as error:
                codes.add(int(str(error).removeprefix("closed ")))
        assert codes == {1013}
        why = await until_ready(http, server, 503)
        assert "malformed" in why or "database" in why
        line = await until_line(server, "database_damaged")
        assert "db check" in line
        assert "backup" in line
        assert len(lines(server, "database_damaged")) == 1
        async with http.get(
            f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.token()}"}
        ) as answer:
            assert "companion_database_writable 0.0" in await answer.text()
        assert await server.end() == 0


@pytest.mark.parametrize("after", [0, 8, 40])
@pytest.mark.parametrize("calls", [Call.WRITE | Call.SYNC | Call.ALLOCATE, CHANGES])
async def test_a_start_on_a_disk_that_refuses_works_or_says_why_in_one_sentence(
    calls: Call, after: int, tmp_path: Path
) -> None:
    async with served(tmp_path) as (machine, server, http):
        async with joined(http, server) as agent:
            await said(agent, "before")
        assert await server.end() == 0
        server.output.clear()
        machine.refuse(calls, errno.ENOSPC, after=after)
        try:
            await server.start()
        except AssertionError:
            words = [line for line in server.output if "request" not in line]
            assert len(words) == 1, words
            assert words[0].startswith("Error: ")
            machine.heal()
            await server.start()
        else:
            async with joined(http, server, session_id=agent.joined["session_id"]) as again:
                assert again.joined["seq"] == 1
                if (await said(again, "full"))["type"] == "error":
                    assert "is not well" in await until_ready(http, server, 503)
            machine.heal()
        await until_ready(http, server)
        assert not any("Traceback" in line for line in server.output), server.output
        async with joined(http, server, session_id=agent.joined["session_id"]) as again:
            assert (await said(again, "after"))["type"] == "contextual_update"
        assert await server.end() == 0


async def test_a_start_on_a_full_disk_names_it(tmp_path: Path) -> None:
    with SmallDisk("tmpfs", tmp_path) as disk:
        server = Server(disk.folder / "data")
        await server.start()
        assert await server.end() == 0
        with (disk.folder / "ballast").open("wb", buffering=0) as ballast:
            with contextlib.suppress(OSError):
                while disk.kind == "tmpfs":
                    ballast.write(bytes(4096))
        server.output.clear()
        with contextlib.suppress(AssertionError):
            await server.start()
        if disk.kind == "tmpfs":
            [words] = [line for line in server.output if "request" not in line]
            assert "is full" in words
            assert "Make room" in words
        disk.free()
        with contextlib.suppress(ProcessLookupError):
            await server.kill()


async def test_a_start_beside_an_old_key_says_that_the_database_is_gone(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        assert await server.end() == 0
        assert not lines(server, "database_created_beside_old_key")
        (server.data / "companion.db").unlink()
        os.utime(server.data / "secret.key", (1_700_000_000, 1_700_000_000))
        await server.start()
        assert "restore a backup" in await until_line(server, "database_created_beside_old_key")
        await server.end()
        (server.data / "companion.db").write_bytes(b"")
        server.output.clear()
        with contextlib.suppress(AssertionError):
            await server.start()
        [words] = server.output
        assert words.startswith("Error: ")
        assert "0 bytes" in words


async def refuse_each(tmp_path: Path, numbers: range, error: int) -> int:
    """Refuse one system call after another, by number, in a server that stores; return how many."""
    refused = 0
    async with served(tmp_path) as (machine, server, http), joined(http, server) as agent:
        stored: list[str] = []
        for number in numbers:
            machine.refuse(CHANGES | Call.READ | Call.MAP, error, after=number, count=1)
            for _ in range(40):
                answer = await said(agent, f"{number}")
                if answer["type"] == "contextual_update":
                    stored.append(answer["requestId"])
                if machine.refused:
                    break
            refused += machine.refused
            machine.heal()
            await until_ready(http, server)
        last = (await said(agent, "last"))["seq"]
        async with joined(
            http, server, session_id=agent.joined["session_id"], after=0
        ) as again:
            while not again.records or again.records[-1]["seq"] < last:
                assert await again.receive() is not None
            ids = [record["requestId"] for record in again.records]
        assert [one for one in ids if one in set(stored)] == stored, "each once, in order"
        assert await server.end() == 0
    intact(tmp_path / "data", tmp_path / "intact")
    return refused


async def test_whichever_system_call_is_refused_what_was_acknowledged_is_there(
    tmp_path: Path,
) -> None:
    assert await refuse_each(tmp_path, range(0, 12, 2), errno.EIO) > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES])
async def test_however_many_system_calls_are_refused_what_was_acknowledged_is_there(
    error: int, tmp_path: Path
) -> None:
    assert await refuse_each(tmp_path, range(300), error) > 0
