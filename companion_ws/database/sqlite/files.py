"""The files of a database: whether they are those that were opened, and whose they are."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


class FilesGone(OSError):
    """The files that are open are not those in the folder any more."""


class OpenFiles:
    """The files of the database as they were opened: device and inode of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: dict[str, tuple[int, int]] = {}

    @property
    def are_known(self) -> bool:
        return bool(self._opened)

    def note(self) -> None:
        """These are the ones."""
        self._opened = self._found()

    def check(self) -> None:
        """Raise FilesGone unless what was opened is what stands in the folder."""
        found = self._found()
        for suffix, opened in self._opened.items():
            if found.get(suffix) != opened:
                name = f"{self._path.name}{suffix}"
                how = "replaced" if suffix in found else "removed"
                raise FilesGone(f"{name} was {how} while the server works on it")

    def _found(self) -> dict[str, tuple[int, int]]:
        found = {}
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                state = os.stat(f"{self._path}{suffix}")
                found[suffix] = (state.st_dev, state.st_ino)
        return found


def make_private(path: str) -> None:
    """Let this account alone read a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        # A disk that lets nobody write refuses a change of mode, needed or not.
        if stat.S_IMODE(os.stat(path).st_mode) != 0o600:
            os.chmod(path, 0o600)
