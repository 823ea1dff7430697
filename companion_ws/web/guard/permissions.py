"""Who may do what in a session, for every entrance.

| token | in a session |
| --- | --- |
| user | owns those opened for this user |
| service | owns those it opened itself, whatever user it named |
| admin | owns its own; manages all others over HTTP and observes them over a socket, audited |
| session | does in its one session what its role does, while that lives; manages nothing |
| metrics | nothing |

Which kinds of token may use a route at all is a matter of the route table, and what a role may say
one of the commands. A session that is unknown and one of somebody else get the same words.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol, cast

from aiohttp import web

from companion_ws.access.tokens import Claims
from companion_ws.core.errors import Forbidden, SessionEnded, SessionForbidden, SessionNotFound
from companion_ws.logs import audit, shown_path
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.web.guard.middleware import CLAIMS

Role = Literal["agent", "ui", "observer"]
ROLES: Final[tuple[Role, ...]] = ("agent", "ui", "observer")

_NOTED: Final = web.RequestKey("_NOTED", bool)
"""Whether the request's line stands in the audit log: one request, one line."""


class Owned(Protocol):
    """A session, as far as permissions go: whose it is, and which service opened it."""

    @property
    def session_id(self) -> str: ...

    @property
    def user(self) -> str: ...

    @property
    def service(self) -> str | None: ...


# What a token makes of its bearer.


def is_owner(claims: Claims, session: Owned) -> bool:
    """Whether a session is the bearer's own."""
    match claims.kind:
        case "service":
            return session.service == claims.user
        case "user" | "admin":
            return session.user == claims.user
        case _:
            return False


def may_manage(claims: Claims, session: Owned) -> bool:
    """Whether a token may let others into a session or out, name it and end it."""
    return claims.kind == "admin" or is_owner(claims, session)


def may_join(claims: Claims, session: Owned, role: Role) -> bool:
    """Whether a token may join a session that it does not name itself, in this role."""
    return is_owner(claims, session) or (claims.kind == "admin" and role == "observer")


def role_of(claims: Claims, asked: Role | None, verb: Literal["joins", "acts"] = "joins") -> Role:
    """Return the role a token joins or acts in; one for a session alone has its own.

    Raises:
        SessionForbidden: the token does not allow the role that was asked for.
    """
    if claims.kind == "metrics":
        raise SessionForbidden("This token reads the figures and joins nowhere.")
    if claims.kind != "session":
        return asked or "agent"
    own = cast("Role", claims.role or "ui")
    if asked and asked != own:
        raise SessionForbidden(f"This token {verb} as {own} only.")
    return own


def check_renewable(claims: Claims) -> None:
    """Refuse to renew a token that is not for one session.

    Raises:
        Forbidden: it is of another kind, which is issued again instead.
    """
    if claims.kind != "session":
        raise Forbidden("Only session tokens are renewed here.")


# The session that a request is about.


async def managed(sessions: Sessions, request: web.Request) -> Summary:
    """Return the session of the path, ended or not, for its owner and for admins.

    Raises:
        SessionNotFound: it is unknown, or somebody else's.
    """
    claims = request[CLAIMS]
    session = await sessions.summary(request.match_info["session_id"])
    if session is None or not may_manage(claims, session):
        raise SessionNotFound
    note_admin(request, claims, session)
    return session


async def managed_alive(sessions: Sessions, request: web.Request) -> Summary:
    """Return the session of the path for its owner and for admins, while it lives.

    Raises:
        SessionNotFound: it is unknown, or somebody else's.
        SessionEnded: it is over.
    """
    session = await managed(sessions, request)
    check_alive(session)
    return session


async def member(sessions: Sessions, request: web.Request) -> Summary:
    """Return the session of the path, for its owner, admins and its own session tokens.

    Raises:
        SessionNotFound: it is unknown, or somebody else's.
        SessionEnded: it is over; what is kept of it is for its owner alone to read.
    """
    claims = request[CLAIMS]
    if claims.kind != "session":
        return await managed(sessions, request)
    session = None
    if claims.session_id == request.match_info["session_id"]:
        session = await sessions.summary(claims.session_id)
    if session is None:
        raise SessionNotFound
    check_alive(session)
    return session


async def check_own_alive(sessions: Sessions, claims: Claims) -> None:
    """Refuse a session token whose session is over.

    Raises:
        SessionEnded: it has ended, or was deleted since.
    """
    own = await sessions.summary(claims.session_id or "")
    if own is None:
        raise SessionEnded
    check_alive(own)


async def agents_session(sessions: Sessions, claims: Claims, named: Any) -> str:
    """Return the session that an agent without a connection names, or its token does.

    Raises:
        SessionForbidden: the token is a screen's.
        SessionNotFound: the session is unknown, over or somebody else's.
        SessionEnded: the token's own session is over.
    """
    if claims.kind == "session":
        if claims.role != "agent":
            raise SessionForbidden("This token is a screen's; an agent's is needed.")
        if claims.session_id is None or (named and named != claims.session_id):
            raise SessionNotFound
        await check_own_alive(sessions, claims)
        return claims.session_id
    session = await sessions.summary(named)
    if session is None or session.ended_at_ms is not None or not is_owner(claims, session):
        raise SessionNotFound
    return session.session_id


def check_alive(session: Summary) -> None:
    """Refuse what only a session that lives can do.

    Raises:
        SessionEnded: it is over.
    """
    if session.ended_at_ms is not None:
        raise SessionEnded


def note_admin(request: web.Request, claims: Claims, session: Owned) -> None:
    """Write down that an admin acts in the session of somebody else, whichever way it came."""
    is_noted = request.get(_NOTED, False)
    if claims.kind == "admin" and not is_owner(claims, session) and not is_noted:
        request[_NOTED] = True
        audit.info(
            "admin_acted",
            by=claims.user,
            session_id=session.session_id,
            method=request.method,
            path=shown_path(request.path),
        )
