"""`db` and `erase`: check, copy and clear what is stored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from companion_ws.cli.options import (
    ask_before,
    data_option,
    environment_config,
    json_option,
    yes_option,
)
from companion_ws.cli.run_verb import run, sentences
from companion_ws.cli.terminal import print_json, progress, say, with_progress
from companion_ws.control import reach, require_data
from companion_ws.database.sqlite.copies import write_copy


@click.group()
def db() -> None:
    """Check or copy the database."""


@db.command()
@json_option
@data_option
def check(as_json: bool, data: Path) -> None:
    """Print ok, or the faults SQLite finds (and exit with 1)."""
    with sentences():
        findings = integrity(data)
    for finding in findings:
        if as_json:
            print_json({"finding": finding})
        else:
            say(finding)
    if findings != ["ok"]:
        raise SystemExit(1)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@data_option
def backup(file: Path, data: Path) -> None:
    """Write a consistent copy to FILE, which must not exist.

    The copy has an epoch of its own: after it was put back, clients notice that
    their place in the log belongs to another one and start from a snapshot.
    """
    with sentences(), closing(_reader(data)) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        with progress("Copying", pages) as copied:
            write_copy(connection, file, copied)
    say(f"Wrote {file} ({file.stat().st_size} bytes).", err=True)


@click.command()
@click.option("--user", required=True, help="The user whose sessions, devices and tokens are erased.")
@yes_option
@data_option
def erase(user: str, yes: bool, data: Path) -> None:
    """Erase everything stored about a person, from the files too."""
    ask_before(f"Erase everything of {user} for good", yes=yes)

    async def work() -> None:
        async with reach(environment_config(data)) as server:
            erasing = server.ask("DELETE", "/me", token=server.token("user", user))
            await with_progress("Erasing", erasing)
        say(f"Erased everything of {user}.", err=True)

    run(work())


def integrity(data: Path) -> list[str]:
    """Return what SQLite's checks say: `["ok"]` or their findings."""
    with closing(_reader(data)) as connection:
        findings = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    return findings + [f"foreign key: {row}" for row in broken]


def _reader(data: Path) -> sqlite3.Connection:
    """Open the database for reading alone: the running server's writer is not disturbed."""
    require_data(data)
    path = data / "companion.db"
    if not path.exists():
        raise click.ClickException(f"{data} has no database; the first start makes it.")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


COMMANDS: Final = [db, erase]
