"""Who owns a session, who manages it, who joins it as what: each kind of token, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from companion_ws.access.tokens import Claims, Kind
from companion_ws.core.errors import Forbidden, SessionForbidden
from companion_ws.web.guard.permissions import (
    ROLES,
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
