"""`openapi` and `asyncapi`: the interface documents, as the server serves them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from companion_ws.cli.run_verb import run
from companion_ws.cli.terminal import print_json, say
from companion_ws.config import Config
from companion_ws.control import reach
from companion_ws.web.docs.typescript import typescript


@click.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP routes."""
    run(_print("/openapi.json", _as_json))


@click.command()
@click.option("--typescript", "as_types", is_flag=True, help="As TypeScript declarations.")
def asyncapi(as_types: bool) -> None:
    """Print the AsyncAPI document of the WebSocket messages."""
    run(_print("/asyncapi.json", _as_types if as_types else _as_json))


async def _print(path: str, show: Callable[[Any], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with reach(Config(data=Path(folder) / "data"), may_make=True) as server:
            async with aiohttp.ClientSession() as http, http.get(server.url + path) as response:
                document: Any = await response.json(content_type=None)
    document.pop("servers", None)  # this one lived for a moment on a port of its own
    show(document)


def _as_json(document: Any) -> None:
    print_json(document, indent=2)


def _as_types(document: Any) -> None:
    say(typescript(document).rstrip("\n"), lines=True)


COMMANDS: Final = [openapi, asyncapi]
