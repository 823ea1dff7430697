"""`companion-ws mcp`: an MCP server on stdin and stdout, for hosts that start theirs as a program.

It is a pipe to `POST /mcp` of the server that runs on the data folder; with none there it runs
one inside, for as long as the host wants it. Stdout belongs to the protocol alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
from click.core import ParameterSource

from companion_ws import logs
from companion_ws.cli.mcp_bridge import McpBridge
from companion_ws.cli.mcp_home import Home
from companion_ws.cli.mcp_lines import Lines
from companion_ws.cli.options import PREFIX, SettingsCommand, config_of, setting_options
from companion_ws.cli.run_verb import find_modules_here, finish
from companion_ws.cli.serve import Stop
from companion_ws.config import Config
from companion_ws.data_folder import is_data_folder
from companion_ws.web.brand import Brand

SESSION_TTL: Final = "12h"
"""As long as a phone's token lives: the person may be away for an afternoon."""
FINISH_S: Final = 1.5
"""What was asked before stdin closed may end; hosts wait for two seconds."""


class _OwnDataCommand(SettingsCommand):
    """Hosts start it in folders of their own: without `--data` it works in the account's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        is_named = given.get("data") or given.get("config") or os.environ.get(f"{PREFIX}DATA")
        if not is_named and not os.environ.get(f"{PREFIX}CONFIG"):
            args = ["--data", str(_own_data()), *args]
        return super().parse_args(ctx, args)


@click.command(cls=_OwnDataCommand)
@click.option("--session", "name", show_default="a new one for each start",
              help="Name of a session to go on with: a paired phone stays paired.")  # fmt: skip
@setting_options
def mcp(name: str | None, **values: Any) -> None:
    """Serve MCP on stdin and stdout, for hosts that start it.

    For example: claude mcp add companion -- companion-ws mcp --session NAME

    It uses the server that runs on the data folder, and starts one inside where none does. Without
    --data that folder is ./data if a server has worked there, else the account's own.
    The settings are those of serve, for the server inside; --lan lets phones reach it.
    """
    context, config = click.get_current_context(), config_of(values)
    if context.get_parameter_source("session_ttl") is ParameterSource.DEFAULT:
        config = replace(config, session_ttl=SESSION_TTL)
    if config.tools is not None:
        find_modules_here()
    try:
        Brand.of(config)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    lines = Lines(_stdout_alone())
    logs.set_up(config.log_format)
    logging.getLogger().setLevel(logging.WARNING)
    is_any_port = context.get_parameter_source("port") is ParameterSource.DEFAULT
    sys.exit(finish(_serve(config, lines, name, is_any_port=is_any_port)))


async def _serve(config: Config, lines: Lines, name: str | None, *, is_any_port: bool) -> int:
    stop = Stop()
    stop.watch_signals()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        async with Home(config, http, is_any_port=is_any_port) as home:
            bridge = McpBridge(home, http, lines.write, name)
            # A host that cannot have a server hears so at once, on stderr.
            await home.reached()
            reading = asyncio.create_task(_read(lines, bridge))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await bridge.end(FINISH_S if reading.done() else 0)
            for task in (reading, stopping):
                task.cancel()
            await asyncio.gather(reading, stopping, return_exceptions=True)
            await http.close()  # The server inside would wait for our own connections.
    await lines.end()
    return 0


async def _read(lines: Lines, bridge: McpBridge) -> None:
    while (line := await lines.read()) is not None:
        bridge.take(line)


def _stdout_alone() -> int:
    """Return a descriptor of stdout that nobody else has: what is printed goes to stderr."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    return own


def _own_data() -> Path:
    here = Path("data")
    if is_data_folder(here):
        return here
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "companion-ws"


COMMANDS: Final = [mcp]
