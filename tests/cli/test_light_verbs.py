"""A verb that asks a server which runs starts without all that makes a server."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from programs import PATIENCE_S, RUN, Program, Served, clean_environment

HEAVY = re.compile(r"\|\s+((?:companion_ws\.(?:app|web|voice)|aiohttp\.web)\b\S*)")
VERBS = (
    ("token", "create", "--user", "alice"),
    ("token", "list", "--json"),
    ("session", "list"),
    ("open", "--print"),
    ("db", "check"),
    ("doctor",),
    ("config", "show"),
    ("completion", "bash"),
    ("--data", "{data}", "session", "find", "x"),
)


@pytest.mark.usefixtures("server")
def test_verbs_beside_a_server_import_neither_the_web_nor_the_voice_platforms(
    program: Program, server: Served
) -> None:
    assert server.url
    for verb in VERBS:
        arguments = [part.format(data=program.data) for part in verb]
        done = subprocess.run(
            [sys.executable, "-X", "importtime", str(RUN), *arguments],
            env=clean_environment(COMPANION_DATA=str(program.data)),
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-500:]
        assert "| companion_ws" in done.stderr
        assert HEAVY.findall(done.stderr) == [], verb
