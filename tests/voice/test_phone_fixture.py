"""The fixtures users get: a server, an agent, a phone that taps."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from companion_ws.client import CompanionClient
from companion_ws.testing.phone import Phone

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]


async def test_the_phone_chooses_and_the_agent_hears(
    companion: CompanionClient, phone: Phone
) -> None:
    asking = asyncio.create_task(
        companion.call_tool("companion_choose", title="Which?", options=OPTIONS)
    )
    await phone.choose("air")
    assert await asking == {"status": "chosen", "id": "air", "label": "UPS Next Day"}


NOTHING_IS_STORED = """
import sqlite3

import pytest_asyncio

from companion_ws.testing.server import CompanionServer


@pytest_asyncio.fixture
async def companion_server():
    async with CompanionServer() as server:
        with sqlite3.connect(server.config.data / "companion.db") as database:
            database.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON sessions BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        database.close()
        yield server


async def test_it(phone):
    raise AssertionError("unreachable")
"""


async def test_where_nothing_can_be_stored_the_fixtures_fail_within_seconds(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(NOTHING_IS_STORED)
    mine = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path),
        "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "test_mine.py",
        "-p", "pytest_asyncio.plugin", "-p", "companion_ws.testing.plugin",
        # Other plugins that happen to be installed take seconds to import.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, _ = await mine.communicate()
    assert "ConnectionError: No session at" in output.decode()
    assert "1 error" in output.decode()
