"""pytest fixtures for agents with a screen: a server, a fake ElevenLabs, an agent, a phone.

    async def test_the_caller_picks_air(companion, phone):
        asking = asyncio.create_task(companion.call_tool("companion_choose", title=…, options=…))
        await phone.choose("air")
        assert (await asking)["id"] == "air"

Whatever hangs fails within seconds. They need pytest-asyncio. Override `companion_settings` to change the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import pytest

try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:  # without it the fixtures are simply not there
    async_fixture = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from companion_ws.client import CompanionClient

    from .fake_elevenlabs import FakeElevenLabs
    from .phone import Phone
    from .server import CompanionServer

# What is imported here is imported by every pytest run of whoever has this package installed;
# so the rest is imported where it is used.


WITHIN_S: Final = 10.0
"""A server in the same process answers in milliseconds; a test that waits longer hangs."""


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    """Settings of `companion_server`, fields of `companion_ws.Config`; override it."""
    return {}


if async_fixture is not None:

    @async_fixture
    async def companion_server(
        companion_settings: dict[str, Any],
    ) -> AsyncIterator[CompanionServer]:
        """A running companion server with data of its own."""
        from .server import CompanionServer

        async with CompanionServer(**companion_settings) as server:
            yield server

    @async_fixture
    async def fake_elevenlabs() -> AsyncIterator[FakeElevenLabs]:
        """A running strict ElevenLabs."""
        from .fake_elevenlabs import FakeElevenLabs

        async with FakeElevenLabs() as fake:
            yield fake

    @async_fixture
    async def companion(companion_server: CompanionServer) -> AsyncIterator[CompanionClient]:
        """An agent in a new session of user `alice`."""
        async with companion_server.client(
            open_timeout_s=WITHIN_S, answer_within_s=WITHIN_S
        ) as client:
            yield client

    @async_fixture
    async def phone(
        companion_server: CompanionServer, companion: CompanionClient
    ) -> AsyncIterator[Phone]:
        """A phone paired with the session of `companion`."""
        from .phone import Phone

        async with asyncio.timeout(WITHIN_S):
            invitation = await companion.pair()
            paired = await Phone.pair(companion_server.url, invitation.code)
        async with paired:
            await companion.wait_for_screen(WITHIN_S)
            yield paired
