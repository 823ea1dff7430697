"""Paired devices: listed, seen, and kept alive by renewing their session tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from companion_ws.access.credentials import Credentials
from companion_ws.access.tokens import Claims, Tokens, now_ms
from companion_ws.database import Database, Statement

TOKEN_TTL_S: Final = 3600.0
"""A session token slides by this much each time it is renewed."""


class Devices:
    """The paired devices. They are added by `Pairing` and revoked by `Credentials`."""

    def __init__(
        self,
        database: Database,
        tokens: Tokens,
        credentials: Credentials,
        *,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._credentials = credentials
        self._now_ms = now_ms

    async def of_user(self, user: str) -> list[dict[str, Any]]:
        """Return the user's paired devices that may still come, newest first."""
        rows = await self._database.read(
            """
            SELECT device_id, session_id, label, created_at_ms, last_active_at_ms FROM devices
            WHERE user = ? AND revoked_at_ms IS NULL AND token_until_ms > ?
            ORDER BY created_at_ms DESC, device_id
            """,
            (user, self._now_ms()),
        )
        names = ("device_id", "session_id", "device", "created_at", "last_active_at")
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def label(self, device_id: str) -> str:
        """Return what a device was called when it paired, "" for one that is unknown."""
        rows = await self._database.read(
            "SELECT label FROM devices WHERE device_id = ?", (device_id,)
        )
        return str(rows[0][0]) if rows else ""

    async def touch(self, device_id: str) -> None:
        """Note that a device is active now."""
        await self._database.transact(
            [
                Statement(
                    "UPDATE devices SET last_active_at_ms = ? WHERE device_id = ?",
                    (self._now_ms(), device_id),
                )
            ]
        )

    async def renew(self, claims: Claims) -> tuple[str, Claims]:
        """Return a fresh session token for the bearer of `claims`, as long as its first one lived.

        Raises:
            Unauthenticated: it was revoked in the meantime.
        """
        token, renewed = self._tokens.renew(claims, TOKEN_TTL_S)
        if renewed.device_id is None:
            await self._credentials.record(renewed)
        else:
            await self._database.transact(
                [
                    Statement(
                        "UPDATE devices SET token_until_ms = ?, last_active_at_ms = ?"
                        " WHERE device_id = ?",
                        (renewed.expires_at_ms, self._now_ms(), renewed.device_id),
                    )
                ]
            )
        return token, renewed
