"""`doctor` and `db check` look at PostgreSQL; what an operator reads there is what is so."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_server import PostgresServer, programs
from programs import Program
from running import WAIT_S, Running
from structlog.testing import capture_logs

from companion_ws.core.errors import Unavailable
from companion_ws.database import Database
from companion_ws.files import folder


@pytest.fixture
def url(tmp_path: Path, postgres: PostgresServer) -> Iterator[str]:
    yield postgres.url(tmp_path)
    postgres.drop(tmp_path)


def doctor(data: Path, url: str, **environment: str) -> tuple[int, str]:
    data.mkdir(mode=0o700, exist_ok=True)
    done = Program(data).run("doctor", COMPANION_DATABASE=url, **environment)
    assert done.stderr == "", done.stderr
    return done.returncode, done.stdout


async def test_doctor_and_check_say_how_it_stands_with_postgresql(tmp_path: Path, url: str) -> None:
    data = tmp_path / "data"
    code, said = await asyncio.to_thread(doctor, data, url)
    assert "its tables are not there yet" in said
    async with Running(data=data, database=url) as server:
        agent, _ = await server.pair_of()
        await agent.say("contextual_update", text="x")
        program = Program(data)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO nodes (node, url, until, key_mark)"
                " VALUES ('n', 'http://10.0.0.9:8000', clock_timestamp() + '1 minute', 'k')"
            )
        code, said = await asyncio.to_thread(doctor, data, url)
        check = await asyncio.to_thread(program.run, "db", "check", COMPANION_DATABASE=url)
        backup = await asyncio.to_thread(
            program.run, "db", "backup", str(tmp_path / "x"), COMPANION_DATABASE=url
        )
    assert code == 0, said
    for line in (
        "ok   its tables are those of this version",
        "ok   what is acknowledged there survives the loss of power of the machine PostgreSQL runs on",
        "http://10.0.0.9:8000",
        "     no standby is connected",
        "ok   its clock is 0.",
        "ok   what is stored: ok",
    ):
        assert line in said, said
    assert (check.returncode, check.stdout) == (0, "ok\n")
    assert backup.returncode == 1
    assert "pg_dump" in backup.stderr
    assert not (tmp_path / "x").exists()

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM records WHERE seq = 1")
    broken = await asyncio.to_thread(program.run, "db", "check", "--json", COMPANION_DATABASE=url)
    assert broken.returncode == 1
    assert '"finding":"session ' in broken.stdout
    code, said = await asyncio.to_thread(doctor, data, url)
    assert code == 1
    assert "MEND what is stored: session" in said

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE schema_version SET version = 9999")
    code, said = await asyncio.to_thread(doctor, data, url)
    assert code == 1
    assert "MEND a newer version has written it" in said


def test_a_database_that_cannot_be_reached_is_told_without_its_password(tmp_path: Path) -> None:
    code, said = doctor(tmp_path / "data", "postgresql://me:s3cr3t-word@127.0.0.1:1/companion")
    assert code == 1
    assert "MEND the database companion at 127.0.0.1: " in said
    assert "s3cr3t-word" not in said
    check = Program(tmp_path / "data").run("db", "check", COMPANION_DATABASE="postgresql://127.0.0.1:1/x")
    assert check.returncode == 1
    assert "x at 127.0.0.1" in check.stderr
    assert "Traceback" not in check.stderr


def test_doctor_names_the_standby_that_commits_wait_for_and_says_when_it_is_gone(
    tmp_path: Path,
) -> None:
    server = PostgresServer("wal_level=replica", "max_wal_senders=4", "synchronous_standby_names=away")
    try:
        url = f"postgresql://companion@/postgres?host={server.folder}"
        receiving = subprocess.Popen(
            [(programs() / "postgres").resolve().with_name("pg_receivewal"), "--synchronous", "-D", str(tmp_path), "-h", str(server.folder),
             "-U", "companion", "-d", "application_name=away"], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(server, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
            code, said = doctor(tmp_path / "data", url)
        finally:
            receiving.kill()
            receiving.wait(20)
        assert code == 0, said
        assert "ok   commits wait for away, which is connected" in said
        assert "it is stored on a standby too" in said
        wait_for(server, "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_stat_replication)")
        code, said = doctor(tmp_path / "data", url)
        assert code == 1
        assert "MEND commits wait for a standby, and none is connected: nothing can be stored" in said
    finally:
        server.stop()


def wait_for(server: PostgresServer, sql: str) -> None:
    with psycopg.connect(f"postgresql://companion@/postgres?host={server.folder}", autocommit=True) as asking:
        for _ in range(int(WAIT_S / 0.05)):
            if asking.execute(sql.encode()).fetchall():
                return
            asking.execute("SELECT pg_sleep(0.05)")
    raise AssertionError(sql)


async def test_a_reading_connection_that_is_lost_is_not_called_damage(
    tmp_path: Path, postgres: PostgresServer, url: str
) -> None:
    name = postgres.name(tmp_path)
    database = Database(url, folder("migrations"))
    await database.open()
    try:
        reading: Any = database._reader._reading
        pid = reading._connection.info.backend_pid
        with capture_logs() as lines:
            postgres.query("postgres", f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            postgres.query("postgres", "SELECT pg_terminate_backend(%s)", (pid,))
            with pytest.raises(Unavailable):
                await database.read("SELECT 1")
            assert database.trouble is not None
            postgres.query("postgres", f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            async with asyncio.timeout(WAIT_S):
                while database.trouble is not None:
                    await asyncio.sleep(0.05)
            assert await database.read("SELECT 1") == [(1,)]
        assert [line["event"] for line in lines] == ["database_unreachable", "database_readable_again"]
    finally:
        await database.close()
