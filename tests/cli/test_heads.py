"""A verb whose reader has had enough (`| head -1`) leaves without a word."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from programs import PATIENCE_S, RUN, Program, Served, clean_environment

from companion_ws.client import CompanionClient


@contextmanager
def piped(program: Program, *arguments: str, **options: str) -> Iterator[subprocess.Popen[bytes]]:
    verb = subprocess.Popen(
        [sys.executable, str(RUN), *arguments],
        env=clean_environment(COMPANION_DATA=str(program.data), **options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield verb
    finally:
        if verb.poll() is None:
            verb.kill()
        verb.communicate()


def left_quietly(verb: subprocess.Popen[bytes]) -> None:
    assert verb.stdout is not None
    assert verb.stderr is not None
    verb.stdout.close()
    assert verb.wait(PATIENCE_S) == 0
    assert verb.stderr.read() == b""
    verb.stdout = None


@pytest.fixture
async def session_id(program: Program, server: Served) -> str:
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    async with CompanionClient(server.url, token=token) as agent:
        await asyncio.gather(*(agent.contextual_update("x" * 9000) for _ in range(40)))
        return agent.session_id


@pytest.mark.parametrize(
    "arguments",
    [
        ["session", "export", "{id}"],
        ["openapi"],
        ["doctor"],
        ["token", "list"],
        ["session", "list"],
        ["--help"],
        ["elevenlabs", "agent-config"],
        ["tools", "--for", "openai"],
    ],
    ids=" ".join,
)
def test_a_verb_that_prints_and_leaves_says_nothing_of_it(
    arguments: list[str], program: Program, session_id: str
) -> None:
    given = [argument.format(id=session_id) for argument in arguments]
    with piped(program, *given, PYTHONUNBUFFERED="") as verb:
        left_quietly(verb)


@pytest.mark.parametrize("verb_name", ["watch", "connect", "screen", "fake-elevenlabs"])
def test_a_verb_that_stays_leaves_as_soon_as_nobody_reads(
    verb_name: str, program: Program, session_id: str
) -> None:
    arguments = {
        "watch": ["watch", session_id],
        "connect": ["connect", "--session-id", session_id],
        "screen": ["screen", session_id, "--answer", "yes", "--keep"],
        "fake-elevenlabs": ["fake-elevenlabs", "--port", "0"],
    }[verb_name]
    with piped(program, *arguments) as verb:
        if verb_name != "screen":
            assert verb.stdout is not None
            assert os.read(verb.stdout.fileno(), 10)
        left_quietly(verb)


def test_what_a_verb_does_is_done_though_nobody_reads_of_it(
    program: Program, session_id: str
) -> None:
    with piped(program, "send", session_id, "heard") as verb:
        left_quietly(verb)
    last = json.loads(program.lines("session", "export", session_id)[-1])
    assert last["text"] == "heard"
