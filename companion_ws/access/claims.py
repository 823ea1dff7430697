"""What a verified token says."""

from __future__ import annotations

from typing import Literal

import msgspec

from companion_ws.core.session import TokenRef

Kind = Literal["user", "service", "admin", "session", "metrics"]


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says.

    `until_ms` is the absolute end of a session token, however often it is
    renewed, and `ttl_ms` how long each renewal lives; `device_id` is set for a paired
    phone. `parent` is the id of the token that made a session token, and `by` that
    token's user where it is another one.
    """

    kind: Kind
    user: str
    id: str
    issued_at_ms: int
    expires_at_ms: int
    session_id: str | None = None
    role: str | None = None
    device_id: str | None = None
    until_ms: int | None = None
    ttl_ms: int | None = None
    parent: str | None = None
    by: str | None = None

    @property
    def ref(self) -> TokenRef:
        """What is made with this token is known by."""
        return TokenRef(self.id, self.by or self.user)
