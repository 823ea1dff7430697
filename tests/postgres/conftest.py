"""A PostgreSQL that writes to its disk, to be killed; run these with `.ci/postgres`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer

sys.path += [str(Path(__file__).parents[1] / name) for name in ("faults", "cli")]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer("max_wal_senders=0", "wal_level=minimal")
    yield server
    server.stop()
