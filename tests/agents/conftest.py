"""What the tests of every adapter share: a server that can be killed, and one in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from companion_ws.client import CompanionClient
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from tests.voice.killable import KillableServer


@pytest.fixture
async def killable(tmp_path: Path) -> AsyncIterator[KillableServer]:
    server = KillableServer(tmp_path / "data")
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def shop() -> AsyncIterator[CompanionServer]:
    async with CompanionServer(tools="companion_ws.examples.shipping") as server:
        yield server


@pytest.fixture
async def agent_side(shop: CompanionServer) -> AsyncIterator[CompanionClient]:
    async with shop.client(open_timeout_s=20, answer_within_s=20) as client:
        yield client


@pytest.fixture
async def here(shop: CompanionServer, agent_side: CompanionClient) -> AsyncIterator[Phone]:
    """A screen that is there already."""
    client = shop.client(session_id=agent_side.session_id, role="ui", device="Screen", after=0)
    async with Phone(client, timeout_s=20) as phone:
        await agent_side.wait_for_screen(20)
        yield phone
