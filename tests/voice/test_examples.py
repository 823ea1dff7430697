"""Every program of examples/, run as its reader would, against a real server and the fake."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import async_playwright

from companion_ws.data_folder import RunningServer
from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.phone import Phone
from companion_ws.testing.phone_call import PhoneCall
from companion_ws.testing.server import CompanionServer, free_port
from tests import chromium
from tests.voice.node import node_modules

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGE_LINES = 80
CHOICE = {"title": "Which?", "options": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]}

Program = Any
Start = Callable[..., Any]


class Running:
    """A program of examples/ that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self, pattern: str) -> re.Match[str]:
        """Return the match in the first line that has one."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while line := await self.process.stdout.readline():
                if found := re.search(pattern, line.decode()):
                    return found
        raise AssertionError(f"it ended before it said {pattern}")


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[asyncio.subprocess.Process] = []

    async def run(*command: str, **environment: str) -> Running:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            *command,
            cwd=EXAMPLES,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return Running(process)

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_each_is_at_most_a_page() -> None:
    files = [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.html")]
    assert len(files) >= 8
    assert {file.name: len(file.read_text().splitlines()) for file in files if
            len(file.read_text().splitlines()) > PAGE_LINES} == {}  # fmt: skip


async def test_python_agent(
    companion_server: CompanionServer, fake: FakeElevenLabs, start: Start
) -> None:
    running = await start(
        "python_agent.py",
        COMPANION_URL=companion_server.url,
        COMPANION_TOKEN=companion_server.token(),
        ELEVENLABS_BASE_URL=fake.url,
        ELEVENLABS_API_KEY="any",
        ELEVENLABS_AGENT_ID="agent",
    )
    ticket = (await running.says(r"/p#(\S+)"))[1]
    said = await fake.next_conversation(60)
    async with await Phone.pair(companion_server.url, ticket) as phone:
        assert said.dynamic_variables["companion_session_id"] == phone.client.session_id
        asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
        await phone.choose("b")
        assert (await asking).json["id"] == "b"
        await said.say("B it is")
        await running.says("Agent: B it is")
        running.process.stdin.write(b"thanks\n")
        assert await said.user_messages.next() == "thanks"


async def test_shop(fake: FakeElevenLabs, start: Start) -> None:
    port = free_port()
    shop = f"http://127.0.0.1:{port}"
    settings = {
        "allow_origin": (shop,),
        "elevenlabs_api_key": "any",
        "elevenlabs_agent_id": "agent",
        "elevenlabs_base_url": fake.url,
    }
    async with CompanionServer(**settings) as server:
        running = await start(
            "shop.py",
            PORT=str(port),
            COMPANION_URL=server.url,
            COMPANION_TOKEN=server.token("shop", "service"),
        )
        await running.says("Running on")
        library = node_modules() / "node_modules/@elevenlabs/client/dist/lib.iife.js"
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium.program(), args=chromium.FLAGS
            )
            page = await browser.new_page()
            await page.route("**/client.js", lambda route: route.fulfill(path=library))
            await page.goto(shop)
            link = await page.wait_for_selector("#phone:not([hidden])")
            screen = page.frame_locator("companion-screen iframe")
            await screen.locator(".light[data-of=server].is-on").wait_for()
            assert link is not None
            ticket = (await link.get_attribute("href") or "").split("#")[1]
            await page.click("#talk")
            said = await fake.next_conversation(40)
            async with await Phone.pair(server.url, ticket) as phone:
                asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
                await phone.choose("a")
                assert (await asking).json["id"] == "a"
            # The page shows what the phone answered: it is a screen of the same session.
            await screen.get_by_text("Which?").first.wait_for()
            await said.say("Good choice")
            await page.wait_for_function("document.getElementById('said').textContent")
            await browser.close()
        summary = await server.sessions.find(conversation_id=said.id)
        assert summary is not None
        assert (summary.user, summary.service) == ("customer-42", "shop")


async def test_phone(start: Start, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    running = await start(
        "phone.py",
        PORT=str(port),
        PUBLIC_URL=url,
        DATA=str(tmp_path / "data"),
        COMPANION_ELEVENLABS_TOOL_SECRET="tools",
        COMPANION_ELEVENLABS_WEBHOOK_SECRET="webhooks",
    )
    await running.says("Running on")
    call = PhoneCall(f"{url}/companion", tool_secret="tools", webhook_secret="webhooks")
    async with call, aiohttp.ClientSession() as http:
        assert call.variables["companion_pairing_url"] == f"{url}/companion/c"
        parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
        assert "FedEx" in (await call.tool("get_shipping_quotes", parcel))["result"]
        code = call.variables["companion_pairing_code"]
        async with await Phone.pair(f"{url}/companion", code) as phone:
            await phone.sees("quote_ready")
            asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
            await phone.choose("a")
            assert (await asking)["id"] == "a"
        assert await call.hang_up() == {"status": "received"}
        async with http.get(f"{url}/calls") as answer:
            assert [each["title"] for each in await answer.json()] == ["Call from +15550100"]


async def test_mcp_agent(
    companion_server: CompanionServer, companion: Any, phone: Phone, start: Start
) -> None:
    running = await start(
        "mcp_agent.py",
        COMPANION_URL=companion_server.url,
        COMPANION_TOKEN=companion_server.token(),
        COMPANION_SESSION=companion.session_id,
    )
    await running.says("Tools: show, ask")
    await phone.confirm()
    await running.says("Answer: confirmed")


async def test_mcp_host(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    running = await start("mcp_host.py", "--port", "0", COMPANION_DATA=str(data))
    code = await running.says(r"type (\d{3} \d{3} \d{3})\.$")
    await running.says(r"To scan: .*\.png")
    server = RunningServer.read(data)
    assert server is not None
    async with await Phone.pair(server.admin_url, code[1]) as paired:
        await paired.confirm()
        await running.says("Answer: confirmed")


async def test_own_tools_and_a_test_of_ones_own(start: Start, tmp_path: Path) -> None:
    running = await start(
        "-m",
        "pytest",
        "-q",
        "--rootdir",
        str(tmp_path),
        "-c",
        os.devnull,
        "-o",
        "asyncio_mode=auto",
        "-p",
        "no:cacheprovider",
        *_plugin(),
        "test_my_agent.py",
    )
    await running.says("1 passed")


def _plugin() -> list[str]:
    """Installed, the plugin is found by itself; in a checkout it is named."""
    from importlib.metadata import entry_points

    known = {point.value for point in entry_points(group="pytest11")}
    return [] if "companion_ws.testing.plugin" in known else ["-p", "companion_ws.testing.plugin"]
