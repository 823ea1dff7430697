"""`companion-ws serve`: the server in the foreground, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from companion_ws import logs
from companion_ws.app import SESSIONS
from companion_ws.cli import systemd
from companion_ws.cli.options import SettingsCommand, config_of, setting_options
from companion_ws.cli.run_verb import find_modules_here, finish
from companion_ws.cli.server import run_server
from companion_ws.cli.startup import print_start
from companion_ws.cli.tunnel import StoppedEarly
from companion_ws.collector import collect_when_empty, spare_the_loop
from companion_ws.config import Config
from companion_ws.sessions.blocking import interrupt_tool
from companion_ws.sessions.tools import path_of
from companion_ws.web.brand import Brand

STOP_S: Final = 9.5
"""A stop takes ten seconds at most, whatever peers and disks do."""
BLOCKED_S: Final = 1.5
"""How long the event loop may be busy with something else before that is interrupted."""
RELOAD_POLL_S: Final = 0.5


@click.command(cls=SettingsCommand)
@setting_options
def serve(**values: Any) -> None:
    """Start the server.

    This is also what runs without a command. Options override variables, which override
    the settings file, which overrides the defaults. Durations are written 90s, 15m, 1h or 30d; a
    bare number is seconds.

    Secrets are variables, or files that VARIABLE_FILE names, and never options:
    COMPANION_SECRET_KEY, and for agents at ElevenLabs
    COMPANION_ELEVENLABS_API_KEY, _AGENT_ID, _TOOL_SECRET, _WEBHOOK_SECRET, _BASE_URL and _USER.
    """
    config = config_of(values)
    if config.tools is not None:
        find_modules_here()
    try:
        Brand.of(config)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    stop = Stop()
    logs.set_up(config.log_format)
    spare_the_loop()
    code = finish(_serve(config, stop))
    if stop.is_for_reload:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    sys.exit(code)


class Stop:
    """The wish to stop, of a signal or of a changed file.

    It may come while a server tool keeps the event loop busy. So the handler is
    Python's own, which runs in between, and what sees to it that the program ends
    is a thread: it interrupts such a tool, and after STOP_S the program.
    """

    def __init__(self) -> None:
        self.is_for_reload = False
        self._wished = asyncio.Event()
        self._taken_up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watchdog: threading.Thread | None = None

    def watch_signals(self) -> None:
        """Take SIGTERM and SIGINT from now on."""
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._watchdog is not None and not self._taken_up.is_set():
            interrupt_tool(frame)
        self.now()

    def now(self) -> None:
        """Stop; the program is gone within ten seconds even if something hangs."""
        if self._watchdog is None:
            main = threading.get_ident()
            self._watchdog = threading.Thread(target=self._watch, args=(main,), daemon=True)
            self._watchdog.start()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._take_up)

    def _take_up(self) -> None:
        self._taken_up.set()
        self._wished.set()

    def _watch(self, thread_id: int) -> None:
        ends_s = time.monotonic() + STOP_S
        while not self._taken_up.wait(BLOCKED_S) and time.monotonic() < ends_s:
            # It ends a wait of the system, too, where that is what the tool does.
            signal.pthread_kill(thread_id, signal.SIGTERM)
        time.sleep(max(0.0, ends_s - time.monotonic()))
        os._exit(0)

    async def wait(self) -> None:
        """Wait for the wish."""
        await self._wished.wait()


async def _serve(config: Config, stop: Stop) -> int:
    stop.watch_signals()
    files = Files(config.tools) if config.reload else None
    with suppress(StoppedEarly):
        async with run_server(config, stop.wait) as server:
            await print_start(server)
            systemd.notify(systemd.READY)
            connections = server.app[SESSIONS].connections
            watching = [asyncio.create_task(collect_when_empty(connections.__len__))]
            alive_each_s = systemd.watchdog_s()
            if alive_each_s is not None:
                watching.append(asyncio.create_task(systemd.stay_alive(alive_each_s)))
            if files:
                watching.append(asyncio.create_task(_reload_on(files, stop)))
            await stop.wait()
            if not stop.is_for_reload:
                systemd.notify(systemd.STOPPING)
            for task in watching:
                task.cancel()
    return 0


async def _reload_on(files: Files, stop: Stop) -> None:
    while not files.have_changed():  # noqa: ASYNC110 - files tell nobody that they changed
        await asyncio.sleep(RELOAD_POLL_S)
    stop.is_for_reload = True
    stop.now()


class Files:
    """The Python files of this program and of its server tools, as they were at the start."""

    def __init__(self, tools: str | None) -> None:
        self._roots = [Path(__file__).parent.parent]
        path = path_of(tools) if tools is not None else None
        if path is not None:
            self._roots.append(path)
        is_module = tools is not None and path is None
        spec = find_spec(tools.partition(".")[0]) if is_module and tools else None
        if spec is not None:
            self._roots += [Path(place) for place in spec.submodule_search_locations or ()]
            if not spec.submodule_search_locations and spec.origin is not None:
                self._roots.append(Path(spec.origin))
        self._before = self._times()

    def have_changed(self) -> bool:
        """Return whether one was written, added or removed since."""
        return self._times() != self._before

    def _times(self) -> dict[Path, int]:
        files = (
            file
            for root in self._roots
            for file in ([root] if root.is_file() else root.rglob("*.py"))
        )
        return {file: file.stat().st_mtime_ns for file in files if file.exists()}


COMMANDS: Final = [serve]
