"""`token`, `key` and `open`: who gets in, from the server's own machine."""

from __future__ import annotations

import shlex
import webbrowser
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from companion_ws.cli import settings_file
from companion_ws.cli.options import (
    ask_before,
    data_option,
    environment_config,
    json_option,
    yes_option,
)
from companion_ws.cli.run_verb import run
from companion_ws.cli.terminal import print_json, say
from companion_ws.config import duration_s
from companion_ws.control import reach
from companion_ws.data_folder import servers_here


class TokenLife(click.ParamType[float]):
    """How long a token is good, as the server takes it: from one second to a leap year."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        try:
            seconds = duration_s(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if not 1 <= seconds <= 366 * 86_400:
            self.fail(f"{value!r} is not between 1s and 366d.", param, ctx)
        return seconds


@click.group()
def token() -> None:
    """Issue, list and revoke tokens."""


@token.command()
@click.option("--user", required=True, help="The user it is for.")
@click.option(
    "--role",
    type=click.Choice(["user", "service", "admin", "metrics"]),
    default="user",
    show_default=True,
    help="What the token opens: own sessions, those of a backend, everything, or only /metrics.",
)
@click.option("--ttl", "ttl_s", type=TokenLife(), default="30d", show_default=True,
              help="How long it is valid.")  # fmt: skip
@data_option
def create(user: str, role: str, ttl_s: float, data: Path) -> None:
    """Print a new token, alone on its line."""

    async def work() -> None:
        body = {"user": user, "role": role, "ttl_s": ttl_s}
        async with reach(environment_config(data)) as server:
            answer = await server.ask("POST", "/tokens", body)
        say(answer["token"])

    run(work())


@token.command("list")
@json_option
@data_option
def list_(as_json: bool, data: Path) -> None:
    """Print the valid tokens, without their text."""

    async def work() -> None:
        async with reach(environment_config(data)) as server:
            answer = await server.ask("GET", "/tokens")
        for entry in answer["tokens"]:
            if as_json:
                print_json(entry)
            else:
                say(_line(entry))

    run(work())


@token.command()
@click.argument("token_id", required=False)
@click.option("--user", help="Revoke every token of this user instead.")
@click.option("--keep-sessions", is_flag=True, help="Let the session tokens it made live on.")
@data_option
def revoke(token_id: str | None, user: str | None, keep_sessions: bool, data: Path) -> None:
    """Revoke a token and the tokens it made; requests in progress end at once."""
    if (token_id is None) == (user is None):
        raise click.UsageError("Give a token's id, or --user.")
    if user is not None and keep_sessions:
        raise click.UsageError("--keep-sessions goes with a token's id.")

    async def work() -> None:
        async with reach(environment_config(data)) as server:
            if token_id is not None:
                kept = "?keep_sessions=1" if keep_sessions else ""
                await server.ask("DELETE", f"/tokens/{quoted(token_id)}{kept}")
            else:
                await server.ask("DELETE", f"/tokens?user={quoted(str(user))}")
        say(f"Revoked {token_id or f'everything of {user}'}.", err=True)

    run(work())


@click.group()
def key() -> None:
    """Manage the signing key."""


@key.command()
@click.option(
    "--compromise", is_flag=True, help="Immediately refuse tokens that older keys signed."
)
@yes_option
@data_option
def rotate(compromise: bool, yes: bool, data: Path) -> None:
    """Sign with a new key from now on; nobody is disconnected.

    With --compromise every token and paired phone is signed out at once, after a confirmation.
    """
    if compromise:
        ask_before("End every token and every paired phone there is", yes=yes)

    async def work() -> None:
        async with reach(environment_config(data)) as server:
            await server.ask("POST", "/keys", {"compromise": compromise})
        say("A new key signs from now on.", err=True)

    run(work())


@click.command("open")
@click.option("--print", "only_print", is_flag=True, help="Print the link, open no browser.")
@data_option
def open_(only_print: bool, data: Path) -> None:
    """Print and open a sign-in link.

    The link works once, within ten minutes, and opens an admin session on this machine. Without
    --data it finds the only server that runs here, be it a demo.
    """

    async def work() -> None:
        async with reach(environment_config(_folder_of_server(data))) as server:
            if not server.is_running:
                raise click.ClickException("No server is running. Start one: companion-ws")
            link = await server.sign_in_link()
        say(link)
        if not only_print:
            webbrowser.open(link)

    run(work())


def _folder_of_server(data: Path) -> Path:
    """Return `data`, or where nobody chose it and no server works there, the only server's folder.

    Raises:
        click.ClickException: several run; the sentence names them.
    """
    context = click.get_current_context()
    is_default = context.get_parameter_source("data") is ParameterSource.DEFAULT
    is_chosen = not is_default or context.meta.get(settings_file.VARIABLE) is not None
    elsewhere = servers_here()
    if is_chosen or not elsewhere or data.resolve() in elsewhere:
        return data
    if len(elsewhere) > 1:
        listed = " or ".join(
            f"--data {shlex.quote(str(folder))} for {server.admin_url}"
            for folder, server in elsewhere.items()
        )
        raise click.ClickException(f"Several servers run here; give {listed}.")
    return next(iter(elsewhere))


def quoted(text: str) -> str:
    """Return text as a part of a URL."""
    from urllib.parse import quote

    return quote(text, safe="")


def _line(entry: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    until = datetime.fromtimestamp(entry["expires_at"] / 1000, UTC)
    kind = entry.get("kind") or entry.get("role")
    return f"{entry['id']}  {kind:<8} {entry['user']:<20} until {until:%Y-%m-%d %H:%M} UTC"


COMMANDS: Final = [token, key, open_]
