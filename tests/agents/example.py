"""Runs an example as its reader would, with a model that a test scripts, over a kill of the server."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.agents.cases import LATE, asks_once, code_in, kill_and_tap
from tests.agents.fake_openai import FakeOpenAI
from tests.voice.killable import KillableServer

ROOT = Path(__file__).parents[2]


async def ask_kill_and_tap(name: str, server: KillableServer) -> None:
    """Have the example ask while nobody is there, and see that it learns of the late tap, once."""
    async with FakeOpenAI(asks_once) as fake:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / name),
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "COMPANION_URL": server.url,
                "COMPANION_TOKEN": server.token(),
                "OPENAI_API_KEY": "any",
                "OPENAI_BASE_URL": fake.url,
                "LIVEKIT_API_KEY": "any",
                "LIVEKIT_API_SECRET": "any-secret-of-thirty-two-characters",
                "LIVEKIT_INFERENCE_URL": fake.url,
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(b"go\n")
            async with asyncio.timeout(60):
                code = code_in(await _said(process))
                phone = await kill_and_tap(server, code)
                assert await _said(process) == f"Heard: {LATE}"
                await phone.say("thanks")
                assert await _said(process) == "Heard: thanks"
                assert fake.turns == ["go", LATE, "thanks"]
                process.stdin.close()
                await process.communicate()
            await phone.__aexit__(None, None, None)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def _said(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if line.startswith("Agent: "):
            return line.removeprefix("Agent: ").strip()
    raise AssertionError("the example ended before it said anything")
