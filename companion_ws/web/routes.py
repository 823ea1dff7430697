"""One line of the route table: method, path, who may, and what answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

PUBLIC: Final[frozenset[str]] = frozenset()
"""Nobody needs a token."""
USER: Final = frozenset({"user", "admin"})
OWNER: Final = frozenset({"user", "service", "admin"})
MEMBER: Final = frozenset({"user", "service", "admin", "session"})
ADMIN: Final = frozenset({"admin"})


@dataclass(frozen=True, slots=True)
class Route:
    """`who` holds the token kinds that may use it; empty means public.

    `admin` routes answer a peer on this machine only. `summary` and `body`,
    `answer` describe it in the OpenAPI document.
    """

    method: str
    path: str
    who: frozenset[str]
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    admin: bool = False
    summary: str = ""
    body: Any = None
    answer: Any = None
    status: int = 200
