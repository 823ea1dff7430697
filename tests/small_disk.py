"""A disk that can be filled up: a small tmpfs, or a limit on file sizes where mounting is not allowed."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Literal

SIZE_KIB = 2048
LEFT_BYTES = 100_000


class SmallDisk:
    """`folder` is on it; between `fill` and `free` hardly anything can be written."""

    def __init__(self, kind: Literal["tmpfs", "limit"] | str, scratch: Path, pid: int = 0) -> None:
        self.kind = kind
        self.pid = pid
        """Whose files may not grow where a limit stands for the disk; 0 is this process."""
        self.folder = scratch / "disk"
        self.folder.mkdir()
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def __enter__(self) -> SmallDisk:
        if self.kind == "tmpfs" and not self._mounted():
            self.kind = "limit"
        return self

    def _mounted(self) -> bool:
        try:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={SIZE_KIB}k", "tmpfs", str(self.folder)],
                capture_output=True,
            )
        except OSError:
            return False
        return done.returncode == 0

    def fill(self) -> None:
        """Leave room for a few more commits at most."""
        if self.kind == "limit":
            # No file grows, and none is written to beyond its first pages.
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (8192, self._limits[1]))
            return
        left = os.statvfs(self.folder)
        with open(self.folder / "ballast", "wb") as ballast:
            ballast.write(bytes(max(0, left.f_bavail * left.f_frsize - LEFT_BYTES)))

    def free(self) -> None:
        """Give the room back."""
        if self.kind == "limit":
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, self._limits)
        else:
            (self.folder / "ballast").unlink()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        if self.kind == "tmpfs":
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
