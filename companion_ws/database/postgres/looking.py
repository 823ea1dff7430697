"""Reads a database of PostgreSQL from beside the servers that work on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from companion_ws.database.postgres.connect import connected, parts_of, place_of
from companion_ws.database.postgres.speech import translated
from companion_ws.database.postgres.words import in_words
from companion_ws.database.trouble import CannotOpen
from companion_ws.database.units import Params, Read


@contextmanager
def looking_at(url: str) -> Iterator[Read]:
    """Yield what reads the database that `url` names, all of it of one instant.

    Raises:
        CannotOpen: it cannot be reached, or not be read.
    """
    parts = parts_of(url)
    try:
        with closing(connected(parts)) as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")

            def read(sql: str, params: Params = ()) -> list[Any]:
                rows: list[Any] = connection.execute(translated(sql), params or ()).fetchall()
                return rows

            yield read
    except psycopg.Error as error:
        raise CannotOpen(f"{place_of(parts)}: {in_words(error)}") from error
