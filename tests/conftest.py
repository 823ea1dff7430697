"""What tests of the whole server share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import postgres_server
import pytest
from running import Running

Start = Callable[..., Awaitable[Running]]

TESTS = Path(__file__).parent
BROWSER = ("browser/", "voice/test_elevenlabs_browser.py")
"""Tests in Chromium and WebKit."""
LONG = (
    "cli/",
    "deploy/",
    "examples/",
    "faults/",
    "package/",
    "server/test_clients_page.py",
    "server/test_cycles.py",
    "server/test_embedding.py",
    "server/test_js_client_laws.py",
    "server/test_the_js_client.py",
    "server/test_the_sync_client.py",
    "server/test_traces.py",
    "server/test_without_upgrade.py",
    "sessions/test_histories.py",
    "voice/test_asked_again.py",
    "voice/test_elevenlabs_node.py",
    "voice/test_elevenlabs_python.py",
    "voice/test_examples.py",
    "voice/test_killed.py",
    "voice/test_mcp_killed.py",
    "voice/test_phone_fixture.py",
    "voice/test_platform_examples.py",
    "voice/test_twilio_example.py",
    "voice/test_voice_verbs.py",
    "web/test_documents.py",
    "web/test_proxies.py",
)
"""Tests that start programs (servers to kill, verbs, proxies, Node, SDKs) or count in thousands."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by the file they are in; `-m quick` is what to run after every change."""
    elsewhere: list[pytest.Item] = []
    for item in items:
        name = item.path.relative_to(TESTS).as_posix()
        if name.startswith(BROWSER):
            item.add_marker("browser")
        elif name.startswith(LONG):
            item.add_marker("long")
        if postgres_server.is_wanted and item.get_closest_marker("sqlite"):
            elsewhere.append(item)
        if not any(item.get_closest_marker(mark) for mark in ("browser", "long", "slow")):
            item.add_marker("quick")
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--postgres", action="store_true", help="store on PostgreSQL, not on SQLite")


def pytest_configure(config: pytest.Config) -> None:
    postgres_server.is_wanted = config.getoption("--postgres")


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
