"""Node's own runner over the pages' pure modules; each of its files is one test here."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.test.js")))
async def test_the_modules_of_the_pages_do_what_their_tests_say(name: str) -> None:
    node = shutil.which("node")
    assert node is not None, "Node is missing: apt-get install nodejs"
    run = await asyncio.create_subprocess_exec(
        node,
        "--test",
        str(HERE / name),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()
