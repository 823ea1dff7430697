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

from companion_ws.cli.drain import Drain
from companion_ws.cli.local import certificate_at, local_token, running_url
from companion_ws.cli.options import data_option, environment_config
from companion_ws.cli.run_verb import run, sentences
from companion_ws.cli.terminal import print_json, say

MAX_LINE_BYTES: Final = 16 * 1024 * 1024


@click.command()
@click.option("--url", envvar="COMPANION_URL", show_envvar=True, show_default="the running one", help="The server's URL.")
@click.option("--session-id", help="The session to join; without it, a new one.")
@click.option("--after", type=click.IntRange(0), help="First send every record after this seq.")
@click.option("--epoch", help="The log `--after` belongs to.")
@click.option(
    "--token",
    envvar="COMPANION_TOKEN",
    show_envvar=True,
    help="Token to join with; without it, user `local` of the data folder.",
)
@click.option("--role", type=click.Choice(["agent", "ui", "observer"]), help="Role to join with.")
@click.option("--device", help="Name that others see.")
@click.option("--tools", help="Tool names a screen answers, with commas between.")
@click.option("--strict", is_flag=True, help="Refuse instead of making another session.")
@data_option
def connect(
    url: str | None, token: str | None, strict: bool, data: Path, **join: str | int | None
) -> None:
    """Join a session with JSON lines.

    Each message is printed as one line; each line of stdin is sent.

    When stdin ends, it exits as soon as everything sent is answered, tool calls with
    their results. An empty stdin (</dev/null) does not end it. When the server closes the
    connection it exits with 1 and prints the close code and the reason on stderr.
    """
    config = environment_config(data)
    parameters = {name: str(value) for name, value in join.items() if value is not None}
    if strict:
        parameters["strict"] = "1"
    where = url or running_url(config)
    with sentences():
        token = token or local_token(config)
    run(_connect(where, token, parameters, certificate_at(where, config)), stays=True)


async def _connect(
    url: str, token: str, parameters: dict[str, str], certificate: aiohttp.Fingerprint | None
) -> int:
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(
            url.rstrip("/") + "/ws",
            params=parameters,
            headers={"Authorization": f"Bearer {token}"},
            heartbeat=10.0,
            max_msg_size=MAX_LINE_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            ssl=certificate or True,
        )
        drain = Drain()
        sending = asyncio.create_task(_send_stdin(ws, drain))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, drain.now, ws)
        try:
            trouble = await _print_messages(ws, drain) or drain.complaint
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await ws.close()
    if trouble is not None:
        say(trouble, err=True)
        return 1
    return 0


async def _print_messages(ws: aiohttp.ClientWebSocketResponse, drain: Drain) -> str | None:
    """Print what comes until the end; return why it ended, None where we have left."""
    while True:
        frame = await ws.receive()
        if frame.type is aiohttp.WSMsgType.TEXT:
            message = json.loads(frame.data)
            if not drain.hears(message):
                print_json(message)
        elif frame.type is aiohttp.WSMsgType.CLOSE:
            return f"closed by the server: {frame.data} {frame.extra or ''}".rstrip()
        elif frame.type is not aiohttp.WSMsgType.BINARY:
            return None if drain.is_ours else "the connection to the server broke off"


async def _send_stdin(ws: aiohttp.ClientWebSocketResponse, drain: Drain) -> None:
    has_sent = False
    async for line in _stdin_lines():
        has_sent = True
        with suppress(ConnectionError, aiohttp.ClientError):
            drain.sends(line)
            await ws.send_str(line)
    if has_sent:
        with suppress(ConnectionError, aiohttp.ClientError):
            await drain.after_answers(ws)


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


COMMANDS: Final[list[Any]] = [connect]
