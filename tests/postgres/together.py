"""What of several servers says who may, and hears what the others revoke."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from postgres_server import PostgresServer

from companion_ws.access.credentials import Credentials
from companion_ws.access.keys import Keys
from companion_ws.access.shared_keys import SharedKeys
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.clock import SharedClock
from companion_ws.core.errors import CompanionError
from companion_ws.data_folder import prepare_data_folder
from companion_ws.database import Database
from companion_ws.database.postgres.listening import ERRORS, Listening
from companion_ws.nodes.news import CHANNEL, SharedNews
from companion_ws.nodes.place import Alone, Node

LEASE = (
    "INSERT INTO nodes (node, url, until, key_mark)"
    " VALUES (%s, '', clock_timestamp() + %s * interval '1 s', '')"
)
SIGN_AFTER_S = 0.3


class Seat(Alone):
    """A server's place among the others; its lease is a row that the test writes."""

    is_good = True

    def __init__(self, name: str) -> None:
        self.me = Node(name, "")


class Server:
    """What of one server says who may, and hears what others revoke."""

    def __init__(self, url: str, database: Database, data: Path, name: str) -> None:
        self.seat = Seat(name)
        self.clock = SharedClock()
        self.database = database
        self.keys = Keys.load(data)
        self.news = SharedNews(
            database, self.seat, self.clock, partial(Listening.open, url, CHANNEL), ERRORS
        )
        self.ring = SharedKeys(self.keys, database, self.news, self.seat, SIGN_AFTER_S)
        self.revocations = Revocations(self.keys)
        self.tokens = Tokens(
            self.keys, self.revocations, now_ms=self.clock.running_ms,
            time_of_day_ms=self.clock.now_ms,
            is_current=lambda: self.news.is_current and not self.ring.is_behind,
        )  # fmt: skip
        self.credentials = Credentials(
            database, self.revocations, now_ms=self.clock.earliest_ms,
            latest_ms=self.clock.latest_ms, news=self.news,
        )  # fmt: skip

    async def issued(self, user: str = "alice") -> tuple[str, str]:
        token, claims = self.tokens.issue("user", user, 3600.0)
        await self.credentials.record(claims)
        return token, claims.id

    def refusal(self, token: str) -> type[CompanionError] | None:
        try:
            self.tokens.verify(token)
        except CompanionError as error:
            return type(error)
        return None


class Servers:
    """Servers of one database, each with a data folder and the same key in it."""

    def __init__(self, postgres: PostgresServer, path: Path, database: Database, url: str) -> None:
        self.postgres, self.path, self.database, self.url = postgres, path, database, url
        Keys.load(self.data("first"))

    def data(self, name: str) -> Path:
        folder = self.path / name
        prepare_data_folder(folder)
        if name != "first" and not (folder / "secret.key").exists():
            shutil.copy2(self.path / "first" / "secret.key", folder)
        return folder

    def query(self, sql: str, *params: object) -> list[tuple[object, ...]]:
        return self.postgres.query(self.postgres.name(self.path), sql, params)

    def silent(self, name: str) -> Server:
        """Return a server that hears nothing yet."""
        return Server(self.url, self.database, self.data(name), name)

    @asynccontextmanager
    async def server(self, name: str, lease_s: float = 60.0) -> AsyncIterator[Server]:
        server = self.silent(name)
        self.query(LEASE, name, lease_s)
        await server.news.start()
        await server.credentials.load()
        hearing = asyncio.create_task(server.news.run())
        try:
            yield server
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            self.query("DELETE FROM nodes WHERE node = %s", server.seat.me.name)
