"""A machine that steps its clocks and refuses system calls, under the real program.

`hostile.c` is loaded before the C library and reads what to do from a file both
sides map. It needs a C compiler (`cc`), as `power_loss.py` does.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import mmap
import struct
import subprocess
import tempfile
from enum import IntEnum, IntFlag
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent
PAGE_BYTES = 4096
WITHOUT_END = 2**62


class Call(IntFlag):
    """The kinds of system calls, as hostile.c numbers them."""

    OPEN = 1
    READ = 2
    WRITE = 4
    SYNC = 8
    TRUNCATE = 16
    MODE = 32
    REMOVE = 64
    LOCK = 128
    MAP = 256
    ALLOCATE = 512
    STAT = 1024
    ACCEPT = 2048


CHANGES = (
    Call.OPEN | Call.WRITE | Call.SYNC | Call.TRUNCATE | Call.MODE | Call.REMOVE | Call.ALLOCATE
)
"""What a disk refuses that lets nobody write any more."""
EVERYTHING = Call(2047)
KILL, KILL_HALF_WAY = -1, -2
"""In place of an errno: the process dies instead of the call, or when half of a write is done."""


class _Slot(IntEnum):
    REALTIME_NS, BOOTTIME_NS, KINDS, ERRNO, LET_THROUGH, REFUSE, HOLD, SEEN, REFUSED, HELD = range(10)


@functools.cache
def library() -> Path:
    """Compile the library, once for this process."""
    built = Path(tempfile.mkdtemp(prefix="hostile-")) / "hostile.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", built, HERE / "hostile.c", "-ldl"]
    subprocess.run(command, check=True)
    return built


class Machine:
    """What one program believes of clocks and disk; `environment` makes it believe."""

    def __init__(self, scratch: Path, folder: Path) -> None:
        self._path = scratch / "hostile.control"
        self._path.write_bytes(bytes(PAGE_BYTES))
        with self._path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), PAGE_BYTES)
        self.environment = {
            "LD_PRELOAD": str(library()),
            "HOSTILE_CONTROL": str(self._path),
            "HOSTILE_FOLDER": str(folder),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()
        self._map.close()

    # Clocks.

    def step(self, seconds: float) -> None:
        """Set the time of day, forward or back; what runs runs on."""
        self._set(_Slot.REALTIME_NS, self._get(_Slot.REALTIME_NS) + int(seconds * 1e9))

    def sleep(self, seconds: float) -> None:
        """Be suspended for so long: the time of day goes on, and so does the clock that counts it."""
        self._set(_Slot.BOOTTIME_NS, self._get(_Slot.BOOTTIME_NS) + int(seconds * 1e9))
        self.step(seconds)

    # Disk.

    def refuse(
        self,
        calls: Call,
        error: int = errno.EIO,
        *,
        after: int = 0,
        count: int = WITHOUT_END,
    ) -> None:
        """Refuse `count` of these calls, after `after` of them went well."""
        self._set(_Slot.KINDS, 0)
        for slot, value in (
            (_Slot.ERRNO, error), (_Slot.LET_THROUGH, after), (_Slot.REFUSE, count),
            (_Slot.SEEN, 0), (_Slot.REFUSED, 0), (_Slot.KINDS, int(calls)),
        ):
            self._set(slot, value)

    def hold(self, calls: Call) -> None:
        """Let these calls take their time, until `heal` or another `hold`."""
        self._set(_Slot.HOLD, int(calls))

    async def held(self) -> None:
        """Wait until a call is being held."""
        async with asyncio.timeout(20):
            while not self._get(_Slot.HELD):
                await asyncio.sleep(0.002)

    def heal(self) -> None:
        """Let everything through again."""
        self._set(_Slot.KINDS, 0)
        self._set(_Slot.HOLD, 0)

    @property
    def seen(self) -> int:
        """How many calls were made since `refuse`."""
        return self._get(_Slot.SEEN)

    @property
    def refused(self) -> int:
        """How many of them were refused."""
        return self._get(_Slot.REFUSED)

    def _get(self, slot: _Slot) -> int:
        return int(struct.unpack_from("=q", self._map, slot * 8)[0])

    def _set(self, slot: _Slot, value: int) -> None:
        struct.pack_into("=q", self._map, slot * 8, value)
