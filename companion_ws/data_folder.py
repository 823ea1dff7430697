"""The data folder: ours alone, one program at a time, and where a running server answers."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

LOCK_WAIT_S: Final = 2.0
"""A verb may hold the lock for a moment; a server keeps it."""
_POLL_S: Final = 0.05
RETRY_S: Final = 1.0
"""How long a server waits before it tries again to say where it is."""

OLD_KEY_S: Final = 60.0
"""A key that was made this long ago has been used; the first start makes one."""

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

PRIVATE_FILES: Final = ("companion.db", "companion.db-wal", "companion.db-shm")


log = structlog.get_logger(__name__)


class StartRefused(Exception):
    """Starting would be unsafe; the message says why and what to do about it."""


def why_not(error: OSError) -> str:
    """Return what the system says of a file, and the way out where there is a common one."""
    said = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{said}. Make room there, or choose another folder with --data"
    if error.errno == errno.EROFS:
        return f"{said}. Choose a folder that can be written with --data"
    return said


class NotOurs(StartRefused):
    """A file or folder that other accounts have, or lead somewhere else, or could read."""


def prepare_data_folder(data: Path) -> None:
    """Make `data` a folder only we can enter and check that what is in it is ours alone.

    A looser folder that is ours is tightened to 0700; a looser database is
    not, because somebody may have read it already.

    Raises:
        StartRefused: the folder, the key, the lock or the database belongs to another account
            or is a symbolic link, or the database is looser than 0600.
    """
    try:
        if data.is_symlink():
            refuse_foreign(data, data.lstat())
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = data.lstat()
        refuse_foreign(data, found)
        # The mode asked of mkdir() passes through the umask; this one does not.
        if stat.S_IMODE(found.st_mode) != 0o700:
            data.chmod(0o700)
    except OSError as error:
        raise StartRefused(f"{data} cannot be used as data folder: {why_not(error)}.") from error
    for name in ("secret.key", "lock", *PRIVATE_FILES):
        try:
            found = (data / name).lstat()
        except FileNotFoundError:
            continue
        refuse_foreign(data / name, found)
        if name in PRIVATE_FILES:
            refuse_mode(data / name, found.st_mode)


def refuse_foreign(path: Path, found: os.stat_result) -> None:
    """Refuse what another account could exchange under us.

    Raises:
        StartRefused: it is a symbolic link, or not our account's.
    """
    if stat.S_ISLNK(found.st_mode):
        raise NotOurs(
            f"{path} is a symbolic link, which may lead anywhere by tomorrow. Put a file or folder"
            " of its own there, or name the folder itself with --data."
        )
    if found.st_uid != os.geteuid():
        raise NotOurs(
            f"{path} belongs to another account (uid {found.st_uid}). If that is as it should be, run:"
            f" chown {os.geteuid()} {path}; else choose another folder with --data."
        )


def refuse_mode(path: Path, mode: int) -> None:
    """Refuse a file that other accounts can read or write."""
    if mode & OTHERS:
        raise NotOurs(
            f"{path} can be read or written by other accounts (mode {stat.S_IMODE(mode):04o}). "
            f"If nobody else has used it, run: chmod 600 {path}"
        )


class DataInUse(Exception):
    """Another server works on this data folder; the message says which."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """What `data/server.json` says. `fingerprint` is the SHA-256 of its TLS certificate, in hex."""

    pid: int
    admin_url: str
    fingerprint: str | None = None

    def write(self, data: Path) -> None:
        """Leave the address in the data folder, for this account alone."""
        path = data / "server.json"
        fresh = path.with_name("server.json.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            json.dump(asdict(self), file)
        fresh.replace(path)

    @classmethod
    def read(cls, data: Path) -> RunningServer | None:
        """Return what the file says, None where there is none that makes sense."""
        try:
            return cls(**json.loads((data / "server.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @asynccontextmanager
    async def shown(self, data: Path) -> AsyncIterator[None]:
        """Leave the address in the data folder for the time of the block.

        A disk that refuses keeps no server from working: it is tried again each
        second, and what could not be taken away is known to be of a dead one.
        """
        trying = asyncio.create_task(self._write_in_the_end(data), name="server.json")
        await asyncio.sleep(0)
        try:
            yield
        finally:
            trying.cancel()
            try:
                self.remove(data)
            except OSError as error:
                log.warning("server_json_stays", reason=error.strerror)

    async def _write_in_the_end(self, data: Path) -> None:
        is_said = False
        while True:
            try:
                self.write(data)
            except OSError as error:
                if not is_said:
                    log.error("verbs_cannot_find_the_server", reason=error.strerror)
                is_said = True
                await asyncio.sleep(RETRY_S)
            else:
                return

    @staticmethod
    def remove(data: Path) -> None:
        """Take the address away."""
        (data / "server.json").unlink(missing_ok=True)


def has_old_key(data: Path, now_ms: int) -> bool:
    """Return whether a server worked in this data folder before."""
    with suppress(OSError):
        made_s = (data / "secret.key").stat().st_mtime
        return now_ms / 1000 - made_s > OLD_KEY_S
    return False


def is_data_folder(data: Path) -> bool:
    """Return whether a server has ever worked here."""
    return any((data / name).exists() for name in ("companion.db", "secret.key", "server.json"))


def servers_here() -> dict[Path, RunningServer]:
    """Return the servers of this account that run on this machine, by their data folders.

    Found by the locks they hold, where the system shows those (Linux); elsewhere none.
    """
    found: dict[Path, RunningServer] = {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            lock = Path(os.readlink(link))
        except OSError:
            continue  # Another account's, or gone by now.
        if lock.name == "lock" and lock.is_absolute():
            server = RunningServer.read(lock.parent)
            if server is not None and str(server.pid) == link.parts[2]:
                found[lock.parent] = server
    return found


class DataLock:
    """`data/lock`, held by one program at a time; the system lets go of it when that dies."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it.

        Raises:
            StartRefused: the folder or the file cannot be used.
        """
        prepare_data_folder(self._data)
        path = self._data / "lock"
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            os.fchmod(descriptor, 0o600)
        except OSError as error:
            raise StartRefused(f"{path} cannot be used: {why_not(error)}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise StartRefused(
                f"The file system of {self._data} knows no locks ({error.strerror}), as some network"
                " drives do not: two servers could write there at once. Choose a folder on a"
                " disk of this machine with --data."
            ) from error
        self._descriptor = descriptor
        return True

    async def acquire(self) -> None:
        """Take the lock, waiting a moment for a verb to finish.

        Raises:
            DataInUse: another server has it.
            StartRefused: as `try_acquire`.
        """
        deadline_s = asyncio.get_running_loop().time() + LOCK_WAIT_S
        while not self.try_acquire():
            if asyncio.get_running_loop().time() > deadline_s:
                raise DataInUse(in_use(self._data))
            await asyncio.sleep(_POLL_S)

    def release(self) -> None:
        """Let go of the lock; without it this does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def in_use(data: Path) -> str:
    """Return the sentence that says who works on `data`."""
    server = RunningServer.read(data)
    whose = f" (pid {server.pid}, {server.admin_url})" if server else ""
    return f"Another server works on {data}{whose}. Stop it, or choose another folder with --data."
