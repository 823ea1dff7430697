"""Debian's WebKit, driven by W3C WebDriver: the nearest thing to an iPhone here.

Needs `apt-get install webkit2gtk-driver xvfb`. Every page is a browser of its own with an
empty home, so nothing is left of the page before: neither storage nor a process.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
START_S: Final = 40
"""A browser starts in half a second; a busy machine may take its time."""
PATIENCE: Final = aiohttp.ClientTimeout(total=START_S)
"""For one command."""
TRIES: Final = 5
BETWEEN_TAPS_MS: Final = 120
OPTIONS: Final = ["--automation", "--javascript-can-open-windows-automatically=true"]
NARROW: Final = "* { padding: 0; margin: 0; min-width: 0 }"
"""GTK's style for the window around the page, which could not be 320 px wide otherwise."""
WIDTH, HEIGHT = 320, 568
"""The smallest phone."""

# A page cannot be watched from its first byte by WebDriver. It can by the page that opens
# it: the window is there before the document, and keeps its listeners when that arrives.
WATCH: Final = """
const [url, width, height] = arguments
window.faults ??= []
window.opened?.close()
const page = window.opened = open(url, "", `popup,width=${width},height=${height}`)
const note = (text) => faults.push(text)
page.addEventListener("securitypolicyviolation",
  (event) => note(`POLICY ${event.violatedDirective} ${event.blockedURI} ${event.sample}`))
page.addEventListener("error", (event) => note(`ERROR ${event.message}`))
page.addEventListener("unhandledrejection", (event) => note(`REJECTED ${event.reason}`))
"""
FOREIGN: Final = """
return performance.getEntries().map((each) => each.name)
  .filter((name) => /^\\w+:\\/\\//.test(name) && new URL(name).host !== location.host)
"""


@dataclass(frozen=True)
class Setup:
    """What a person has set on the phone: its language, and whether things may move."""

    locale: str = "en_US.UTF-8"
    is_calm: bool = False

    def environment(self, home: Path, display: str) -> dict[str, str]:
        """Return the surroundings of a browser that finds nothing but `home`."""
        # The C library names a locale only if it is installed; one that looks like C will do.
        name = self.locale.replace("UTF-8", "utf8")
        shutil.copytree("/usr/lib/locale/C.utf8", home / "locales" / name)
        gtk = home / "gtk-3.0"
        gtk.mkdir()
        (gtk / "gtk.css").write_text(NARROW, encoding="utf-8")
        moves = "false" if self.is_calm else "true"
        (gtk / "settings.ini").write_text(
            f"[Settings]\ngtk-enable-animations={moves}\n", encoding="utf-8"
        )
        folders = ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"]
        return {
            "PATH": os.environ["PATH"],
            "DISPLAY": display,
            "LC_ALL": self.locale,
            "LOCPATH": str(home / "locales"),
            # Its own sandbox wants what a container does not give.
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
            # There is no graphics card to share buffers with.
            "WEBKIT_DISABLE_DMABUF_RENDERER": "1",
            **dict.fromkeys(folders, str(home)),
        }


class WebKit:
    """One phone: a page of WebKit at a time, watched from its first byte."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self._http = http
        self._base = base
        self._session = ""
        self._watcher = ""

    async def open(self, browser: str) -> None:
        """Start the browser."""
        options = {"binary": browser, "args": OPTIONS}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        answer = await self.ask("POST", "", {"capabilities": wanted})
        self._session = f"/{answer['sessionId']}"

    async def go(self, url: str, width: int = WIDTH, height: int = HEIGHT) -> None:
        """Open `url` in place of the page before; returns when it has loaded."""
        if not self._watcher:
            # Whoever listens must be of the same origin; this answer is no page of ours.
            await self.ask("POST", "/url", {"url": f"{URL(url).origin()}/healthz"})
            self._watcher = await self.ask("GET", "/window")
        before = set(await self.ask("GET", "/window/handles"))
        await self.ask("POST", "/window", {"handle": self._watcher})
        await self.run(WATCH, url, width, height)
        async with asyncio.timeout(START_S):
            while not (new := set(await self.ask("GET", "/window/handles")) - before):
                await asyncio.sleep(0.02)
        await self.ask("POST", "/window", {"handle": new.pop()})
        await self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    async def reload(self) -> None:
        """Open the same address again; what the browser has stored stays."""
        await self.go(await self.run("return location.href"))

    async def faults(self) -> list[str]:
        """Return what went wrong in all pages so far: policy, scripts, other origins."""
        return list(await self.run("return opener.faults")) + list(await self.run(FOREIGN))

    async def forgive(self) -> None:
        """Forget the faults so far."""
        await self.run("opener.faults.length = 0; performance.clearResourceTimings()")

    async def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page; returns what it returns."""
        return await self.ask("POST", "/execute/sync", {"script": script, "args": arguments})

    async def until(self, script: str, *arguments: Any, within_s: float = 30) -> Any:
        """Return what the expression `script` gives once it is true."""
        try:
            async with asyncio.timeout(within_s):
                while not (found := await self.run(f"return {script}", *arguments)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            seen = await self.run("return document.body.innerText")
            raise AssertionError(f"never came true: {script}\nThe page reads:\n{seen}") from None
        return found

    async def reads(self, text: str) -> None:
        """Wait until `text` is to be seen."""
        await self.until("document.body.innerText.includes(arguments[0])", text)

    async def tap(self, css: str, times: int = 1) -> None:
        """Press and let go in the middle of the first element `css` finds, as fast as people do."""
        tap = [
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
            {"type": "pause", "duration": BETWEEN_TAPS_MS},
        ]
        await self._point(await self._over(css) + tap * times)

    async def press(self, css: str) -> None:
        """Put a finger on the element and keep it there."""
        await self._point([*await self._over(css), {"type": "pointerDown", "button": 0}])

    async def let_go(self) -> None:
        """Lift the finger."""
        await self._point([{"type": "pointerUp", "button": 0}])

    async def type(self, css: str, text: str) -> None:
        """Write `text` into the field."""
        found = await self._find(css)
        await self.ask("POST", f"/element/{found[ELEMENT]}/value", {"text": text})

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one command of WebDriver; raises WebKitError."""
        url = f"{self._base}/session{self._session}{path}"
        try:
            async with self._http.request(method, url, json=body, timeout=PATIENCE) as answer:
                value = (await answer.json())["value"]
        except TimeoutError:
            raise AssertionError(f"WebKit does not answer: {method} {path} {body}") from None
        if answer.status != 200:
            raise WebKitError(value)
        return value

    async def _find(self, css: str) -> Any:
        await self.until("document.querySelector(arguments[0]) !== null", css)
        return await self.ask("POST", "/element", {"using": "css selector", "value": css})

    async def _over(self, css: str) -> list[dict[str, Any]]:
        found = await self._find(css)
        await self.run("arguments[0].scrollIntoView({block: 'center'})", found)
        return [{"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": found}]

    async def _point(self, actions: list[dict[str, Any]]) -> None:
        finger = {"type": "pointer", "id": "finger", "parameters": {"pointerType": "mouse"}}
        await self.ask("POST", "/actions", {"actions": [{**finger, "actions": actions}]})


class WebKitError(Exception):
    """WebDriver refused a command; `code` is its word for why."""

    def __init__(self, value: dict[str, Any]) -> None:
        super().__init__(f"{value['error']}: {value['message']}")
        self.code = value["error"]


@contextmanager
def virtual_screen() -> Iterator[str]:
    """A screen nobody looks at; gives its name for DISPLAY."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as names:
        process = subprocess.Popen(
            # It picks a free number itself and tells it once it is ready.
            [needed("Xvfb", "xvfb"), "-displayfd", str(writing), "-screen", "0", "480x900x24"],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(writing)
        try:
            ready, _, _ = select.select([names], [], [], START_S)
            number = names.readline().decode().strip() if ready else ""
            assert number, "Xvfb did not start"
            yield f":{number}"
        finally:
            end(process.pid)
            process.wait()


@asynccontextmanager
async def page(home: Path, display: str, setup: Setup) -> AsyncIterator[WebKit]:
    """A browser with one empty page; gone with all its processes, whatever happens inside."""
    browsers = sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"))
    assert browsers, "MiniBrowser is missing: apt-get install webkit2gtk-driver"
    async with aiohttp.ClientSession() as http:
        process, port = await _driver(http, setup.environment(home, display))
        try:
            opened = WebKit(http, f"http://127.0.0.1:{port}")
            async with asyncio.timeout(START_S):
                await opened.open(str(browsers[-1]))
            yield opened
        finally:
            end(process.pid)
            await process.wait()


async def _driver(
    http: aiohttp.ClientSession, environment: dict[str, str]
) -> tuple[asyncio.subprocess.Process, int]:
    program = needed("WebKitWebDriver", "webkit2gtk-driver")
    for _ in range(TRIES):
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            program,
            f"--port={port}",
            env=environment,
            stderr=asyncio.subprocess.DEVNULL,
            # All the browser starts belongs to this group and is ended with it.
            start_new_session=True,
        )
        try:
            if await _answers(http, port, process):
                return process, port
        except BaseException:
            end(process.pid)
            await process.wait()
            raise
    raise AssertionError(f"WebKitWebDriver found no port in {TRIES} tries")


async def _answers(
    http: aiohttp.ClientSession, port: int, process: asyncio.subprocess.Process
) -> bool:
    """Whether the driver listens; False where somebody else took its port meanwhile."""
    async with asyncio.timeout(START_S):
        while process.returncode is None:
            try:
                async with http.get(f"http://127.0.0.1:{port}/status"):
                    return True
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
    return False


def end(leader: int) -> None:
    """End the process and everything it started."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def needed(program: str, package: str) -> str:
    """Return where `program` is; a test without it fails and says what is missing."""
    path = shutil.which(program)
    assert path, f"{program} is missing: apt-get install {package}"
    return path


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
