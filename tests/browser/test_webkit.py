"""The phone page in a second engine: Debian's WebKit, the nearest thing to an iPhone here.

Needs `apt-get install webkit2gtk-driver xvfb`. Run by `pytest -m slow tests/browser`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from .conftest import QUOTES, World

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
HOSTILE = {"<img src=x onerror=document.title='hit'>": "javascript:alert(1)", "long": "x" * 9000}


class WebKit:
    """One page of WebKit, driven by W3C WebDriver."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self._http = http
        self._base = base
        self._session = ""

    async def open(self, browser: str) -> None:
        options = {"binary": browser, "args": ["--automation"]}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        answer = await self._ask("POST", "", {"capabilities": wanted})
        self._session = f"/{answer['sessionId']}"

    async def close(self) -> None:
        await self._ask("DELETE", "")

    async def go(self, url: str) -> None:
        await self._ask("POST", "/url", {"url": url})

    async def run(self, script: str, *arguments: Any) -> Any:
        return await self._ask("POST", "/execute/sync", {"script": script, "args": arguments})

    async def until(self, script: str, within_s: float = 20) -> Any:
        """Return what `script` gives once it is true."""
        async with asyncio.timeout(within_s):
            while not (found := await self.run(f"return {script}")):
                await asyncio.sleep(0.1)
        return found

    async def click(self, css: str) -> None:
        found = await self._ask("POST", "/element", {"using": "css selector", "value": css})
        await self._ask("POST", f"/element/{found[ELEMENT]}/click", {})

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        url = f"{self._base}/session{self._session}{path}"
        async with self._http.request(method, url, json=body) as answer:
            value = (await answer.json())["value"]
            assert answer.status == 200, value
            return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def webkit(tmp_path: Path) -> AsyncIterator[WebKit]:
    driver, xvfb = shutil.which("WebKitWebDriver"), shutil.which("Xvfb")
    assert driver, "WebKit is missing: apt-get install webkit2gtk-driver"
    assert xvfb, "Xvfb is missing: apt-get install xvfb"
    [browser] = Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser")
    display = f":{free_port()}"
    screen = await asyncio.create_subprocess_exec(
        xvfb, display, "-screen", "0", "480x900x24", stderr=asyncio.subprocess.DEVNULL
    )
    port = free_port()
    environment = {
        **os.environ,
        "DISPLAY": display,
        "HOME": str(tmp_path),
        "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
    }
    process = await asyncio.create_subprocess_exec(
        driver, f"--port={port}", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    async with aiohttp.ClientSession() as http:
        page = WebKit(http, f"http://127.0.0.1:{port}")
        async with asyncio.timeout(20):
            while True:
                try:
                    await page.open(str(browser))
                    break
                except (aiohttp.ClientConnectorError, AssertionError):
                    await asyncio.sleep(0.2)
        yield page
        await page.close()
    for each in (process, screen):
        each.terminate()
        await each.wait()


async def scan(world: World, webkit: WebKit, session_id: str) -> None:
    opened = await world.ask("POST", f"/sessions/{session_id}/pairings")
    await webkit.go(opened["url"])
    await webkit.until("document.querySelector('.light.is-on[data-of=server]') !== null")


async def test_webkit_shows_the_cards_and_sends_the_tap(world: World, webkit: WebKit) -> None:
    agent = await world.agent()
    await agent.update("guide", {"carrier": "FedEx", "cost": 12.99, "at": "2026-11-23T10:00:00Z"})
    await agent.update("quote_ready", QUOTES)
    await scan(world, webkit, agent.session_id)

    await webkit.until("document.querySelectorAll('.choice').length === 2")
    assert await webkit.run("return location.hash") == ""
    small = await webkit.run(
        "return [...document.querySelectorAll('button, a, input')]"
        ".filter((each) => each.offsetParent !== null && each.getBoundingClientRect().height < 48)"
        ".map((each) => each.outerHTML)"
    )
    assert small == []
    await webkit.click(".choice")

    said = await agent.hears(lambda message: message["type"] == "user_message")
    assert "UPS" in said["text"]
    await webkit.until("document.body.innerText.includes('Selected: UPS')")
    # One date, one number and their labels: a bad locale once swallowed the whole card here.
    await webkit.until("document.querySelectorAll('dl.rows dt').length === 3")


async def test_webkit_runs_nothing_hostile_and_shows_the_next_card(
    world: World, webkit: WebKit
) -> None:
    agent = await world.agent()
    await scan(world, webkit, agent.session_id)
    await agent.update("<script>document.title='hit'</script>", HOSTILE)
    await agent.update("at_last", {"a": 1})

    await webkit.until("document.body.innerText.includes('At last')")
    assert await webkit.run("return document.title") == "Companion"
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert await webkit.run(f"return {wide}") is False


async def test_webkit_comes_back_after_a_restart_with_nothing_lost(
    world: World, webkit: WebKit
) -> None:
    agent = await world.agent()
    await agent.update("first", {"a": 1})
    await scan(world, webkit, agent.session_id)
    session_id = agent.session_id

    await world.server.stop()
    await webkit.until("!document.querySelector('.banner').hidden")
    await world.server.start()
    agent = await world.agent(session_id)
    await agent.update("second", {"b": 2})

    await webkit.until("document.querySelectorAll('article').length === 2")
    await webkit.until("document.querySelector('.banner').hidden")
