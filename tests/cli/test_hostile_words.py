"""What a member wrote, on the operator's terminal and in the log: shown, never obeyed."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import click
import pytest
from click.testing import CliRunner
from programs import PATIENCE_S, RUN, Program, Running, Served, clean_environment

from companion_ws.cli import main
from companion_ws.client import CompanionClient

EVIL = "x\x1b]0;own\x07\x1b[2J\x1b[31m\x9b31m\x85\u202egnp\u2066\u2067\u200f\u2028\u2029\ufeff\r\nforged"
"""Titles, names and messages may hold it all; a user's name holds no C0."""
EVIL_USER = "ann\x9b31m\x85\u202egnp\u2066\u2028\ufeff"
UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
"""All that must never come out, but for our own line ends."""

Start = Callable[..., Running]


def assert_harmless(output: bytes) -> str:
    text = output.decode()
    assert UNSEEN.findall(text) == [], text
    assert not any(line.startswith("forged") for line in text.splitlines()), text
    return text


@pytest.fixture(autouse=True)
def quiet_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Scene:
    """A server with one session in which everything that can be hostile is."""

    def __init__(self, program: Program, server: Served, session_id: str, folder: Path) -> None:
        self.program, self.server = program, server
        self.session_id, self.folder = session_id, folder

    def said(self, *arguments: str) -> str:
        """Run a verb in this process; return what it wrote on stdout and stderr."""
        environment = {"COMPANION_DATA": str(self.program.data)}
        done = CliRunner().invoke(main, arguments, env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return assert_harmless(done.output_bytes)

    def piped(self, *arguments: str, stdin: str) -> str:
        done = subprocess.run(
            [sys.executable, str(RUN), *arguments],
            env=clean_environment(COMPANION_DATA=str(self.program.data)),
            input=stdin.encode(),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return assert_harmless(done.stdout + done.stderr)


async def _fill(server: Served, token: str) -> str:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        async with http.post(f"{server.url}/sessions", json={"title": EVIL}) as response:
            session_id = str((await response.json())["session_id"])
        await http.get(f"{server.url}/{quote(EVIL, safe='')}")
        await http.get(f"{server.url}/sessions/{quote(EVIL, safe='')}/state/{quote(EVIL, safe='')}")
    async with CompanionClient(
        server.url, token=token, session_id=session_id, device="Pixel"
    ) as agent:
        await agent.send({"type": "contextual_update", "text": EVIL, "data": {EVIL: EVIL}})
        await agent.set_state("key" + EVIL, EVIL)
        await agent.send(
            {
                "type": "conversation_initiation_metadata",
                "conversation_initiation_metadata_event": {"conversation_id": "c" + EVIL},
            }
        )
        call = {"tool_name": "t" + EVIL, "tool_call_id": EVIL, "parameters": {EVIL: EVIL}}
        await agent.send({"type": "client_tool_call", "client_tool_call": call})
    return session_id


@pytest.fixture
def scene(program: Program, server: Served, tmp_path: Path) -> Scene:
    (token,) = program.lines("token", "create", "--user", EVIL_USER)
    return Scene(program, server, asyncio.run(_fill(server, token)), tmp_path)


def exported(scene: Scene) -> str:
    return scene.said("session", "export", scene.session_id)


def test_every_verb_shows_what_members_wrote_and_obeys_none_of_it(scene: Scene) -> None:
    id_ = scene.session_id
    backup = str(scene.folder / f"backup{EVIL_USER}.db")
    (scene.folder / f"records{EVIL_USER}.jsonl").write_text("{}")
    walks: dict[str, list[list[str]]] = {
        "session list": [[], ["--json"], ["--user", EVIL_USER], ["--user", EVIL]],
        "session find": [["c" + EVIL], ["c" + EVIL, "--json"]],
        "session show": [[id_], [EVIL]],
        "session export": [[id_], [EVIL]],
        "send": [[id_, EVIL, json.dumps({EVIL: EVIL})], [EVIL, EVIL], [id_, EVIL, EVIL]],
        "watch": [[EVIL]],
        "screen": [[EVIL, "--answer", EVIL]],
        "connect": [["--token", "cwu_" + EVIL_USER, "--role", EVIL]],
        "token list": [[]],
        "token create": [["--user", EVIL], ["--user", "u", "--ttl", EVIL], ["--role", EVIL]],
        "token revoke": [[EVIL], ["--user", "nobody" + EVIL_USER]],
        "key rotate": [["--no" + EVIL]],
        "db check": [["--data", EVIL_USER], []],
        "db copy": [["--to", EVIL], ["--to", "postgresql://127.0.0.1:1/x" + EVIL, "--data", EVIL_USER]],
        "db backup": [[backup], [backup], ["--data", EVIL_USER, backup]],
        "doctor": [["--data", str(scene.folder / EVIL_USER)]],
        "docs": [[str(scene.folder / f"docs{EVIL_USER}")], [backup]],
        "openapi": [[EVIL]],
        "asyncapi": [[EVIL]],
        "config show": [["--public-url", EVIL], ["--public-url", EVIL, "--json"], [EVIL]],
        "config check": [["--public-url", EVIL], [EVIL]],
        "completion": [[EVIL]],
        "open": [["--print", "--data", str(scene.folder / EVIL_USER)]],
        "serve": [["--tools", "no" + EVIL], ["--public-url", EVIL], ["--host", EVIL]],
        "demo": [["--public-url", EVIL]],
        "elevenlabs agent-config": [["--url", EVIL], ["--tools", "no" + EVIL]],
        "tools": [["--for", EVIL], ["--for", "vapi", "--url", EVIL]],
        "mcp": [["--public-url", EVIL]],
        "fake-elevenlabs": [["--host", EVIL_USER]],
        "replay": [[str(scene.folder / f"records{EVIL_USER}.jsonl")], ["no" + EVIL]],
        "session end": [[EVIL], [id_, "--yes"]],
        "erase": [["--user", "nobody" + EVIL_USER, "--yes"]],
    }
    shown = "\n".join(exported(scene).splitlines())
    records = [json.loads(line) for line in shown.splitlines()]
    assert records[0]["text"] == EVIL, "what is escaped reads back as what was written"
    for verb, walk in walks.items():
        for arguments in walk:
            scene.said(*verb.split(), *arguments)
    assert set(walks) == set(verbs(main)), "a new verb is walked, too"


def test_who_watches_and_who_connects_is_shown_and_obeys_nothing(
    scene: Scene, start: Start
) -> None:
    watching = start("watch", scene.session_id, kind=Running)
    watching.until("client_tool_call")
    watching.stop()
    text = "\n".join(watching.seen + watching.errors)
    assert UNSEEN.findall(text.replace("\n", "")) == []
    assert "\\x1b]0;own" in text

    sent = json.dumps({"type": EVIL, "requestId": EVIL})
    arguments = ("connect", "--session-id", scene.session_id, "--after", "0", "--role", "observer")
    answered = scene.piped(*arguments, stdin=sent)
    assert "forged" in answered


def test_no_line_of_the_server_s_log_is_forged_coloured_or_turned_around(scene: Scene) -> None:
    scene.server.stop()
    log = "".join(scene.server.errors)

    assert "gnp" in log, "the paths that were asked for are in the log"
    assert UNSEEN.findall(log.replace("\n", "")) == []
    assert not any(line.startswith("forged") for line in log.splitlines())


def verbs(group: click.Group, before: str = "") -> list[str]:
    found: list[str] = []
    for name, command in group.commands.items():
        inner: Any = command
        found += verbs(inner, f"{before}{name} ") if isinstance(command, click.Group) else [
            before + name
        ]
    return found
