"""`db` and `erase`: check, copy, move and clear what is stored."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import click
from click.core import ParameterSource

from companion_ws.cli.options import (
    DATABASE,
    ask_before,
    data_option,
    environment_config,
    json_option,
    refuse_open_password,
    yes_option,
)
from companion_ws.cli.run_verb import run, sentences
from companion_ws.cli.terminal import print_json, progress, say, with_progress
from companion_ws.config import Config
from companion_ws.control import reach, require_data
from companion_ws.data_folder import DataLock
from companion_ws.database.looking import looking, newest_step, read_only, step_of
from companion_ws.database.sqlite.copies import write_copy
from companion_ws.database.trouble import extra_needed
from companion_ws.files import folder


@click.group()
def db() -> None:
    """Check the database, copy it, or move it to PostgreSQL."""


@db.command()
@json_option
@data_option
def check(as_json: bool, data: Path) -> None:
    """Print ok, or what is wrong with the database (and exit with 1).

    SQLite checks its own file. With either engine the log is checked too: a record for each
    seq, no row without its session, every session can be loaded.
    """
    with sentences():
        checked = checked_whole(environment_config(data))
    findings = checked.faults or ["ok"]
    for finding in findings:
        if as_json:
            print_json({"finding": finding})
        else:
            say(finding)
    if findings != ["ok"]:
        raise SystemExit(1)
    if not checked.log_too:
        say("Its tables are not those of this version: the log was not checked.", err=True)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@data_option
def backup(file: Path, data: Path) -> None:
    """Write a consistent copy to FILE, which must not exist.

    The copy has an epoch of its own: after it was put back, clients notice that
    their place in the log belongs to another one and start from a snapshot.
    """
    config = environment_config(data)
    if config.database is not None:
        raise click.ClickException(
            "Copies of a PostgreSQL database are made with pg_dump or pg_basebackup; docs/scaling.md"
            " says what to do when one is put back."
        )
    with sentences(), closing(read_only(_file(config))) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        with progress("Copying", pages) as copied:
            write_copy(connection, file, copied)
    say(f"Wrote {file} ({file.stat().st_size} bytes).", err=True)


@db.command("copy")
@click.option(
    "--to",
    "url",
    metavar="URL",
    help="The database, as postgresql://host/name; without it the one of the settings. A password"
    " is never part of the flag.",
)
@data_option
def copy_(url: str | None, data: Path) -> None:
    """Copy everything from the data folder's file into an empty database of PostgreSQL.

    No server may run on either. The file stays as it is; what goes wrong leaves nothing behind.
    Clients resume with a server on the copy, and their tokens stay good, as long as no server
    writes to the file again.
    """
    config = _with_target(environment_config(data), url)
    with sentences():
        path, migrations = _file(config), folder("migrations")
        with extra_needed():
            from companion_ws.database import moving
        with DataLock(data) as lock, ExitStack() as stack:
            asyncio.run(lock.acquire())
            older = moving.pages_to_update(path, migrations)
            with progress("Updating a copy", older, shown=older > 0) as updated:
                source = stack.enter_context(moving.opened(path, migrations, updated))
            with progress("Copying", 2 * source.rows) as copied:
                done = moving.move(source, str(config.database), migrations, copied)
    rows, sessions = sum(done.rows.values()), done.rows["sessions"]
    say(
        f"Copied {sessions} sessions ({rows} rows of {len(done.rows)} tables) to {done.place}; every"
        " row was read again and is the same.",
        err=True,
    )
    if done.left_out:
        say(f"Left out, since they are not this program's: {', '.join(done.left_out)}.", err=True)
    given = f" --database {shlex.quote(url)}" if url is not None else ""
    say(f"Start the server on it: companion-ws serve --data {shlex.quote(str(data))}{given}", err=True)
    say(
        f"{path} was left as it was. Put it away: clients resume with the copy, and would be lost"
        " between the two if a server wrote to the file again.",
        err=True,
    )


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


def _with_target(config: Config, url: str | None) -> Config:
    """Return the settings with the database that `--to` names, or the environment, or the file."""
    refuse_open_password(url, ParameterSource.COMMANDLINE)
    try:
        config = config if url is None else replace(config, database=url)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    if config.database is None:
        raise click.UsageError(f"Where to? Give --to URL, or set {DATABASE} or {DATABASE}_FILE.")
    return config


class Checked(NamedTuple):
    """What is wrong with the database, and whether the log was looked at."""

    faults: list[str]
    log_too: bool


def checked_whole(config: Config) -> Checked:
    """Return what SQLite's own checks find, and what does not hold in the log."""
    from companion_ws.sessions.checks import faults_of, sessions_stored

    place = config.database or _file(config)
    faults = [] if isinstance(place, str) else _file_faults(place)
    if faults:
        return Checked(faults, log_too=False)  # Nothing from broken pages would be worth a sentence.
    with looking(place) as read:
        if step_of(place, read) != newest_step(folder("migrations")):
            return Checked([], log_too=False)
        with progress("Checking", sessions_stored(read)) as told:
            return Checked(list(faults_of(read, told)), log_too=True)


def _file_faults(path: Path) -> list[str]:
    with closing(read_only(path)) as connection:
        findings = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    return [finding for finding in findings if finding != "ok"] + [f"foreign key: {row}" for row in broken]


def _file(config: Config) -> Path:
    """Return SQLite's file in the data folder, which is there."""
    require_data(config.data)
    if not config.database_path.exists():
        raise click.ClickException(f"{config.data} has no database; the first start makes it.")
    return config.database_path


COMMANDS: Final = [db, erase]
