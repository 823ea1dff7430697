"""What the tests of the voice adapters share: the fake, the SDK pointed at it, a screen."""

# ruff: noqa: F811 - fixtures are taken as arguments of the same name

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from companion_ws.client import CompanionClient
from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.phone import Phone
from companion_ws.testing.plugin import (  # noqa: F401 - there whether or not we are installed
    companion,
    companion_server,
    companion_settings,
    fake_elevenlabs,
    phone,
)
from companion_ws.testing.server import CompanionServer

with warnings.catch_warnings():  # the SDK warns about its own imports; here warnings are errors
    warnings.simplefilter("ignore")
    import elevenlabs.conversational_ai.conversation  # noqa: F401
    from elevenlabs import ElevenLabs


@pytest.fixture
async def fake() -> AsyncIterator[FakeElevenLabs]:
    async with FakeElevenLabs() as running:
        yield running


@pytest.fixture
def sdk(fake: FakeElevenLabs) -> Iterator[ElevenLabs]:
    with httpx.Client() as client:
        yield ElevenLabs(api_key="any", base_url=fake.url, httpx_client=client)


def screen(server: CompanionServer, session_id: str) -> Phone:
    """A screen of the session's owner, to be entered."""
    return Phone(server.client(session_id=session_id, role="ui", device="Screen", after=0))


@pytest.fixture
async def here(
    companion_server: CompanionServer, companion: CompanionClient
) -> AsyncIterator[Phone]:
    """A screen that is there already."""
    async with screen(companion_server, companion.session_id) as phone:
        await companion.wait_for_screen()
        yield phone
