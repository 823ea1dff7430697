"""Replays what a connection missed, as fast as it reads, and delays nobody."""

from __future__ import annotations

import asyncio
from typing import Final

from companion_ws.sessions.connections import Connection
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.outbox import Batch
from companion_ws.sessions.store import Store

PAGE_RECORDS: Final = 128
PAGE_BYTES: Final = 128 * 1024
LOW_BYTES: Final = 64 * 1024
"""The next page is read once the receiver has less than this to take."""
PATIENCE_S: Final = 30.0
"""How long one page may take; who takes nothing at all is noticed sooner, by the outbox."""
PACE_S: Final = 0.01


async def catch_up(live: LiveSession, store: Store, connection: Connection, after: int) -> None:
    """Send every record after `after`, in order, none twice, then let live ones follow.

    A connection that the log has moved on from, or that stops reading, is
    closed 4408: it resumes with what it has.
    """
    # From what it was told is the oldest: what was trimmed since then it would miss.
    position = after if after else connection.first_seq - 1
    outbox = connection.outbox
    outbox.is_replaying = True
    try:
        while not live.try_subscribe(connection, position):
            if outbox.is_closed or connection.connection_id not in live.members:
                return
            if not await _drained(connection):
                connection.close(4408, "slow consumer: the replay stalled; resume with after")
                return
            page = await store.records(
                live.session_id, position, live.delivered_seq, PAGE_RECORDS, PAGE_BYTES
            )
            if not page or page[0][0] != position + 1:
                connection.close(4408, "the log moved on during the replay; resume with after")
                return
            outbox.push(Batch([*page]), is_exempt=True)
            position = page[-1][0]
    finally:
        connection.end_replay()


async def _drained(connection: Connection) -> bool:
    """Wait until the receiver has taken nearly everything; False if it does not."""
    loop = asyncio.get_running_loop()
    patience_ends = loop.time() + PATIENCE_S
    while connection.outbox.waiting_bytes > LOW_BYTES:
        if connection.outbox.is_closed:
            return True
        if loop.time() > patience_ends:
            return False
        await asyncio.sleep(PACE_S)
    return True
