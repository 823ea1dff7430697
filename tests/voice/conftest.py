"""What the tests of the voice adapters share: the fake, and the SDK pointed at it."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from companion_ws.testing.fake_elevenlabs import FakeElevenLabs

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
