"""Who owns a session, who manages it, who joins it as what: each kind of token, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace
from running import Running

from companion_ws import SESSIONS
from companion_ws.access.tokens import Claims, Kind
from companion_ws.core.errors import Forbidden, SessionEnded, SessionForbidden, SessionNotFound
from companion_ws.web.guard.permissions import (
    ROLES,
    agents_session,
    check_renewable,
    is_owner,
    may_join,
    may_manage,
    role_of,
)

KINDS: tuple[Kind, ...] = ("user", "service", "admin", "session", "metrics")


@dataclass(frozen=True)
class OfWhom:
    session_id: str
    user: str
    service: str | None


ALICES = OfWhom("a", "alice", None)
SHOPS = OfWhom("s", "alice", "shop")
"""Opened by the service `shop` for alice."""


def claims(kind: Kind, user: str, role: Any = None) -> Claims:
    return Claims(kind=kind, user=user, id="t", issued_at_ms=0, expires_at_ms=1, role=role)


@pytest.mark.parametrize(
    ("kind", "user", "session", "owns", "manages"),
    [
        ("user", "alice", ALICES, True, True), ("user", "bob", ALICES, False, False),
        ("user", "alice", SHOPS, True, True), ("user", "shop", SHOPS, False, False),
        ("service", "shop", SHOPS, True, True), ("service", "alice", SHOPS, False, False),
        ("service", "alice", ALICES, False, False), ("service", "other", SHOPS, False, False),
        ("admin", "alice", ALICES, True, True), ("admin", "root", ALICES, False, True),
        ("admin", "root", SHOPS, False, True), ("admin", "shop", SHOPS, False, True),
        ("session", "alice", ALICES, False, False), ("metrics", "alice", ALICES, False, False),
    ],
)  # fmt: skip
def test_who_owns_a_session_and_who_manages_it(
    kind: Kind, user: str, session: OfWhom, owns: bool, manages: bool
) -> None:
    bearer = claims(kind, user)
    assert is_owner(bearer, session) is owns
    assert may_manage(bearer, session) is manages
    for role in ROLES:
        assert may_join(bearer, session, role) is (owns or (kind == "admin" and role == "observer"))


@pytest.mark.parametrize("kind", ["user", "service", "admin"])
def test_who_names_no_role_is_an_agent(kind: Kind) -> None:
    assert role_of(claims(kind, "alice"), None) == "agent"
    for role in ROLES:
        assert role_of(claims(kind, "alice"), role) == role


@pytest.mark.parametrize("own", [None, *ROLES])
@pytest.mark.parametrize("asked", [None, *ROLES])
def test_a_token_of_one_session_has_its_own_role_and_no_other(own: Any, asked: Any) -> None:
    bearer, role = claims("session", "alice", own), own or "ui"
    if asked in (None, role):
        assert role_of(bearer, asked) == role
        return
    with pytest.raises(SessionForbidden, match=f"^This token joins as {role} only.$"):
        role_of(bearer, asked)
    with pytest.raises(SessionForbidden, match=f"^This token acts as {role} only.$"):
        role_of(bearer, asked, "acts")


@pytest.mark.parametrize("asked", [None, *ROLES])
def test_a_token_that_reads_figures_has_no_role(asked: Any) -> None:
    with pytest.raises(SessionForbidden, match="reads the figures"):
        role_of(claims("metrics", "grafana"), asked)


@pytest.mark.parametrize("kind", KINDS)
def test_only_tokens_of_one_session_are_renewed_here(kind: Kind) -> None:
    if kind == "session":
        check_renewable(claims(kind, "alice"))
        return
    with pytest.raises(Forbidden, match="Only session tokens"):
        check_renewable(claims(kind, "alice"))


async def test_an_agent_without_a_connection_acts_in_its_own_live_sessions_alone(
    server: Running,
) -> None:
    assert server.app is not None
    sessions = server.app[SESSIONS]
    alices = (await sessions.create("alice")).session_id
    bobs = (await sessions.create("bob")).session_id
    over = (await sessions.create("alice")).session_id
    await sessions.end(over, "over")
    user = claims("user", "alice")

    assert await agents_session(sessions, user, alices) == alices
    for unknown in (bobs, over, "3f2b8c1e-6a4d-4e7b-9c5a-1d2e3f4a5b6c"):
        with pytest.raises(SessionNotFound):
            await agents_session(sessions, user, unknown)
    with pytest.raises(SessionNotFound):
        await agents_session(sessions, claims("admin", "root"), alices)

    agent = replace(claims("session", "alice", "agent"), session_id=alices)
    for named in (None, "", alices):
        assert await agents_session(sessions, agent, named) == alices
    for bearer, named, refusal in (
        (agent, bobs, SessionNotFound), (replace(agent, session_id=None), None, SessionNotFound),
        (replace(agent, session_id=over), None, SessionEnded),
        (replace(agent, session_id="gone"), None, SessionEnded),
        (replace(agent, role="ui"), alices, SessionForbidden),
        (replace(agent, role=None), alices, SessionForbidden),
    ):  # fmt: skip
        with pytest.raises(refusal):
            await agents_session(sessions, bearer, named)
