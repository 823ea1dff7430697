"""A PostgreSQL of the tests' own, on a socket in a folder of its own; and which engine tests use.

`pytest --postgres` runs the tests that store something on it instead of on SQLite: see
`.ci/postgres`. Each file that a test would have had is a database there.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any


class PostgresServer:
    """One cluster; it is made by initdb, and can be killed as a machine would kill it.

    With `follows` it is a standby of that one, made by pg_basebackup.
    """

    def __init__(self, *settings: str, follows: PostgresServer | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._programs = programs()
        if os.geteuid() == 0:
            shutil.chown(self.folder, self._user)
        self.folder.chmod(0o755)
        self._data = self.folder / "data"
        self._known: set[str] = set()
        if follows is None:
            self._run("initdb", "-D", str(self._data), "-U", "companion", "-A", "trust",
                      "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        else:
            self._run("pg_basebackup", "-D", str(self._data), "-h", str(follows.folder), "-U",
                      "companion", "-R", "--checkpoint=fast", "--no-sync")  # fmt: skip
        self._settings = ["listen_addresses=", f"unix_socket_directories={self.folder}",
                          "max_connections=60", "shared_buffers=32MB", *settings]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        options = [part for setting in self._settings for part in ("-c", setting)]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", str(self._data), *options), stdout=log, stderr=log
            )
        until_s = time.monotonic() + 30
        while not self._is_ready():
            assert time.monotonic() < until_s, (self.folder / "log").read_text()
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill every process of it at once, as the loss of its machine would."""
        pids = [self.pid, *self.children()]
        for pid in pids:
            _kill(pid)
        assert self._process is not None
        self._process.wait(20)
        until_s = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until_s:
            time.sleep(0.01)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Kill it, and remove what it stored."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def socket(self) -> str:
        """Return the path of the socket it listens on."""
        return f"{self.folder}/.s.PGSQL.5432"

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def children(self) -> list[int]:
        told = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in told.split()]

    def url(self, path: Path | str, template: str = "template1") -> str:
        """Return the URL of the database that stands for a file; it is made at the first call."""
        name = self.name(path)
        if name not in self._known:
            template = template.removeprefix("postgresql://companion@/").partition("?")[0]
            self.query("postgres", f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
            self._known.add(name)
        return f"postgresql://companion@/{name}?host={self.folder}"

    def name(self, path: Path | str) -> str:
        """Return what the database that stands for a file is called."""
        return f"t{sha256(str(path).encode()).hexdigest()[:20]}"

    def drop(self, path: Path | str) -> None:
        """Remove the database that stands for a file, whoever is connected."""
        name = self.name(path)
        self.query("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._known.discard(name)

    def query(self, database: str, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        import psycopg

        place = f"postgresql://companion@/{database}?host={self.folder}"
        with psycopg.connect(place, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def _is_ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(f"postgresql://companion@/postgres?host={self.folder}").close()
        except psycopg.Error:
            return False
        return True

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups", *command]
        return command

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._command(program, *arguments), check=True, capture_output=True, cwd="/")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    found = [Path(path) for path in sorted(glob.glob("/usr/lib/postgresql/*/bin"))]
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    assert found, "PostgreSQL is not installed: apt-get install postgresql"
    return found[-1]


_shared: PostgresServer | None = None
is_wanted = False
"""Whether tests store on PostgreSQL: `pytest --postgres`."""


def shared() -> PostgresServer:
    """Return the server of this run of tests, which waits for no disk."""
    global _shared
    if _shared is None:
        _shared = PostgresServer("fsync=off", "full_page_writes=off")
        atexit.register(_shared.stop)
    return _shared


def place(path: Path) -> Path | str:
    """Return where a test stores what it would store at `path`."""
    return shared().url(path) if is_wanted else path


def copied(source: Path, target: Path) -> None:
    """Let a test store at `target` what stands at `source`, which nobody has open."""
    if is_wanted:
        shared().url(target, shared().url(source))
    else:
        shutil.copy(source, target)


def forgotten(path: Path) -> None:
    """Remove what a test stored."""
    if is_wanted:
        shared().drop(path)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
