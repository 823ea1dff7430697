"""`db copy`: everything of a data folder moves into PostgreSQL, or nothing does."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from picture_site import PictureSite, picture
from postgres_server import PostgresServer
from programs import Program
from running import Running, Socket
from stored_before import filled
from test_bars import OnTerminal

from companion_ws.database import CannotOpen, moving
from companion_ws.database.looking import read_only
from companion_ws.files import folder

MIGRATIONS = folder("migrations")
ODD = "NUL \x00, its mark \x01-, a tab \t, a line\nand \\N"


@pytest.fixture
def url(tmp_path: Path, postgres: PostgresServer) -> Iterator[str]:
    yield postgres.url(tmp_path)
    postgres.drop(tmp_path)


def copy(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return Program(data).run("db", "copy", *arguments, **environment)


async def copied(data: Path, url: str) -> tuple[int, str]:
    """Copy while the servers of the test go on; return the exit code and what was said."""
    done = await asyncio.to_thread(copy, data, "--to", url)
    return done.returncode, done.stderr


def stored_by_0_1_0(data: Path) -> Path:
    data.mkdir(mode=0o700)
    return filled(data / "companion.db")


def fill_what_is_empty(path: Path, session_id: str) -> dict[str, int]:
    """Put a row into every table that has none, odd text everywhere; return how many each has."""
    with closing(sqlite3.connect(path)) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        ]
        for name in names:
            if connection.execute(f"SELECT count(*) FROM {name}").fetchone() != (0,):
                continue
            values: dict[str, Any] = {}
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({name})"):
                values[column] = {"TEXT": ODD, "INTEGER": -(2**63), "BLOB": b"\x00\xff\\x"}[kind]
                if column == "session_id":
                    values[column] = session_id
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO {name} VALUES ({marks})", tuple(values.values()))
        connection.execute("UPDATE sessions SET title = ? WHERE session_id = ?", (ODD, session_id))
        connection.commit()
        return {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names
        }


async def live(server: Running, site: PictureSite) -> tuple[Socket, str, str]:
    """Let much happen in one session; return its agent, its phone's token and its admin's."""
    admin = server.made("admin", "root")
    agent = await server.join(role="agent")
    session_id = agent.session_id
    made = await server.http("POST", f"/sessions/{session_id}/pairings", {})
    entered = await server.http("POST", "/pair", {"code": made.body["code"], "device": "Pixel"}, token=None)
    phone = await server.join(entered.body["token"], session_id=session_id, role="ui", tools="companion_choose")
    await agent.say("contextual_update", text="shoe", data={"image": site.url("a.png"), "odd": ODD})
    await agent.next_of("media")
    for number in range(40):  # Beyond what the log keeps: it is trimmed.
        await agent.say("state_update", key=f"k{number % 5}", value=ODD)
    await agent.call("done", "get_shipping_rates", parameters={})
    await agent.call("asked", parameters={"title": "Which?", "options": [{"id": "a", "label": "A"}]})
    await phone.next_of("client_tool_call")
    token = await server.http("POST", "/tokens", {"user": "alice", "role": "user", "ttl_s": 600}, token=admin)
    await server.http("POST", "/tokens", {"user": "bob", "role": "user", "ttl_s": 600}, token=admin)
    await server.http("DELETE", "/tokens?user=bob", token=admin)
    ended = await server.new_session()
    await server.http("DELETE", f"/sessions/{ended}")
    return agent, str(entered.body["token"]), str(token.body["token"])


async def test_phones_and_agents_resume_on_the_copy_where_they_were(
    tmp_path: Path, url: str
) -> None:
    data = tmp_path / "data"
    async with PictureSite(**{"a.png": picture()}) as site:
        settings = {"data": data, "images": "fetch", "internet": site.internet, "limit_records": 20}
        async with Running(**settings) as server:
            agent, phone_token, agent_token = await live(server, site)
            session_id, epoch = agent.session_id, agent.joined["epoch"]
            seen = max(message.get("seq", 0) for message in agent.heard)
            await server.halt()
    path = data / "companion.db"
    counts = fill_what_is_empty(path, other_than(path, session_id))
    before = sha256(path.read_bytes()).hexdigest()

    done = copy(data, "--to", url)

    assert done.returncode == 0, done.stderr
    assert "every row was read again and is the same" in done.stderr
    assert f"--database '{url}'" in done.stderr
    assert sha256(path.read_bytes()).hexdigest() == before
    assert not [file for file in data.iterdir() if file.is_dir()]
    with psycopg.connect(url, autocommit=True) as connection:
        for name, count in counts.items():
            assert connection.execute(f"SELECT count(*) FROM {name}").fetchone() == (count,), name

    async with Running(data=data, database=url, limit_records=20, images="fetch") as server:
        agent = await server.join(agent_token, session_id=session_id, role="agent", after=seen - 1, epoch=epoch)
        assert agent.joined["recovery"] == "replay"
        assert (await agent.next())["seq"] == seen
        phone = await server.join(phone_token, session_id=session_id, role="ui", tools="companion_choose")
        assert phone.joined["epoch"] == epoch
        assert {entry["value"] for entry in phone.joined["state"].values()} == {ODD}
        [media] = phone.joined["media"]
        async with server.http_session.get(f"{server.url}/media/{media['media_id']}") as response:
            assert await response.read() == picture()
        await phone.say("client_tool_result", tool_call_id="asked", result='{"choice": "a"}')
        assert (await agent.result("asked"))["said"]["choice"] == "a"
        record = await agent.say("contextual_update", text="later")
        assert record["seq"] == seen + 2
        # Numbers go on behind those that were ever given, also those of sessions that are gone.
        new = await server.new_session()
        with psycopg.connect(url) as connection, closing(sqlite3.connect(path)) as file:
            [number] = connection.execute(
                "SELECT number FROM sessions WHERE session_id = %s", (new,)
            ).fetchone() or [0]
            [highest] = file.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sessions'").fetchone()
        assert number == highest + 1
        assert (await server.http("GET", "/me", token=server.made("user", "bob"))).status < 500


def other_than(path: Path, session_id: str) -> str:
    """Return the session that is not `session_id`."""
    with closing(sqlite3.connect(path)) as connection:
        [other] = connection.execute(
            "SELECT session_id FROM sessions WHERE session_id <> ?", (session_id,)
        ).fetchone()
    return str(other)


async def test_what_version_0_1_0_stored_is_moved_in_one_step_and_its_file_stays_as_it_is(
    tmp_path: Path, url: str
) -> None:
    data = tmp_path / "data"
    path = stored_by_0_1_0(data)
    before = sha256(path.read_bytes()).hexdigest()
    with closing(sqlite3.connect(path)) as old:
        sessions = old.execute("SELECT session_id, user, seq, ended_at_ms FROM sessions ORDER BY 1").fetchall()
        [[epoch]] = old.execute("SELECT epoch FROM log").fetchall()
        bodies = old.execute("SELECT session_id, seq, body FROM records ORDER BY 1, 2").fetchall()

    done = copy(data, "--to", url)

    assert done.returncode == 0, done.stderr
    assert sha256(path.read_bytes()).hexdigest() == before
    assert sorted(file.name for file in data.iterdir()) == ["companion.db", "lock"]
    with psycopg.connect(url) as connection:
        assert connection.execute(
            "SELECT session_id, records.seq, body FROM records JOIN sessions USING (number)"
            ' ORDER BY session_id COLLATE "C", records.seq'
        ).fetchall() == bodies
    async with Running(data=data, database=url, keep_ended="36500d", session_ttl="36500d") as server:
        for session_id, user, seq, ended_at_ms in sessions:
            if ended_at_ms is None:
                socket = await server.join(server.token(user), session_id=session_id, after=seq, epoch=epoch)
                assert socket.joined["recovery"] == "replay"
    assert Program(data).run("db", "check", COMPANION_DATABASE=url).stdout == "ok\n"


def test_a_row_that_postgresql_refuses_costs_the_whole_copy_and_leaves_nothing(
    tmp_path: Path, url: str, postgres: PostgresServer
) -> None:
    data = tmp_path / "data"
    path = stored_by_0_1_0(data)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO told VALUES ('no such session', 1)")
        connection.commit()

    done = copy(data, "--to", url)

    assert done.returncode == 1
    assert "foreign key" in done.stderr
    assert "Traceback" not in done.stderr
    with psycopg.connect(url) as target:
        assert target.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").fetchone() == (0,)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM told WHERE session_id = 'no such session'")
        connection.commit()
    assert copy(data, "--to", url).returncode == 0


def test_a_connection_that_is_lost_half_way_leaves_nothing(
    tmp_path: Path, url: str, postgres: PostgresServer
) -> None:
    path = stored_by_0_1_0(tmp_path / "data")
    name = postgres.name(tmp_path)

    def lose(rows: int) -> None:
        postgres.query(
            "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )

    with moving.opened(path, MIGRATIONS) as source:
        with pytest.raises(CannotOpen, match="nothing was copied"):
            moving.move(source, url, MIGRATIONS, lose)
        assert postgres.query(name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
        assert moving.move(source, url, MIGRATIONS).rows["sessions"] == 3


async def test_neither_a_database_in_use_nor_one_that_holds_something_is_written_to(
    tmp_path: Path, url: str
) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    async with Running(data=data) as server:
        await server.new_session()
        code, said = await copied(data, url)
        assert (code, "Another server works on" in said) == (1, True), said
    async with Running(data=other, database=url):
        code, said = await copied(data, url)
        assert (code, "a server works on" in said) == (1, True), said
    # A server that did nothing has made its tables; that much may be there.
    code, said = await copied(data, url)
    assert code == 0, said
    code, said = await copied(data, url)
    assert (code, "already holds something" in said) == (1, True), said

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute("CREATE TABLE shop (a int)")
    code, said = await copied(data, url)
    assert (code, "another program (shop)" in said) == (1, True), said
    assert (await copied(tmp_path / "nowhere", url))[0] == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_password_is_never_part_of_the_flag_and_the_settings_name_the_target_too(
    tmp_path: Path, url: str
) -> None:
    data = tmp_path / "data"
    stored_by_0_1_0(data)
    secret = "postgresql://me:s3cr3t-word@127.0.0.1:1/companion"
    refused = copy(data, "--to", secret)
    assert (refused.returncode, "COMPANION_DATABASE_FILE" in refused.stderr) == (2, True)
    assert copy(data).returncode == 2
    assert copy(data, "--to", "mysql://host/name").returncode == 2
    file = tmp_path / "url"
    file.write_text(secret)
    unreachable = copy(data, COMPANION_DATABASE_FILE=str(file))
    assert (unreachable.returncode, "companion at 127.0.0.1" in unreachable.stderr) == (1, True)
    assert "s3cr3t-word" not in refused.stderr + unreachable.stderr
    file.write_text(url)
    assert copy(data, COMPANION_DATABASE_FILE=str(file)).returncode == 0


def test_a_bar_is_shown_on_a_terminal(tmp_path: Path, url: str) -> None:
    data = tmp_path / "data"
    stored_by_0_1_0(data)
    done = OnTerminal(data, "db", "copy", "--to", url)
    assert done.code == 0, done.shown
    assert "Updating a copy" in done.shown
    assert "Copying" in done.shown
    assert "100%" in done.shown
    assert "Checking" in OnTerminal(data, "db", "check", COMPANION_DATABASE=url).shown


def test_a_copy_takes_the_same_memory_however_much_there_is(tmp_path: Path, url: str) -> None:
    path = stored_by_0_1_0(tmp_path / "data")
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO records (session_id, seq, type, body) SELECT session_id, ?, 'x', ? FROM sessions LIMIT 1",
            ((10_000 + number, os.urandom(1 << 20)) for number in range(24)),
        )
        connection.commit()
    with moving.opened(path, MIGRATIONS) as source:
        tracemalloc.start()
        moving.move(source, url, MIGRATIONS)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 12 << 20, "a few rows at a time, of 24 MiB"
    with closing(read_only(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(3,)]
