"""When Python looks for garbage in cycles: seldom, little at a time, and whole when nobody is here.

How it works. A pass of the collector stands still for as long as it takes to walk the objects
it looks at, and five thousand sessions are some millions of them. Nothing on the way of a
message and nothing left of a connection is a cycle (tests/server/test_cycles.py), so there is
hardly anything to find: young objects are looked at in small passes, and what is old is walked
only when no connection is here to notice.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

YOUNG: Final = 10_000
"""Objects made, beyond those freed, before the youngest are looked at."""
PASSES: Final = 5
"""Of the youngest, before those that survived them are looked at too: 60,000 objects, some 3 ms."""
NEVER: Final = 1_000_000
LOOK_S: Final = 60.0
"""How often it is seen whether nobody is here."""


def spare_the_loop() -> None:
    """Let the collector look at young objects only, from here on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, PASSES, NEVER)


async def collect_when_empty(connections: Callable[[], int]) -> None:
    """Look at everything while nobody is connected, once after each time somebody was."""
    was_used = False
    while True:
        await asyncio.sleep(LOOK_S)
        if connections():
            was_used = True
        elif was_used:
            was_used = False
            gc.unfreeze()
            gc.collect()
            gc.freeze()
