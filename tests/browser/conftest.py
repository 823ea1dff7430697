"""A real server, a real Chromium and an agent: what the tests of the pages stand on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page, TimeoutError, async_playwright

from companion_ws import Config, create_app
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Kind, Revocations, Tokens
from companion_ws.internet import Internet
from tests import bundles, chromium

PIXEL = {
    "viewport": {"width": 412, "height": 839},
    "has_touch": True,
    "is_mobile": True,
    "user_agent": "Mozilla/5.0 (Linux; Android 14; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/156.0.0.0 Mobile Safari/537.36",
}
QUOTES = {
    "quotes": [
        {"id": "ups-air", "carrier": "UPS", "service": "Next Day Air", "cost": 48.2,
         "currency": "USD", "eta_days": 1},
        {"id": "fedex-ground", "carrier": "FedEx", "service": "Ground", "cost": 12.99,
         "currency": "USD", "eta_days": 5},
    ],
    "select": "selected_shipping_option",
}  # fmt: skip
Message = dict[str, Any]


class Server:
    """The whole application on a real port, which it keeps when it is restarted."""

    def __init__(self, data: Path, *, internet: Internet | None = None, **settings: Any) -> None:
        self.data = data
        self._internet = internet
        self._settings = {"data": data, **settings}
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.host = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def start(self, **settings: Any) -> None:
        self._settings |= settings
        # The port is known before the application is made, which writes it in its links.
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self.app = await create_app(
            Config(**self._settings, port=self.port), internet=self._internet
        )
        self._runner = web.AppRunner(self.app, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def token(self, user: str = "alice", kind: Kind = "user") -> str:
        keys = Keys.load(self._settings["data"])
        return Tokens(keys, Revocations(keys)).issue(kind, user, 3600)[0]


class Agent:
    """An agent's socket: sends, and remembers what it is told."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.messages: list[Message] = []
        self.news = asyncio.Condition()
        self.session_id = ""
        self._reading = asyncio.create_task(self._read())

    async def send(self, **message: Any) -> Message:
        """Send and return the record, once it is stored."""
        message.setdefault("requestId", os.urandom(8).hex())
        await self._socket.send_json(message)
        return await self.hears(lambda each: each.get("requestId") == message["requestId"])

    async def tell(self, **message: Any) -> None:
        """Send what leaves no record."""
        await self._socket.send_json(message)

    async def update(self, text: str, data: Any = None, **more: Any) -> Message:
        record = await self.send(type="contextual_update", text=text, data=data or {}, **more)
        assert record["type"] == "contextual_update", record
        return record

    async def call(self, name: str, **parameters: Any) -> str:
        """Call a client tool; returns its id."""
        call_id = f"call-{os.urandom(4).hex()}"
        call = {"tool_name": name, "tool_call_id": call_id, "parameters": parameters}
        await self.send(type="client_tool_call", client_tool_call=call)
        return call_id

    async def hears(self, wanted: Callable[[Message], bool], within_s: float = 20) -> Message:
        """Return the first message that is `wanted`, past or to come."""
        async with asyncio.timeout(within_s), self.news:
            while True:
                for message in self.messages:
                    if wanted(message):
                        return message
                await self.news.wait()

    def heard(self, type_: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == type_]

    async def result(self, call_id: str) -> Any:
        """Return what a screen answered."""
        record = await self.hears(
            lambda each: each["type"] == "client_tool_result" and each["tool_call_id"] == call_id
        )
        return json.loads(record["result"])

    async def leave(self) -> None:
        await self._socket.close()
        await self._reading

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame.data)
            async with self.news:
                if message["type"] == "session_joined":
                    self.session_id = message["session_id"]
                self.messages.append(message)
                self.news.notify_all()


class World:
    """What a test plays with: server, agent, desks and phones."""

    def __init__(self, server: Server, browser: Browser, http: aiohttp.ClientSession) -> None:
        self.server = server
        self._browser = browser
        self._http = http
        self._contexts: list[BrowserContext] = []
        self.faults: list[str] = []
        self.proxies: list[str] = []
        """Other addresses the server is reached at."""
        self._agents: list[Agent] = []

    async def agent(
        self, session_id: str | None = None, user: str = "alice", role: str = "agent"
    ) -> Agent:
        query = f"?session_id={session_id}&role={role}" if session_id else ""
        socket = await self._http.ws_connect(
            f"http://127.0.0.1:{self.server.port}/ws{query}",
            headers={"Authorization": f"Bearer {self.server.token(user)}"},
        )
        agent = Agent(socket)
        self._agents.append(agent)
        await agent.hears(lambda message: message["type"] == "session_joined")
        return agent

    async def ask(self, method: str, path: str, token: str | None = None, **body: Any) -> Any:
        async with self._http.request(
            method,
            f"http://127.0.0.1:{self.server.port}{path}",
            headers={"Authorization": f"Bearer {token or self.server.token()}"},
            **({"json": body} if body or method == "POST" else {}),
        ) as response:
            response.raise_for_status()
            return await response.json() if response.status != 204 else None

    async def page(self, **options: Any) -> Page:
        """A page that reports every script error and policy violation as a fault."""
        context = await self._browser.new_context(**options)
        self._contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._note)
        page.on("request", self._watch_origin)
        await context.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (e) => console.error('POLICY ' + e.violatedDirective + ' ' + e.blockedURI))"
        )
        return page

    async def phone(self, agent: Agent, *, url: str = "", **options: Any) -> Page:
        """A phone that has scanned a fresh code of the agent's session."""
        page = await self.page(**{**PIXEL, **options})
        opened = await self.ask("POST", f"/sessions/{agent.session_id}/pairings")
        await page.goto(url or opened["url"])
        await self.connected(page)
        return page

    async def connected(self, page: Page) -> None:
        await page.locator(".light[data-of=server].is-on").wait_for()

    async def close(self) -> None:
        for agent in self._agents:
            await agent.leave()
        for context in self._contexts:
            await context.close()

    def _note(self, message: Any) -> None:
        # A refused request and a lost socket are told to the console by the browser itself.
        if message.type == "error" and "POLICY" in message.text:
            self.faults.append(message.text)

    def _watch_origin(self, request: Any) -> None:
        own = (f"http://127.0.0.1:{self.server.port}/", f"{self.server.url}/", *self.proxies)
        if request.url.startswith("http") and not request.url.startswith(own):
            self.faults.append(f"foreign request {request.url}")


def axe_source() -> str:
    """Return the text of axe-core."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


async def accessibility_faults(page: Page) -> list[str]:
    """Return what axe finds against WCAG 2.2 A and AA."""
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(axe_source() + ";0")
    found = await page.evaluate(
        "() => axe.run(document, {resultTypes: ['violations'],"
        " runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
    )
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


async def is_too_wide(page: Page) -> bool:
    """Whether the page scrolls sideways, once it is laid out for its present width."""
    fits = "() => document.documentElement.scrollWidth <= innerWidth"
    try:
        await page.wait_for_function(fits, timeout=20_000)
    except TimeoutError:
        return True
    return False


async def reach(page: Page, name: str) -> None:
    """Go on by the Tab key alone until what is called `name` has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        called = await page.evaluate(
            "() => { const at = document.activeElement; return at === document.body ? '' :"
            " [at.getAttribute('aria-label'), at.labels?.[0]?.textContent, at.placeholder,"
            " at.textContent].find(Boolean) ?? '' }"
        )
        if name in called:
            return
    raise AssertionError(f"the Tab key never reaches {name!r}")


NewWorld = Callable[..., Coroutine[Any, Any, World]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests on one loop: a browser, started once, lives on the loop it began on."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session", autouse=True)
def fresh_bundles() -> None:
    """Let nobody test a page as it was before the last change."""
    bundles.make_again_if_changed()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.program(), args=chromium.FLAGS
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def new_world(browser: Browser, tmp_path: Path) -> AsyncIterator[NewWorld]:
    """Make a world with settings of its own; every fault in its pages fails the test."""
    worlds: list[World] = []
    async with aiohttp.ClientSession() as http:

        async def make(**settings: Any) -> World:
            server = Server(tmp_path / "data", **settings)
            await server.start()
            worlds.append(World(server, browser, http))
            return worlds[-1]

        yield make
        for world in worlds:
            await world.close()
            await world.server.stop()
    for world in worlds:
        assert world.faults == []


@pytest_asyncio.fixture(loop_scope="session")
async def world(new_world: NewWorld) -> World:
    return await new_world()
