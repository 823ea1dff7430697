"""How fast a screen feels: `python -m benchmarks.screens` drives a real Chromium and prints milliseconds.

Scan to the first card, an update to its pixels, a tap to the frame that shows it and to the agent's
socket, a lost network to the word for it, a restarted server to a connected phone, and the scan again
over a slow network; targets stand beside.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from playwright.async_api import Browser, Page, async_playwright

from companion_ws import CompanionClient, Config, create_app
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Revocations, Tokens

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync"]
TARGETS_MS = {"scan to card": 500, "update to pixels": 300, "tap to frame": 100, "tap to agent": 100,
              "offline noticed": 1000, "restart to back": 1000, "slow: words": 1000, "slow: card": 2500,
              "slow: question": 0}  # fmt: skip
SLOW = {"offline": False, "latency": 300, "downloadThroughput": 51_200, "uploadThroughput": 51_200}
# A tap's own time, and when the frame has been drawn that shows it: what a finger does before, and how
# long a driver takes to move it, is nobody's wait.
WATCH_TAP = """() => addEventListener('click', (event) => {
  window.tappedAt = Date.now()
  const seen = new MutationObserver(() => {
    if (!document.querySelector('.choice.is-pending, .receipt')) return
    seen.disconnect()
    requestAnimationFrame(() => setTimeout(() => (window.shownAfter = performance.now() - event.timeStamp)))
  })
  seen.observe(document.body, { attributes: true, childList: true, subtree: true })
}, { capture: true, once: true })"""
# When the frame with `selector` has been drawn: a driver looks no more often than twice a second.
WATCH_FRAME = """(() => {
  const seen = new MutationObserver(() => {
    if (!document.querySelector(SELECTOR)) return
    seen.disconnect()
    requestAnimationFrame(() => setTimeout(() => (window.NAME = Date.now())))
  })
  seen.observe(document, { childList: true, subtree: true })
})()"""
# When the lights say so.
WATCH_LIGHTS = """(word) => {
  window.toldAt = undefined
  new MutationObserver((_, watch) => {
    if (!document.querySelector('connection-lights').textContent.includes(word)) return
    window.toldAt = Date.now()
    watch.disconnect()
  }).observe(document.querySelector('connection-lights'), { childList: true, subtree: true })
}"""
QUOTE = {"quotes": [{"id": "a", "carrier": "FedEx", "cost": 12.99}], "select": "chosen"}


class Stage:
    """A server, a browser and an agent's session on it."""

    def __init__(self, data: Path, browser: Browser) -> None:
        self._data = data
        self._browser = browser
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        keys = Keys.load(self._data)
        return Tokens(keys, Revocations(keys)).issue("user", "alice", 3600)[0]

    async def start(self) -> None:
        config = Config(data=self._data, port=self.port, limit_messages_per_s=0)
        self._runner = web.AppRunner(await create_app(config), shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        if self.port == 0:
            self.port = self._runner.addresses[0][1]
            await self.stop()
            await self.start()

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def link(self, session_id: str) -> str:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with ClientSession(headers=headers) as http:
            async with http.post(f"{self.url}/sessions/{session_id}/pairings") as answer:
                return str((await answer.json())["url"])

    async def phone(self) -> Page:
        context = await self._browser.new_context(
            viewport={"width": 412, "height": 839}, has_touch=True, is_mobile=True
        )
        return await context.new_page()


async def timed(act: Callable[[], Awaitable[Any]]) -> float:
    """Return how many milliseconds `act` took."""
    start = time.perf_counter()
    await act()
    return (time.perf_counter() - start) * 1000


async def watch_frame(page: Page, selector: str, name: str) -> None:
    """Let the pages that `page` goes to note when they have drawn `selector`."""
    script = WATCH_FRAME.replace("SELECTOR", repr(selector)).replace("NAME", name)
    await page.add_init_script(script)


async def drawn_ms(page: Page, name: str) -> float:
    """Return when that was, by the machine's clock."""
    await page.wait_for_function(f"() => window.{name} !== undefined")
    return float(await page.evaluate(f"() => window.{name}"))


async def told_ms(page: Page) -> float:
    """Return when the lights said what is watched for, by the machine's clock."""
    await page.wait_for_function("() => window.toldAt !== undefined")
    return float(await page.evaluate("() => window.toldAt"))


async def round_of(stage: Stage) -> dict[str, float]:
    """One phone, from its scan to the server's restart."""
    found: dict[str, float] = {}
    async with CompanionClient(stage.url, token=stage.token) as agent:
        await agent.contextual_update("quote_ready", QUOTE)
        link = await stage.link(str(agent.session_id))
        page = await stage.phone()

        await watch_frame(page, ".choice", "cardAt")
        scanned_ms = time.time() * 1000
        await page.goto(link, wait_until="commit")
        found["scan to card"] = await drawn_ms(page, "cardAt") - scanned_ms

        async def update() -> None:
            await agent.contextual_update("label_created", {"tracking": "1Z999"})
            await page.get_by_text("1Z999").wait_for()

        found["update to pixels"] = await timed(update)

        await page.evaluate(WATCH_TAP)
        await page.locator(".choice").tap()
        async for record in agent.records():
            if record["type"] == "user_message":
                heard_ms = time.time() * 1000
                break
        found["tap to agent"] = heard_ms - await page.evaluate("() => window.tappedAt")
        await page.wait_for_function("() => window.shownAfter !== undefined")
        found["tap to frame"] = await page.evaluate("() => window.shownAfter")

        await page.evaluate(WATCH_LIGHTS, "Offline")
        lost_ms = time.time() * 1000
        await page.context.set_offline(True)
        found["offline noticed"] = await told_ms(page) - lost_ms
        await page.context.set_offline(False)
        await page.locator(".light.is-on").first.wait_for()
        await stage.stop()
        await page.locator(".banner:not([hidden])").wait_for()
        await page.evaluate(WATCH_LIGHTS, "Connected")
        await stage.start()
        ready_ms = time.time() * 1000
        found["restart to back"] = await told_ms(page) - ready_ms
        await page.context.close()
    return found


async def slow_scan(stage: Stage, agent: CompanionClient, selector: str) -> tuple[float, float]:
    """Scan in a bad corner, 300 ms there and back and 50 KB a second: until words, until `selector`."""
    link = await stage.link(str(agent.session_id))
    page = await stage.phone()
    await watch_frame(page, ".waiting h1", "wordsAt")
    await watch_frame(page, selector, "cardAt")
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Network.enable")
    await devtools.send("Network.emulateNetworkConditions", SLOW)
    scanned_ms = time.time() * 1000
    await page.goto(link, wait_until="commit")
    card_ms = await drawn_ms(page, "cardAt") - scanned_ms
    words_ms = await drawn_ms(page, "wordsAt") - scanned_ms
    await page.context.close()
    return words_ms, card_ms


async def slow_round_of(stage: Stage) -> dict[str, float]:
    """One phone that finds a card, and one that finds a question."""
    found: dict[str, float] = {}
    async with CompanionClient(stage.url, token=stage.token) as agent:
        await agent.contextual_update("quote_ready", QUOTE)
        found["slow: words"], found["slow: card"] = await slow_scan(stage, agent, ".choice")
    async with CompanionClient(stage.url, token=stage.token) as agent:
        asking = asyncio.create_task(
            agent.call_tool("companion_choose", title="Which?", options=["Air", "Ground"])
        )
        await asyncio.sleep(0.2)
        _, found["slow: question"] = await slow_scan(stage, agent, "companion-question button")
        asking.cancel()
    return found


async def main(rounds: int) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS
        )
        with tempfile.TemporaryDirectory() as folder:
            stage = Stage(Path(folder) / "data", browser)
            await stage.start()
            results = [await round_of(stage) | await slow_round_of(stage) for _ in range(rounds)]
            await stage.stop()
        await browser.close()
    print(f"{'':18}{'median':>8}{'p95':>8}{'target':>8}   ms, {rounds} rounds")
    for name, target in TARGETS_MS.items():
        values = sorted(result[name] for result in results)
        p95 = values[min(len(values) - 1, round(0.95 * (len(values) - 1)))]
        print(f"{name:18}{statistics.median(values):8.0f}{p95:8.0f}{target or '':>8}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
