"""`doctor`: looks at everything that usually stands between an agent and a phone."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
import click

from companion_ws import __version__
from companion_ws.access.keys import Keys
from companion_ws.addresses import Addresses, default_route_address
from companion_ws.cli.data import checked_whole
from companion_ws.cli.options import data_option, environment_config, json_option
from companion_ws.cli.run_verb import run
from companion_ws.cli.terminal import print_json, say
from companion_ws.config import Config
from companion_ws.data_folder import RunningServer, StartRefused, servers_here
from companion_ws.database.looking import newest_step
from companion_ws.database.trouble import CannotOpen, extra_needed
from companion_ws.files import folder

MIN_FREE_BYTES: Final = 100 * 1024 * 1024
DISTRIBUTIONS: Final = ("aiohttp", "itsdangerous", "segno", "msgspec", "click")


class Finding(NamedTuple):
    """What one look showed; `is_good` None is a remark."""

    is_good: bool | None
    text: str


@click.command()
@json_option
@data_option
def doctor(as_json: bool, data: Path) -> None:
    """Check the installation, the data folder and the server.

    Versions, data folder, key, database, clock, addresses, the running server.
    Exits with 1 when something needs fixing.
    """
    run(_doctor(environment_config(data), as_json))


async def _doctor(config: Config, as_json: bool) -> int:
    findings = [
        *_program(),
        *_folder(config),
        *_database(config),
        _clock(),
        await _server(config),
        *_addresses(config),
    ]
    for finding in findings:
        if as_json:
            print_json({"is_good": finding.is_good, "finding": finding.text})
            continue
        mark = {True: "ok  ", False: "MEND", None: "    "}[finding.is_good]
        say(f"{mark} {finding.text}")
    return int(any(finding.is_good is False for finding in findings))


def _program() -> Iterator[Finding]:
    yield Finding(True, f"companion-ws {__version__}, Python {platform.python_version()}")
    for name in DISTRIBUTIONS:
        try:
            yield Finding(True, f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(False, f"{name} is not installed; install companion-ws with pip")
    if find_spec("uvloop") is None:
        yield Finding(None, "uvloop is not installed; pip install 'companion-ws[fast]' speeds up")


def _folder(config: Config) -> Iterator[Finding]:
    data = config.data
    if not data.is_dir():
        yield Finding(None, f"{data.resolve()} is not there yet; the first start makes it")
        for folder, server in servers_here().items():
            yield Finding(None, f"a server runs at {server.admin_url}: look at it by --data {folder}")
        return
    yield Finding(True, f"data is stored in {data.resolve()}")
    for path in sorted(data.iterdir()):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_file() and mode & 0o077:
            yield Finding(
                False, f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}"
            )
    if config.secret_key is not None or (data / "secret.key").exists():
        try:
            Keys.load(data, config.secret_key)
            yield Finding(True, "the signing key is there, long enough and private")
        except StartRefused as error:
            yield Finding(False, str(error))
    free = shutil.disk_usage(data).free
    yield Finding(free > MIN_FREE_BYTES, f"{free // 1024**2} MiB are free on its disk")


def _database(config: Config) -> Iterator[Finding]:
    if config.database is not None:
        yield from _postgres(config, config.database)
    elif config.database_path.exists():
        yield from _stored(config)


def _postgres(config: Config, url: str) -> Iterator[Finding]:
    if config.database_path.exists():
        yield Finding(None, f"{config.database_path} is not used: the database is PostgreSQL's")
    try:
        with extra_needed():
            from companion_ws.database.postgres.diagnosis import seen_of
    except CannotOpen as error:
        yield Finding(False, str(error))
        return
    seen = [Finding(*one) for one in seen_of(url, newest_step(folder("migrations")))]
    yield from seen
    if len(seen) > 1:  # else it cannot be reached
        yield from _stored(config)


def _stored(config: Config) -> Iterator[Finding]:
    try:
        checked = checked_whole(config)
    except sqlite3.Error as error:
        yield Finding(False, f"what is stored cannot be read: {error}")
        return
    if checked.faults or checked.log_too or config.database is None:
        yield Finding(not checked.faults, f"what is stored: {', '.join(checked.faults) or 'ok'}")


def _clock() -> Finding:
    with tempfile.TemporaryFile() as file:
        on_disk_s = os.fstat(file.fileno()).st_mtime
    year = time.gmtime().tm_year
    is_good = year >= 2025 and abs(on_disk_s - time.time()) < 60
    return Finding(is_good, f"the clock says {time.strftime('%Y-%m-%d %H:%M:%S %z')}")


async def _server(config: Config) -> Finding:
    running = RunningServer.read(config.data)
    if running is None:
        return Finding(None, f"no server runs on {config.data}; {_port(config)}")
    ssl = aiohttp.Fingerprint(bytes.fromhex(running.fingerprint)) if running.fingerprint else True
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(3.0)) as http,
            http.get(f"{running.admin_url}/readyz", ssl=ssl) as response,
        ):
            is_ready = response.status == 200
            answer = {} if is_ready else await response.json()
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
        return Finding(False, f"the server (pid {running.pid}) does not answer")
    said = "answers and can store" if is_ready else f"answers, but cannot store: {answer.get('detail')}"
    return Finding(is_ready, f"the server at {running.admin_url} (pid {running.pid}) {said}")


def _port(config: Config) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", config.port))
        except OSError:
            return f"port {config.port} is taken by another program"
    return f"port {config.port} is free"


def _addresses(config: Config) -> Iterator[Finding]:
    addresses = Addresses(config)
    if addresses.is_reachable_by_phone:
        yield Finding(True, f"phones use {addresses.public_url}")
    elif config.public_url is not None:
        yield Finding(None, f"phones cannot reach {config.public_url}: it means this machine alone")
    else:
        route = default_route_address()
        where = f" (this machine is {route} there)" if route else ""
        yield Finding(None, f"phones cannot reach a server started like this; use --lan{where}")
    if not addresses.public_url.startswith("https://"):
        yield Finding(
            None, "without HTTPS others on the network can read along: --tls-cert, --tunnel or a proxy"
        )


COMMANDS: Final = [doctor]
