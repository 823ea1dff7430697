"""A PostgreSQL that writes to its disk, to be killed; run these with `.ci/postgres`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer
from together import Servers

from companion_ws.database import Database
from companion_ws.files import folder

sys.path += [str(Path(__file__).parents[1] / name) for name in ("faults", "cli", "voice")]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer("max_wal_senders=0", "wal_level=minimal")
    yield server
    server.stop()


@pytest.fixture
async def servers(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Servers]:
    """Return servers of one database, none of which has begun."""
    url = postgres.url(tmp_path)
    database = Database(url, folder("migrations"))
    await database.open()
    yield Servers(postgres, tmp_path, database, url)
    await database.close()
