"""What tests of the whole server share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from running import Running

Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start servers with settings of `Config`; they are gone when the test is."""
    async with AsyncExitStack() as stack:

        async def started(**settings: Any) -> Running:
            return await stack.enter_async_context(Running(**settings))

        yield started


@pytest.fixture
async def server(start: Start) -> Running:
    """A server with the settings it has when nobody says anything."""
    return await start()
