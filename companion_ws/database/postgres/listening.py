"""A connection for what servers tell each other: it hears NOTIFY, and asks on the event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from companion_ws.database.postgres.connect import connected_async, parts_of
from companion_ws.database.postgres.speech import translated

ERRORS: Final = (psycopg.Error, OSError, TimeoutError)
"""What using it raises where the connection, or PostgreSQL, is not there."""


class Listening:
    """One connection, outside of any transaction; one task at a time uses it."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str, channel: str) -> Listening:
        """Connect to the database of `url` and listen to `channel`, a plain name."""
        connection = await connected_async(parts_of(url))
        try:
            await connection.execute(f"LISTEN {channel}".encode())
        except BaseException:
            await connection.close()
            raise
        return cls(connection)

    async def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        """Return all rows; none for a statement that returns none."""
        cursor = await self._connection.execute(translated(sql).encode(), params)
        return await cursor.fetchall() if cursor.description else []

    async def wait(self, seconds: float) -> None:
        """Return when something is told, or after so long."""
        async for _ in self._connection.notifies(timeout=seconds, stop_after=1):
            pass

    async def close(self) -> None:
        """Let go of the connection."""
        await self._connection.close()
