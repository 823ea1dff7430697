"""One line of the route table: method, path, who may, what answers, and how it is described."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import web

PUBLIC: Final[frozenset[str]] = frozenset()
"""Nobody needs a token."""
USER: Final = frozenset({"user", "admin"})
OWNER: Final = frozenset({"user", "service", "admin"})
MEMBER: Final = frozenset({"user", "service", "admin", "session"})
ADMIN: Final = frozenset({"admin"})
METRICS: Final = frozenset({"metrics"})


class Room(Protocol):
    """What brings lines to the route table."""

    def routes(self) -> list[Route]: ...


@dataclass(frozen=True, slots=True)
class Route:
    """`who` holds the token kinds that may use it; empty means public.

    `admin` routes answer a peer on this machine only, and from anywhere the token kinds
    of `anywhere`. `summary`, `body`,
    `query`, `answer` (msgspec types; the body's is the one that validates)
    and `status` describe it in the OpenAPI document. `media` is what an
    answer that is not JSON comes as. `body_bytes` is how large a body may be where
    the limit of messages is too small for what others send. `vouch` looks at the headers of a
    public route's request before a byte of its body is read: it raises where nothing speaks for
    who asks, and returns whether they have proved who they are.
    """

    method: str
    path: str
    who: frozenset[str]
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    admin: bool = False
    anywhere: frozenset[str] = frozenset()
    summary: str = ""
    body: Any = None
    query: Any = None
    answer: Any = None
    status: int = 200
    media: str = "application/json"
    body_bytes: int = 0
    vouch: Callable[[web.Request], bool] | None = None
    excuse: Callable[[str], web.Response] | None = None
    """What a request that `vouch` let in is answered where it is refused, or fails; given why."""
    ticket: Callable[[web.Request], Awaitable[str | None]] | None = None
    """Returns the token that a request's ticket stands for, where the route takes tickets."""
    is_internal: bool = False
    """Whether only other servers of the same database ask for it."""
    refusals: tuple[str, ...] = ("application/problem+json",)
    """What a refusal may come as."""
