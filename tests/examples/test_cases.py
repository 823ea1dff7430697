"""The templates people copy, each as its reader would run it: a kiosk, a support desk, a coding agent."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from camera import scanned
from playwright.async_api import Browser, async_playwright, expect

from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer, free_port
from tests import chromium
from tests.voice.test_examples import EXAMPLES, Start, start

__all__ = ["start"]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.program(), args=chromium.FLAGS
        )
        yield browser
        await browser.close()


def ticket_of(link: str) -> str:
    return link.split("#")[1]


async def test_a_kiosk_shows_a_code_to_each_visitor_and_keeps_nothing_of_the_one_before(
    companion_server: CompanionServer, start: Start, browser: Browser
) -> None:
    port = free_port()
    running = await start(
        "kiosk.py", PATIENCE_S="0.1", PORT=str(port), COMPANION_URL=companion_server.url,
        COMPANION_TOKEN=companion_server.token("kiosk"),
    )  # fmt: skip
    seen: list[str] = []
    page = None
    for _ in range(2):
        link = (await running.says(r"Scan (\S+)"))[1]
        if page is None:
            page = await browser.new_page()
            await page.goto(f"http://127.0.0.1:{port}")
        async with asyncio.timeout(20):
            while link not in scanned(await page.screenshot()):
                await asyncio.sleep(0.1)
        async with await Phone.pair(companion_server.url, ticket_of(link)) as phone:
            await phone.choose("2")
            assert (await phone.sees("directions"))["data"] == {"to": "Sculptures"}
            await expect(page.get_by_text("Look at your phone.")).to_be_visible()
            seen.append(phone.client.session_id)
        await running.says("Wiped")
        assert await companion_server.sessions.summary(seen[-1]) is None
    assert seen[0] != seen[1]


async def test_a_support_desk_decides_on_its_screen_what_the_customer_asked_on_a_phone(
    start: Start, browser: Browser
) -> None:
    port = free_port()
    desk_url = f"http://127.0.0.1:{port}"
    async with CompanionServer(allow_origin=(desk_url,)) as server:
        running = await start(
            "support_desk.py", PORT=str(port), COMPANION_URL=server.url,
            COMPANION_TOKEN=server.token("desk", "service"),
        )  # fmt: skip
        page = await browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        for customer, tap, words in (
            ("Ann", "Approve", "Your money is on its way"),
            ("Bob", "Decline", "We cannot refund this order"),
        ):
            link = await opened(desk_url, customer)
            if page.url != f"{desk_url}/":
                await page.goto(desk_url)
            await page.get_by_role("button", name=customer).click()
            async with await Phone.pair(server.url, ticket_of(link), device="Phone") as phone:
                await phone.choose("1002")
                asked = page.get_by_text("Refund 35.5 EUR for order 1002?")
                await expect(asked).to_be_visible(timeout=20_000)
                await expect(page.locator("#who")).to_contain_text("Phone")
                await page.get_by_label("To the customer and the bot").fill(f"Hello {customer}")
                await page.get_by_role("button", name="Say").click()
                await page.get_by_role("button", name=tap).click()
                assert (await phone.sees(words))["data"]["order"] == "1002"
                await expect(page.locator("#log")).to_contain_text(words)
                await expect(page.locator("#log")).to_contain_text(f"Hello {customer}")
                await expect(asked).not_to_be_visible()
        assert faults == []
        assert running.process.returncode is None


async def opened(desk_url: str, customer: str) -> str:
    """Open a case, as the web shop's help button would."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(20):
        while True:
            try:
                async with http.post(f"{desk_url}/cases", json={"customer": customer}) as answer:
                    assert answer.status == 201
                    return str((await answer.json())["link"])
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.1)


async def test_a_coding_agent_runs_what_the_phone_allows_and_what_is_typed_there(
    companion_server: CompanionServer, start: Start, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "new.txt").write_text("new")
    running = await start(
        "-c", f"import os, runpy, sys; os.chdir({str(tmp_path)!r}); sys.argv[1:] = ['mend', 'it'];"
        f" runpy.run_path({str(EXAMPLES / 'coding_agent.py')!r}, run_name='__main__')",
        COMPANION_URL=companion_server.url, COMPANION_TOKEN=companion_server.token(),
    )  # fmt: skip
    ticket = (await running.says(r"/p#(\S+)"))[1]
    async with await Phone.pair(companion_server.url, ticket) as phone:
        asked = await phone.question("companion_confirm")
        assert asked["parameters"]["text"] == "` git status --short `"
        await phone.say("run git branch --show-current")
        await phone.say("run git tag `[safe](https://x.example)`")
        await phone.confirm()
        ran = await phone.sees("` git status --short `")
        assert ran["data"] == {"exit_code": 0, "output": "?? new.txt\n"}
        asked = await phone.question("companion_confirm")
        assert asked["parameters"]["text"] == "` git branch --show-current `"
        await phone.confirm()
        await phone.sees("` git branch --show-current `")
        asked = await phone.question("companion_confirm")
        assert asked["parameters"]["text"] == "``` git tag `[safe](https://x.example)` ```", "as code, all of it"
        await phone.decline()
        await phone.decline()  # git diff
        await phone.decline()  # git stash
        await phone.sees("Done")
        texts = {record.get("text") for record in phone._log}
        assert "` git stash `" not in texts
    assert await running.process.wait() == 0
