"""The tunnel of `--tunnel`: runs its command, and knows which address really leads here.

What such a command prints is for people: terms of use, advertisements, news, and somewhere
the address. So each one is asked for our `/healthz`; it is ours if the answer names this
very instance.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from companion_ws.addresses import is_loopback, own_addresses
from companion_ws.data_folder import StartRefused
from companion_ws.web.api.health import INSTANCE_HEADER

FIND_S: Final = 60.0
"""How long a tunnel may take until its address leads here; fresh names take their time in DNS."""
PROBE_S: Final = 5.0
RETRY_S: Final = 1.0
END_S: Final = 2.0
"""How long the command may take to end when it is told to."""
PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""How long to wait before the command is started again: after its first end, its second, …"""
STEADY_S: Final = 120.0
"""A command that ran for this long begins with the first pause again."""
MOST_ADDRESSES: Final = 32
_URL: Final = re.compile(r"https?://[A-Za-z0-9.-]*[A-Za-z0-9](?::\d{1,5})?")

log = structlog.get_logger(__name__)

Tell = Callable[[str | None], None]


class StoppedEarly(Exception):
    """The program was told to stop before it was ready."""


@asynccontextmanager
async def tunnel(
    command: str,
    local_url: str,
    instance: str,
    tell: Tell,
    *,
    is_sought: bool,
    stopped: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[None]:
    """Run a tunnel for the time of the block; `tell` hears its address, None once it ended.

    Where it `is_sought` the block begins when the address is known.

    Raises:
        StartRefused: the command cannot be started, or no address it printed leads here.
        StoppedEarly: `stopped` came first.
    """
    running = _Tunnel(shlex.split(command.replace("{url}", local_url)), local_url, instance, tell)
    keeping: asyncio.Task[None] | None = None
    try:
        await running.start()
        if is_sought:
            await _first(running.find_first(), stopped)
        keeping = asyncio.create_task(running.keep(is_sought=is_sought), name="tunnel")
        yield
    finally:
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await running.end()


async def _first(
    finding: Awaitable[None], stopped: Callable[[], Awaitable[None]] | None
) -> None:
    found = asyncio.ensure_future(finding)
    stop = asyncio.ensure_future(stopped()) if stopped is not None else None
    try:
        await asyncio.wait({found, *([stop] if stop else [])}, return_when="FIRST_COMPLETED")
        if not found.done():
            raise StoppedEarly
        found.result()
    finally:
        for task in (found, stop):
            if task is not None:
                task.cancel()
        await asyncio.gather(found, *([stop] if stop else []), return_exceptions=True)


class _Tunnel:
    def __init__(self, command: list[str], local_url: str, instance: str, tell: Tell) -> None:
        self._command = command
        self._local_port = urlsplit(local_url).port
        self._instance = instance
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._printed: dict[str, None] = {}
        """The addresses the command printed, in their order."""
        self._news = asyncio.Event()
        self._last_line = ""
        self._url: str | None = None

    async def start(self) -> None:
        self._printed.clear()
        # The command is somebody else's program: our secrets are none of its business.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("COMPANION_")
        }
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except (OSError, IndexError, ValueError, TypeError) as error:
            raise StartRefused(f"The tunnel cannot be started: {error}.") from None
        self._reading = asyncio.create_task(self._read(self._process), name="tunnel-output")

    async def find_first(self) -> None:
        url = await self._find()
        if url is not None:
            self._take(url)
            return
        shown = shlex.join(self._command)
        said = f" Its last line: {self._last_line}" if self._last_line else ""
        if not self._printed:
            raise StartRefused(f"The tunnel printed no https URL: {shown}.{said}")
        raise StartRefused(
            f"No address that the tunnel printed leads back here: {', '.join(self._printed)}. If you"
            " know the right one, give it with --public-url."
        )

    async def keep(self, *, is_sought: bool) -> None:
        """Notice when the command ends or its address changes; start it again, until cancelled."""
        loop = asyncio.get_running_loop()
        failures, began_s = 0, loop.time()
        while True:
            if await self._ended_or_news():
                code = self._process.returncode if self._process is not None else None
                log.warning("tunnel_ended", code=code, last_line=self._last_line)
                self._take(None)
                failures = 0 if loop.time() - began_s > STEADY_S else failures
                await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
                failures, began_s = failures + 1, loop.time()
                try:
                    await self.start()
                except StartRefused as refusal:
                    log.error("tunnel_not_started", reason=str(refusal))
                    continue
                log.info("tunnel_started_again")
                if is_sought:
                    await self._seek()
            elif is_sought:
                await self._seek()

    async def _seek(self) -> None:
        url = await self._find()
        if url is not None and url != self._url:
            self._take(url)
        elif url is None and self._url is None:
            log.error("tunnel_leads_nowhere", printed=list(self._printed))

    async def end(self) -> None:
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _take(self, url: str | None) -> None:
        self._url = url
        if url is not None:
            log.info("tunnel_address", url=url)
        self._tell(url)

    async def _ended_or_news(self) -> bool:
        """Wait for the command's end (True), or for an address it had not printed before."""
        if self._process is None or self._process.returncode is not None:
            return True
        ended = asyncio.ensure_future(self._process.wait())
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({ended, news}, return_when="FIRST_COMPLETED")
            return ended.done()
        finally:
            ended.cancel()
            news.cancel()
            await asyncio.gather(ended, news, return_exceptions=True)

    async def _find(self) -> str | None:
        """Return the newest address that leads here, https before http; None if none does in time."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + FIND_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PROBE_S)) as http:
            while loop.time() < until_s:
                self._news.clear()
                newest = [*self._printed][::-1]
                tried = sorted(newest, key=lambda url: not url.startswith("https:"))
                answers = await asyncio.gather(*(self._leads_here(http, url) for url in tried))
                for url, leads in zip(tried, answers, strict=True):
                    if leads:
                        return url
                if self._is_over():
                    return None
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._news.wait()
        return None

    def _is_over(self) -> bool:
        """Whether the command has ended and printed nothing that could still come true."""
        ended = self._process is None or self._process.returncode is not None
        has_read = self._reading is None or self._reading.done()
        return ended and has_read and not self._printed

    async def _leads_here(self, http: aiohttp.ClientSession, url: str) -> bool:
        try:
            async with http.get(f"{url}/healthz", allow_redirects=False) as response:
                return response.headers.get(INSTANCE_HEADER) == self._instance
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return False

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Read all the command prints, or its full pipe would stop it."""
        if process.stdout is None:
            return
        rest = ""
        while block := await process.stdout.read(65_536):
            *lines, rest = (rest + block.decode(errors="replace")).split("\n")
            rest = rest[-10_000:]
            for line in [*lines, rest]:
                self._notice(line)

    def _notice(self, line: str) -> None:
        if line.strip():
            self._last_line = line.strip()[:300]
        for url in _URL.findall(line):
            if url not in self._printed and not self._is_own(url):
                while len(self._printed) >= MOST_ADDRESSES:
                    del self._printed[next(iter(self._printed))]
                self._printed[url] = None
                self._news.set()

    def _is_own(self, url: str) -> bool:
        """Whether it is where the command was told to lead to, which it likes to repeat."""
        split = urlsplit(url)
        try:
            host, port = split.hostname or "", split.port or (443 if split.scheme == "https" else 80)
        except ValueError:
            return True
        is_here = is_loopback(host) or host in own_addresses()
        return is_here and (split.scheme == "http" or port == self._local_port)
