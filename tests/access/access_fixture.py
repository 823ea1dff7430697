"""A real database with a session in it, a clock that is moved by hand, and who may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from postgres_server import place

from companion_ws.access.credentials import Credentials
from companion_ws.access.devices import Devices
from companion_ws.access.guesses import GuessesHere
from companion_ws.access.keys import Keys
from companion_ws.access.limits import CodeGuesses
from companion_ws.access.pairing import Pairing
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.database import Database
from companion_ws.files import folder
from companion_ws.sessions.store import Row, creation

SESSION = "3f2b8c1e-6a4d-4e7b-9c5a-1d2e3f4a5b6c"


class Clock:
    """Milliseconds since 1970 that pass when a test says so."""

    def __init__(self, at_ms: int = 1_650_000_000_000) -> None:
        self.at_ms = at_ms

    def __call__(self) -> int:
        return self.at_ms

    def pass_s(self, seconds: float) -> None:
        self.at_ms += int(seconds * 1000)


@dataclass
class Access:
    """Everything about who may, over one data folder."""

    path: Path
    clock: Clock
    keys: Keys
    database: Database
    revocations: Revocations
    tokens: Tokens
    credentials: Credentials
    devices: Devices
    is_closed: bool = False

    @classmethod
    async def open(cls, path: Path, clock: Clock) -> Access:
        keys = Keys.load(path)
        database = Database(place(path / "companion.db"), folder("migrations"))
        await database.open()
        revocations = Revocations(keys)
        tokens = Tokens(keys, revocations, now_ms=clock)
        credentials = Credentials(database, revocations, now_ms=clock)
        await credentials.load()
        devices = Devices(database, tokens, credentials, now_ms=clock)
        return cls(path, clock, keys, database, revocations, tokens, credentials, devices)

    def pairing(
        self, mode: Literal["open", "confirm"] = "open", **chances: Callable[..., Any]
    ) -> Pairing:
        return Pairing(
            self.database,
            self.keys,
            self.tokens,
            GuessesHere(CodeGuesses(clock=lambda: self.clock() / 1000)),
            lambda: "https://pub.example",
            mode=mode,
            now_ms=self.clock,
            **chances,
        )

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            await self.database.close()

    async def restarted(self) -> Access:
        """Close this and open the same folder again; the caller closes the new one."""
        await self.close()
        return await Access.open(self.path, self.clock)

    async def count(self, table: str) -> int:
        [(count,)] = await self.database.read(f"SELECT count(*) FROM {table}")
        return int(count)

    async def add_session(self, session_id: str = SESSION, user: str = "alice") -> str:
        now = self.clock()
        row = Row(session_id, user, None, "", None, now, now, None, 0, None)
        await self.database.transact(creation(row))
        return session_id
