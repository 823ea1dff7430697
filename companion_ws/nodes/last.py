"""The name this server had last: holding its data folder proves that the server of that name has ended.

A server that is killed and started again need not wait for its own lease to run out. That holds
only where the folder's lock proves that the last one has ended, so the note is believed in that
folder alone, since the same start of the machine: a copy of it counts for nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class LastName:
    """`node` in the data folder `data`, whose lock is held."""

    def __init__(self, data: Path) -> None:
        self._path = data / "node"

    def read(self) -> str | None:
        """Return the name of the last server here, None where it is not known to have ended."""
        try:
            name, place = self._path.read_text().split("\n")
            return name if place == self._place() else None
        except (OSError, ValueError):
            return None

    def note(self, name: str) -> None:
        """Note what this server is called now; on a disk that refuses, the next one waits."""
        with contextlib.suppress(OSError):
            fresh = self._path.with_name("node.new")
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{name}\n{self._place()}")
            fresh.replace(self._path)

    def _place(self) -> str:
        """Return what is another for every copy of the folder, and after each start of the machine."""
        found = self._path.parent.stat()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {found.st_dev} {found.st_ino}"
