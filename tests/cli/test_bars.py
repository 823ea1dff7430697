"""Bars are for terminals: a pipe gets the answer alone."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from programs import PATIENCE_S, RUN, Program, clean_environment

from companion_ws.client import CompanionClient
from companion_ws.testing.server import CompanionServer


class OnTerminal:
    """A verb whose stderr, or all of it, is a terminal."""

    def __init__(self, data: Path, *arguments: str, whole: bool = False, **environment: str) -> None:
        ours, theirs = pty.openpty()
        variables = {"COMPANION_DATA": str(data), "TERM": "xterm", **environment}
        process = subprocess.Popen(
            [sys.executable, str(RUN), *arguments],
            env={**clean_environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=theirs if whole else subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        shown: list[bytes] = []
        reader = threading.Thread(target=self._read, args=(ours, shown), daemon=True)
        reader.start()
        self.out = (process.communicate(timeout=PATIENCE_S)[0] or b"").decode()
        reader.join(PATIENCE_S)
        os.close(ours)
        self.code = process.returncode
        self.shown = b"".join(shown).decode()

    @staticmethod
    def _read(terminal: int, shown: list[bytes]) -> None:
        try:
            while block := os.read(terminal, 65_536):
                shown.append(block)
        except OSError:  # what Linux says when the other end has closed
            pass


@pytest.fixture
async def stored(tmp_path: Path) -> tuple[Program, str]:
    """A data folder with a session of a few records."""
    data = tmp_path / "data"
    async with CompanionServer(data=data) as server:
        token = server.token("alice")
        async with CompanionClient(server.url, token=token) as companion:
            for number in range(30):
                await companion.contextual_update(f"update {number}")
            session_id = companion.session_id
    return Program(data), session_id


async def test_long_verbs_show_a_bar_on_a_terminal_and_a_pipe_gets_the_answer_alone(
    stored: tuple[Program, str], tmp_path: Path
) -> None:
    program, session_id = stored
    export = ("session", "export", session_id)
    for verb, label in (
        (export, "Exporting"),
        (("db", "backup", str(tmp_path / "one.db")), "Copying"),
    ):
        done = OnTerminal(program.data, *verb)
        assert done.code == 0, done.shown
        assert re.search(rf"{label}.*100%", done.shown), done.shown
    piped = program.run(*export)
    assert (piped.stderr, len(piped.stdout.splitlines())) == ("", 30)
    assert [json.loads(line)["seq"] for line in piped.stdout.splitlines()] == list(range(1, 31))
    backed = program.run("db", "backup", str(tmp_path / "two.db"))
    assert re.fullmatch(r"Wrote \S+ \(\d+ bytes\)\.\n", backed.stderr)
    assert abs((tmp_path / "one.db").stat().st_size - (tmp_path / "two.db").stat().st_size) < 65_536
    whole = OnTerminal(program.data, *export, whole=True)
    assert "Exporting" not in whole.shown, "between the records a bar would be in their way"
    erased = OnTerminal(program.data, "erase", "--user", "alice", "--yes")
    assert (erased.code, "Erasing" in erased.shown) == (0, True)
    assert program.run("erase", "--user", "alice", "--yes").stderr == "Erased everything of alice.\n"


async def test_a_replay_shows_how_far_it_is_where_its_messages_go_elsewhere(
    stored: tuple[Program, str], tmp_path: Path
) -> None:
    program, session_id = stored
    file = tmp_path / "records.jsonl"
    file.write_text(program.run("session", "export", session_id).stdout)
    async with CompanionServer(data=program.data):
        replay = ("replay", str(file), "--speed", "0")
        done = await asyncio.to_thread(OnTerminal, program.data, *replay)
        assert done.code == 0, done.shown
        assert re.search(r"Replaying.*100%", done.shown), done.shown
        assert len(done.out.splitlines()) == 31
        whole = await asyncio.to_thread(OnTerminal, program.data, *replay, whole=True)
        assert "Replaying" not in whole.shown


async def test_a_copy_that_is_watched_holds_one_moment_while_others_write(tmp_path: Path) -> None:
    import sqlite3

    from companion_ws.database.sqlite import copies

    async with CompanionServer(data=tmp_path / "data") as server:
        async with CompanionClient(server.url, token=server.token("alice")) as companion:
            await companion.contextual_update("before", {"filler": "x" * 30_000})
        source = tmp_path / "data/companion.db"
        reading, writing = sqlite3.connect(source), sqlite3.connect(source)
        writing.execute("CREATE TABLE beside (number INTEGER)")
        writing.commit()
        heard: list[int] = []

        def between(done: int) -> None:
            heard.append(done)
            writing.execute("INSERT INTO beside VALUES (1)")
            writing.commit()

        once, copies.COPIED_AT_ONCE = copies.COPIED_AT_ONCE, 5
        try:
            copies.write_copy(reading, tmp_path / "copy.db", between)
        finally:
            copies.COPIED_AT_ONCE = once
            reading.close()
    assert len(heard) > 3
    assert heard == sorted(heard), "the copy never begins again"
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert copy.execute("SELECT count(*) FROM beside").fetchone() == (0,)
    copy.close()
    writing.close()
