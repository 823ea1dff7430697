"""`connect`: one plain connection to a session, as JSON lines on stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from companion_ws.access.data_lock import RunningServer
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.cli.options import data_option, environment_config
from companion_ws.cli.running import run
from companion_ws.cli.terminal import print_json
from companion_ws.config import Config
from companion_ws.control import LOCAL_USER

TOKEN_TTL_S: Final = 12 * 3600.0
"""How long one may go on from the last `--after` with the same token."""
SETTLE_S: Final = 10.0
"""How long the end of stdin waits for the server to have answered everything before."""
REPEAT_S: Final = 1.0
"""How long it then waits for the answers to repeats, which are read from the log."""
MAX_LINE_BYTES: Final = 16 * 1024 * 1024


@click.command()
@click.option("--url", envvar="COMPANION_URL", show_envvar=True, help="The server.  [running one]")
@click.option("--session-id", help="The session to join; without it, a new one.")
@click.option("--after", type=click.IntRange(0), help="First send every record after this seq.")
@click.option("--epoch", help="The log `--after` belongs to.")
@click.option(
    "--token",
    envvar="COMPANION_TOKEN",
    show_envvar=True,
    help="Who joins; without it, user `local` of the data folder.",
)
@click.option("--role", type=click.Choice(["agent", "ui", "observer"]), help="What it joins as.")
@click.option("--device", help="What others see as its name.")
@click.option("--tools", help="Tool names a screen answers, with commas between.")
@click.option("--strict", is_flag=True, help="Refuse instead of making another session.")
@data_option
def connect(
    url: str | None, token: str | None, strict: bool, data: Path, **join: str | int | None
) -> None:
    """Join a session with JSON lines.

    Every message is printed as one line, each line of stdin is sent.

    When stdin ends, it leaves as soon as everything sent is answered; a stdin that
    was empty from the start (</dev/null) is no reason to leave. It leaves with 1
    when the server closes the connection, and says the close code on stderr.
    """
    config = environment_config(data)
    parameters = {name: str(value) for name, value in join.items() if value is not None}
    if strict:
        parameters["strict"] = "1"
    run(_connect(url or _running_url(config), token or _local_token(config), parameters))


async def _connect(url: str, token: str, parameters: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(
            url.rstrip("/") + "/ws",
            params=parameters,
            headers={"Authorization": f"Bearer {token}"},
            heartbeat=10.0,
            max_msg_size=MAX_LINE_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
        )
        ending = _Ending()
        sending = asyncio.create_task(_send_stdin(ws, ending))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ending.now, ws)
        try:
            async for frame in ws:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    continue
                message = json.loads(frame.data)
                if not ending.hears(message):
                    print_json(message)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await ws.close()
    if ending.is_ours:
        return 0
    click.echo(f"closed by the server: {ws.close_code}", err=True)
    return 1


class _Ending:
    """How the connection ends: a last question, answered after everything before it."""

    REQUEST_ID: Final = f"connect-{os.getpid()}-end"

    def __init__(self) -> None:
        self.is_ours = False
        self._is_answered = False
        self._history_until = 0
        self._seq = 0
        self._unanswered: set[str] = set()
        self._has_come = asyncio.Event()
        self._all_answered = asyncio.Event()

    def sends(self, line: str) -> None:
        """Take note of what is sent: repeats are answered from the log, beside the line."""
        with suppress(ValueError, AttributeError):
            request_id = json.loads(line).get("requestId")
            if isinstance(request_id, str):
                self._unanswered.add(request_id)

    def hears(self, message: dict[str, Any]) -> bool:
        """Take note of a message; True for the answer to the last question, which is ours alone."""
        if message.get("type") == "session_joined":
            # A replay is sent beside the answers: what was asked for comes whole.
            is_replay = message.get("recovery") == "replay"
            self._history_until = message["seq"] if is_replay else 0
        elif "seq" in message and "duplicate" not in message:
            self._seq = message["seq"]
        request_id = message.get("requestId")
        is_last = request_id == self.REQUEST_ID
        self._is_answered = self._is_answered or is_last
        self._unanswered.discard(request_id)
        if self._is_answered and self._seq >= self._history_until:
            self._has_come.set()
            if not self._unanswered:
                self._all_answered.set()
        return is_last

    def now(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Leave without waiting."""
        self.is_ours = True
        self._closing = asyncio.ensure_future(ws.close())

    async def after_answers(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Leave once the server has answered what was sent."""
        self.is_ours = True
        await ws.send_json({"type": "state_get", "requestId": self.REQUEST_ID})
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._has_come.wait()
            # What the server only passes on has no answer: this is for repeats alone.
            async with asyncio.timeout(REPEAT_S):
                await self._all_answered.wait()
        await ws.close()


async def _send_stdin(ws: aiohttp.ClientWebSocketResponse, ending: _Ending) -> None:
    has_sent = False
    async for line in _stdin_lines():
        has_sent = True
        with suppress(ConnectionError, aiohttp.ClientError):
            ending.sends(line)
            await ws.send_str(line)
    if has_sent:
        with suppress(ConnectionError, aiohttp.ClientError):
            await ending.after_answers(ws)


async def _stdin_lines() -> AsyncIterator[str]:
    """Yield the lines of stdin that are not empty, be it a pipe, a file or a terminal."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        rest = b""
        with suppress(RuntimeError):  # the loop is gone: nobody waits any more
            while block := os.read(sys.stdin.fileno(), 65_536):
                *whole, rest = (rest + block).split(b"\n")
                for line in whole:
                    loop.call_soon_threadsafe(lines.put_nowait, line.decode(errors="replace"))
            loop.call_soon_threadsafe(lines.put_nowait, rest.decode(errors="replace"))
            loop.call_soon_threadsafe(lines.put_nowait, None)

    # A thread of our own, a daemon, on the bare descriptor: reading cannot be
    # cancelled, and must not keep us here.
    threading.Thread(target=read, daemon=True, name="stdin").start()
    while (line := await lines.get()) is not None:
        if line.strip():
            yield line.strip()


def _running_url(config: Config) -> str:
    running = RunningServer.read(config.data)
    return running.admin_url if running is not None else f"http://127.0.0.1:{config.port}"


def _local_token(config: Config) -> str:
    if config.secret_key is None and not (config.data / "secret.key").exists():
        raise click.UsageError(
            f"{config.data} has no key to sign a token with. Give --token, or the folder of the"
            " server's data with --data."
        )
    tokens = Tokens(Keys.load(config.data, config.secret_key))
    return tokens.issue("user", LOCAL_USER, TOKEN_TTL_S)[0]


COMMANDS: Final[list[Any]] = [connect]
