"""A server on PostgreSQL: what it loses when either is killed, and who may have a database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from postgres_server import PostgresServer
from real_server import PATIENCE_S, ROOT, Message, Server, joined, running
from test_kill import Writer

KILLS = int(os.environ.get("COMPANION_KILLS", "5"))
KEPT = ("--limit-records=0", "--limit-log-bytes=0")


class Patient(Writer):
    """Comes again, too, where it is told that nothing can be stored."""

    def _read(self, message: Message) -> None:
        if message["type"] == "error" and message["code"] == "unavailable":
            raise ConnectionResetError("not known to be stored")
        super()._read(message)

    async def finish(self, http: aiohttp.ClientSession, server: Server) -> None:
        """Come again until all is acknowledged."""
        while True:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                return await self.write(http, server, fresh=False)
            await asyncio.sleep(0.2)


async def ready(http: aiohttp.ClientSession, server: Server, *, is_so: bool = True) -> None:
    """Wait until the server says that it can, or cannot, store."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with http.get(f"{server.url}/readyz") as answer:
                if (answer.status == 200) is is_so:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(30 * KILLS + 60)
@pytest.mark.parametrize("killed", ["server", "PostgreSQL"])
async def test_kills_under_load_lose_nothing_that_was_acknowledged_and_double_nothing(
    killed: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.url(tmp_path)
    async with (
        running(tmp_path / "data", *KEPT, f"--database={url}") as server,
        aiohttp.ClientSession() as http,
    ):
        async with joined(http, server) as screen:
            session_id = screen.joined["session_id"]
        writers = [Patient("alice", role, session_id) for role in ("agent", "ui", "ui")]
        for number, writer in enumerate(writers):
            writer.rng = random.Random(number)
        rng = random.Random(0)
        for _ in range(KILLS):
            tasks = [
                asyncio.create_task(writer.write(http, server, fresh=True)) for writer in writers
            ]
            await asyncio.sleep(rng.uniform(0.1, 0.4))
            if killed == "server":
                await server.kill()
            else:
                await asyncio.to_thread(postgres.kill)
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(ended, OSError | aiohttp.ClientError), repr(ended)
            if killed == "server":
                await server.start()
            else:
                await ready(http, server, is_so=False)
                await asyncio.to_thread(postgres.start)
                await ready(http, server)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(writer.finish(http, server) for writer in writers))
        assert await server.end() == 0

    stored: list[Message] = [
        json.loads(bytes(body))
        for (body,) in postgres.query(
            postgres.name(tmp_path),
            "SELECT body FROM records JOIN sessions USING (number)"
            " WHERE session_id = %s ORDER BY seq",
            (session_id,),
        )
    ]
    assert len(stored) > KILLS
    assert [record["seq"] for record in stored] == list(range(1, len(stored) + 1))
    made = [record["requestId"] for record in stored]
    assert len(made) == len(set(made)), "a requestId made two records"
    acknowledged = sum(len(writer.acknowledged) for writer in writers)
    print(f"{killed} killed {KILLS} times: {acknowledged} acknowledged, {len(stored)} stored")
    for writer in writers:
        assert not writer.waiting
        assert writer.seen == stored[: len(writer.seen)], "told and stored differ"
        for request_id, seq in writer.acknowledged.items():
            assert stored[seq - 1]["requestId"] == request_id, "acknowledged and lost"


def start_in_vain(data: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "serve", "--port=0", f"--data={data}", *flags],
        capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


async def test_a_server_whose_connection_was_cut_goes_on_once_it_has_another(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    flag = f"--database={postgres.url(tmp_path)}"
    async with running(tmp_path / "data", flag) as server, aiohttp.ClientSession() as http:
        cut(postgres, tmp_path)
        await ready(http, server, is_so=False)
        await ready(http, server)
        async with joined(http, server) as screen:
            await screen.send({"type": "contextual_update", "text": "again"})
            assert (await screen.until(type="contextual_update"))["seq"] == 1
    assert any("database_refuses" in line for line in server.output)
    assert any("database_writes_again" in line for line in server.output)


def cut(postgres: PostgresServer, path: Path) -> None:
    """End the connections of whoever uses a database."""
    postgres.query(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
        (postgres.name(path),),
    )


def test_a_password_is_refused_in_a_flag_and_told_nowhere(tmp_path: Path) -> None:
    secret = "postgresql://me:s3cr3t-word@127.0.0.1:1/companion"
    refused = start_in_vain(tmp_path / "data", f"--database={secret}")
    assert refused.returncode == 2
    assert "COMPANION_DATABASE_FILE" in refused.stderr

    file = tmp_path / "url"
    file.write_text(secret)
    by_file = start_in_vain(tmp_path / "data", COMPANION_DATABASE_FILE=str(file))
    by_variable = start_in_vain(tmp_path / "data", COMPANION_DATABASE=secret)
    for unreachable in (by_file, by_variable):
        assert unreachable.returncode == 1
        assert "companion at 127.0.0.1" in unreachable.stderr

    for variable, value in (("COMPANION_DATABASE_FILE", str(file)), ("COMPANION_DATABASE", secret)):
        shown = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "config", "show"], capture_output=True, text=True,
            timeout=60, env={**os.environ, variable: value}, check=True,
        )  # fmt: skip
        assert "s3cr3t-word" not in shown.stdout
        assert variable in shown.stdout

    odd = start_in_vain(tmp_path / "data", COMPANION_DATABASE=f"{secret}?nonsense=1")
    assert odd.returncode == 1
    for ended in (refused, by_file, by_variable, odd):
        told: list[Any] = [ended.stdout, ended.stderr]
        assert not any("s3cr3t-word" in text for text in told)
        assert "Traceback" not in ended.stderr


async def test_the_start_says_what_an_acknowledgement_survives(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    flag = f"--database={postgres.url(tmp_path)}"
    async with running(tmp_path / "data", flag) as server, asyncio.timeout(PATIENCE_S):
        while not any("Data is stored" in line for line in server.output):
            await asyncio.sleep(0.02)
    assert any(f"Data is stored in {postgres.name(tmp_path)} at " in line for line in server.output)
    assert any("loss of power of the machine PostgreSQL runs on" in line for line in server.output)
    async with running(tmp_path / "data", flag, "--durability=process") as server:
        pass
    assert any("not of PostgreSQL's machine" in line for line in server.output)


async def test_a_database_of_a_newer_version_is_left_alone(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    flag = f"--database={postgres.url(tmp_path)}"
    async with running(tmp_path / "data", flag) as server:
        assert await server.end() == 0
    postgres.query(postgres.name(tmp_path), "UPDATE schema_version SET version = 9999")
    refused = await asyncio.to_thread(start_in_vain, tmp_path / "data", flag)
    assert refused.returncode == 2
    assert "written by a newer version" in refused.stderr
