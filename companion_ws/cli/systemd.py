"""What systemd is told of a server it started: ready, alive, stopping.

Source: sd_notify(3). Without NOTIFY_SOCKET nothing is sent, and an error of sending is nobody's:
a server is there for its clients, whether its supervisor hears it or not.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NoReturn

READY: Final = "READY=1"
ALIVE: Final = "WATCHDOG=1"
STOPPING: Final = "STOPPING=1"


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell the supervisor, if there is one, in a datagram."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # a supervisor that reads nothing must not stop the loop
        sender.sendto(state.encode(), address)


def watchdog_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return how often a sign of life is wanted of this process; None for never.

    >>> watchdog_s({"WATCHDOG_USEC": "30000000"})
    10.0
    """
    wanted_us, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    is_ours = pid in (None, "", str(os.getpid()))
    # A third of what is allowed: one may be late, and one may be lost.
    return int(wanted_us) / 3_000_000 if is_ours and wanted_us.isdecimal() and int(wanted_us) else None


async def stay_alive(each_s: float) -> NoReturn:
    """Send signs of life, as long as the event loop turns."""
    while True:
        notify(ALIVE)
        await asyncio.sleep(each_s)
