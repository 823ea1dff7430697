"""`openapi` and `asyncapi`: the interface documents, as the server serves them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from companion_ws.cli.run_verb import run
from companion_ws.cli.terminal import print_json
from companion_ws.config import Config
from companion_ws.control import reach


@click.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP routes."""
    run(_print("/openapi.json"))


@click.command()
def asyncapi() -> None:
    """Print the AsyncAPI document of the WebSocket messages."""
    run(_print("/asyncapi.json"))


async def _print(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with reach(Config(data=Path(folder) / "data"), may_make=True) as server:
            async with aiohttp.ClientSession() as http, http.get(server.url + path) as response:
                document: Any = await response.json(content_type=None)
    document.pop("servers", None)  # this one lived for a moment on a port of its own
    print_json(document, indent=2)


COMMANDS: Final = [openapi, asyncapi]
