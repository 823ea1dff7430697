"""What was made for requests with an `Idempotency-Key`, so that a repeat makes nothing again."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import now_ms
from companion_ws.core.errors import IdempotencyMismatch
from companion_ws.database import Database, Statement

KEEP_S: Final = 24 * 3600.0
"""How long a repeat is recognised."""

MOST_PER_SESSION: Final = 1_000
MOST_PER_USER: Final = 10_000
"""Answers remembered of a session, and of a user's requests without one; the oldest go first."""

Memory = dict[str, Any]
"""What an answer is made of again; never a token, ticket or code."""


_TRIM_SESSION: Final = """
    DELETE FROM answers WHERE scope IN (
        SELECT scope FROM answers WHERE session_id = ?
        ORDER BY expires_at_ms DESC LIMIT 2147483647 OFFSET ?)"""
_TRIM_USER: Final = """
    DELETE FROM answers WHERE scope IN (
        SELECT scope FROM answers WHERE user = ? AND session_id IS NULL
        ORDER BY expires_at_ms DESC LIMIT 2147483647 OFFSET ?)"""


class Answers:
    """Remembers answers; `scope` is whatever a key is unique in, with the key itself.

    Scope and body are stored as keyed hashes: a body may be a pairing code.
    """

    def __init__(
        self, database: Database, keys: Keys, *, now_ms: Callable[[], int] = now_ms
    ) -> None:
        self._database = database
        self._keys = keys
        self._now_ms = now_ms

    async def find(self, scope: str, body: bytes) -> Memory | None:
        """Return what was made for this request, None if it is new.

        Raises:
            IdempotencyMismatch: the key came with another body.
        """
        for key in self._keys.derive_all("idempotency"):
            rows = await self._database.read(
                "SELECT request_hash, memory FROM answers WHERE scope = ? AND expires_at_ms > ?",
                (_hash(key, scope.encode()), self._now_ms()),
            )
            if rows:
                if not hmac.compare_digest(rows[0][0], _hash(key, body)):
                    raise IdempotencyMismatch("This Idempotency-Key came with another body before.")
                memory: Memory = json.loads(rows[0][1])
                return memory
        return None

    def storing(
        self, scope: str, body: bytes, memory: Memory, user: str, session_id: str | None
    ) -> list[Statement]:
        """Return what stores an answer; best in the transaction that makes what it tells of."""
        key = self._keys.derive("idempotency")
        stored = Statement(
            """
            INSERT INTO answers (scope, request_hash, user, session_id, memory, expires_at_ms)
            VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (scope) DO UPDATE
            SET request_hash = excluded.request_hash, memory = excluded.memory,
                expires_at_ms = excluded.expires_at_ms
            """,
            (
                _hash(key, scope.encode()),
                _hash(key, body),
                user,
                session_id,
                json.dumps(memory),
                self._now_ms() + int(KEEP_S * 1000),
            ),
        )
        if session_id is not None:
            return [stored, Statement(_TRIM_SESSION, (session_id, MOST_PER_SESSION))]
        return [stored, Statement(_TRIM_USER, (user, MOST_PER_USER))]

    async def store(self, statements: list[Statement]) -> None:
        """Store an answer by itself."""
        await self._database.transact(statements)


def _hash(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, sha256)
