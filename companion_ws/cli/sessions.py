"""`session`, `send`, `watch`, `screen`: look into sessions, and take part, from the terminal."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from companion_ws.cli.headless import HeadlessScreen
from companion_ws.cli.local import certificate_at
from companion_ws.cli.options import (
    ask_before,
    data_option,
    environment_config,
    json_option,
    yes_option,
)
from companion_ws.cli.run_verb import run
from companion_ws.cli.stay_connected import stay_connected
from companion_ws.cli.terminal import aligned, print_json, progress, say
from companion_ws.cli.tokens import quoted
from companion_ws.client import CompanionClient, CompanionClosed
from companion_ws.config import Config
from companion_ws.control import STAY_S, Reached, reach
from companion_ws.core.commands import TOLD
from companion_ws.core.gists import GISTS, gist_of, tone_of
from companion_ws.core.text import visible
from companion_ws.core.trouble import TROUBLES

MARKS: Final = {"bad": "✗", "warn": "!", "good": "✓", "": " "}

@click.group()
def session() -> None:
    """List, find, export and end sessions."""


@session.command("list")
@click.option("--user", help="Only sessions of this user.")
@click.option(
    "--trouble",
    type=click.Choice([kind.replace("_", "-") for kind in TROUBLES]),
    help="Only sessions in which that happened.",
)
@click.option("--limit", type=click.IntRange(1), default=100, help="Sessions at most.")
@json_option
@data_option
def list_(user: str | None, trouble: str | None, limit: int, as_json: bool, data: Path) -> None:
    """Print the sessions with titles, newest first, and what went wrong in them."""
    query = f"&user={quoted(user)}" if user else ""
    if trouble:
        query += f"&trouble={trouble.replace('-', '_')}"
    run(_print_sessions(environment_config(data), query, limit, as_json))


@session.command()
@click.argument("wanted")
@json_option
@data_option
def find(wanted: str, as_json: bool, data: Path) -> None:
    """Print the sessions in whose title, user, conversation or call WANTED occurs, or whose id it begins."""
    run(_print_sessions(environment_config(data), f"&find={quoted(wanted)}", 100, as_json))


@session.command()
@click.argument("session_id")
@data_option
def show(session_id: str, data: Path) -> None:
    """Print one session: owner, times, connections, state."""

    async def work() -> None:
        async with reach(environment_config(data)) as server:
            answer = await server.ask("GET", f"/sessions/{quoted(session_id)}")
        print_json(answer, indent=2)

    run(work())


@session.command()
@click.argument("session_id")
@click.option("--erase", is_flag=True, help="Delete everything of it at once, too.")
@yes_option
@data_option
def end(session_id: str, erase: bool, yes: bool, data: Path) -> None:
    """End a session for everyone in it.

    Its records stay readable for --keep-ended. With --erase they are deleted at once, after
    a confirmation.
    """
    if erase:
        ask_before(f"Delete everything of session {session_id} for good", yes=yes)

    async def work() -> None:
        query = "?erase=1" if erase else ""
        async with reach(environment_config(data)) as server:
            await server.ask("DELETE", f"/sessions/{quoted(session_id)}{query}")
        say(f"{'Erased' if erase else 'Ended'} {session_id}.", err=True)

    run(work())


@session.command()
@click.argument("session_id")
@data_option
def export(session_id: str, data: Path) -> None:
    """Print every record of a session as JSON lines."""

    async def work() -> None:
        async with reach(environment_config(data)) as server:
            found = await server.ask("GET", f"/sessions/{quoted(session_id)}")
            # Between records on the same terminal a bar would be in their way.
            is_apart = not sys.stdout.isatty()
            with progress("Exporting", found["seq"], shown=is_apart) as reached:
                async for record in _records(server, session_id):
                    print_json(record)
                    reached(record["seq"])

    run(work())


@click.command()
@click.argument("session_id")
@click.argument("text")
@click.argument("data_json", required=False, metavar="[JSON]")
@data_option
def send(session_id: str, text: str, data_json: str | None, data: Path) -> None:
    """Send an update to everyone in a session.

    Prints its record, once stored.
    """
    message: dict[str, Any] = {"type": "contextual_update", "text": text}
    if data_json is not None:
        try:
            message["data"] = json.loads(data_json)
        except ValueError as error:
            raise click.UsageError(f"Not valid JSON: {error}.") from None

    async def work() -> None:
        async with reach(environment_config(data)) as server:
            print_json(
                await server.ask("POST", f"/sessions/{quoted(session_id)}/messages", message)
            )

    run(work())


@click.command()
@click.argument("session_id")
@json_option
@data_option
def watch(session_id: str, as_json: bool, data: Path) -> None:
    """Follow a session.

    Prints a line for each of its records from the first one on, and says who comes and goes
    meanwhile, until Ctrl-C or the session's end. With --json it prints the records as they are.
    """

    config = environment_config(data)

    async def work() -> None:
        async with _running(config) as server:
            found = await server.ask("GET", f"/sessions/{quoted(session_id)}")
            if found["ended_at"]:
                async for record in _records(server, session_id):
                    _show(record, as_json)
                say("This session has ended.", err=True)
                return
            observer = CompanionClient(
                server.url,
                token=server.token(ttl_s=STAY_S),
                session_id=session_id,
                role="observer",
                after=0,
                ssl=certificate_at(server.url, config),
            )
            async with stay_connected(observer) as watching:
                if as_json:
                    async for record in watching.records():
                        _show(record, as_json)
                else:
                    await _say_what_happens(watching)

    run(work(), stays=True)


@click.command()
@click.argument("session_id")
@click.option(
    "--answer", "choice", required=True, help="An option's id or label, yes, no, or JSON."
)
@click.option("--keep", is_flag=True, help="Stay and answer every question, not only the first.")
@data_option
def screen(session_id: str, choice: str, keep: bool, data: Path) -> None:
    """Be a headless screen, for scripts.

    Answers the agent's question with CHOICE.
    """

    config = environment_config(data)

    async def work() -> None:
        async with _running(config) as server:
            found = await server.ask("GET", f"/sessions/{quoted(session_id)}")
            joining = CompanionClient(
                server.url,
                token=server.token("user", found["user"], STAY_S),
                session_id=session_id,
                role="ui",
                device="Terminal",
                ssl=certificate_at(server.url, config),
            )
            async with stay_connected(joining) as companion:
                screen = HeadlessScreen(companion, choice, lambda words: say(words, err=True))
                async for answered in screen.answers():
                    print_json(answered)
                    if not keep:
                        return

    run(work(), stays=True)


def _show(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(record)
    else:
        say(line_of(record))


async def _say_what_happens(watching: CompanionClient) -> None:
    passing = asyncio.create_task(_say_what_passes(watching))
    try:
        async for record in watching.records():
            _show(record, as_json=False)
    finally:
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)


async def _say_what_passes(watching: CompanionClient) -> None:
    """Print what is told and not recorded: who comes and goes, what screens show."""
    with suppress(CompanionClosed):  # which the records tell as well
        async for message in watching.messages():
            if message["type"] in TOLD and message["type"] in GISTS:
                say(line_of(message))


def line_of(message: dict[str, Any]) -> str:
    """Return what happened as one readable line, its time that of this machine.

    >>> line_of({"type": "user_message", "seq": 3, "text": "Air, please", "timestamp": 0,
    ...          "sender": {"role": "ui"}})[8:]
    '    3   screen  user_message: “Air, please”'
    """
    at = datetime.fromtimestamp(message["timestamp"] / 1000, UTC).astimezone()
    role = (message.get("sender") or message).get("role", "server")
    actor = "screen" if role == "ui" else role
    mark, seq = MARKS[tone_of(message)], message.get("seq", "")
    gist = gist_of(message)
    says = f"{message['type']}: {gist}" if gist else message["type"]
    return f"{at:%H:%M:%S} {seq:>4} {mark} {actor:<7} {says}"


async def _print_sessions(config: Config, query: str, limit: int, as_json: bool) -> None:
    async with reach(config) as server:
        cursor = ""
        while limit > 0:
            page = f"/sessions?limit={min(limit, 100)}{query}{cursor}"
            answer = await server.ask("GET", page if as_json else f"{page}&brief=1")
            if as_json:
                for found in answer["sessions"]:
                    print_json(found)
            else:
                for line in aligned([_cells(found) for found in answer["sessions"]]):
                    say(line)
            limit -= len(answer["sessions"])
            if not answer.get("next"):
                return
            cursor = f"&cursor={quoted(answer['next'])}"


def _cells(found: dict[str, Any]) -> list[str]:
    """Return id, last activity, title, user, who is there and what went wrong in a session."""
    at = datetime.fromtimestamp(found["last_active_at"] / 1000, UTC)
    here = ["ended"] if found["ended_at"] else []
    here += [f"{count} {role}" for role, count in found["connections"].items() if count]
    here += [f"on {found['node']}"] if found.get("node") else []
    wrong = [f"{count} {kind.replace('_', ' ')}" for kind, count in found["troubles"].items() if count]
    return [
        found["session_id"], f"{at:%Y-%m-%d %H:%M} UTC", visible(found["title"]) or "(untitled)",
        visible(found["user"]), " ".join(here), ", ".join(wrong),
    ]  # fmt: skip


async def _records(server: Reached, session_id: str) -> AsyncIterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = await server.ask(
            "GET", f"/sessions/{quoted(session_id)}/records?after={after}&limit=100"
        )
        for record in page["records"]:
            yield record
        after = page["next"] if page["records"] else None


@asynccontextmanager
async def _running(config: Config) -> AsyncIterator[Reached]:
    async with reach(config) as server:
        if not server.is_running:
            raise click.ClickException("No server is running. Start one: companion-ws")
        yield server


COMMANDS: Final = [session, send, watch, screen]
