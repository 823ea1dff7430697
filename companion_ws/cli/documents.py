"""`openapi`, `asyncapi` and `docs`: the interface documents and the docs, as the server serves them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from companion_ws.app import DOCUMENTS, create_app
from companion_ws.cli.run_verb import run
from companion_ws.cli.terminal import print_json, say
from companion_ws.config import Config
from companion_ws.control import reach
from companion_ws.web.docs.typescript import typescript

EXAMPLE_URL: Final = "https://companion.example.org"
"""What published commands ask: nobody's server."""


@click.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP routes."""
    run(_print("/openapi.json", _as_json))


@click.command()
@click.option("--typescript", "as_types", is_flag=True, help="As TypeScript declarations.")
def asyncapi(as_types: bool) -> None:
    """Print the AsyncAPI document of the WebSocket messages."""
    run(_print("/asyncapi.json", _as_types if as_types else _as_json))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def docs(folder: Path) -> None:
    """Write the docs as a static site into FOLDER, for any web server to publish."""
    run(_publish(folder))


async def _publish(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as data:
        app = await create_app(Config(data=Path(data) / "data", public_url=EXAMPLE_URL))
        count = await app[DOCUMENTS].publish(folder)
    say(f"{count} pages are in {folder}; it begins with index.html")


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


COMMANDS: Final = [openapi, asyncapi, docs]
