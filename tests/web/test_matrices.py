"""Kind of token by route, role by message: the tables of the code, the contract, and the docs."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import matrix
import pytest
from running import Running

from companion_ws.app import ROUTES
from companion_ws.core.commands import COMMANDS
from companion_ws.web.guard.route import Route

DOCS = Path(__file__).parents[2] / "docs"
KINDS = ("user", "service", "admin", "session", "metrics")
ROLES = ("agent", "ui", "observer")


def name_of(route: Route) -> str:
    path = re.sub(r"\{(\w+)(:[^}]*)?\}", r"{\1}", route.path)
    return f"{route.method} {path}"


def of_code(server: Running) -> dict[str, Route]:
    assert server.app is not None
    return {name_of(route): route for route in server.app[ROUTES]}


def said(route: Route) -> str:
    """Return who may use a route in the contract's words."""
    if route.anywhere:
        return f"anybody, here; {' '.join(sorted(route.anywhere))}, anywhere"
    who = " ".join(kind for kind in KINDS if kind in route.who) or matrix.ANYBODY
    return f"{who}, here" if route.admin else who


async def test_every_route_is_for_whom_the_contract_says(server: Running) -> None:
    table = {name: said(route) for name, route in of_code(server).items()}

    def in_order(who: str) -> str:
        first, comma, rest = who.partition(",")
        kinds = [kind for kind in KINDS if kind in first.split()]
        return f"{' '.join(kinds) or first}{comma}{rest}"

    expected = {name: in_order(who) for name, who in matrix.ROUTES.items()}
    assert {name: who for name, who in table.items() if name in expected} == {
        name: who for name, who in expected.items() if name in table
    }
    assert set(expected) - set(table) <= matrix.LATER
    others = {name: who for name, who in table.items() if name not in expected}
    assert set(others.values()) == {matrix.ANYBODY}
    assert {name.split()[0] for name in others} == {"GET"}


async def test_the_docs_have_the_same_table(server: Running) -> None:
    page = (DOCS / "http.md").read_text(encoding="utf-8")
    rows = {
        f"{method} {path}": who
        for method, path, who in re.findall(
            r"^\| `([A-Z]+)` \| `([^`]+)` \| ([^|]+) \|", page, re.MULTILINE
        )
    }
    for document in ("/openapi.json", "/asyncapi.json", "/docs", "/docs/{page}"):  # made of the table, not in it
        assert rows.pop(f"GET {document}") == "anybody"

    def shown(route: Route) -> str:
        who = ", ".join(sorted(route.who)) or "anybody"
        here = f"{who} (this machine)" if route.admin else who
        return ", ".join([here, *sorted(route.anywhere)])

    table = {name: shown(route) for name, route in of_code(server).items()}
    assert {name: who for name, who in table.items() if "/static/" not in name} == rows


@pytest.mark.parametrize("kind", [*KINDS, None])
async def test_every_route_answers_the_kinds_it_is_for_and_no_other(
    server: Running, kind: str | None
) -> None:
    session_id = await server.new_session()
    token: str | None = None
    if kind == "session":
        token = server.made("session", session_id=session_id, role="agent")
    elif kind is not None:
        token = server.made(kind, "mallory")
    for name, route in of_code(server).items():
        if not route.who or name in ("DELETE /me", "POST /keys"):
            continue  # Those would end the walk.
        path = route.path.replace("{session_id}", str(uuid.uuid4())).replace("{key:.+}", "k")
        path = re.sub(r"\{\w+\}", "x", path)
        answer = await server.http(route.method, path, token=token)
        if kind is None:
            assert answer.status == 401, name
        elif kind in matrix.kinds_of(name):
            assert answer.status not in (401, 403), (name, answer)
        else:
            assert (answer.status, answer.code) == (403, "forbidden"), name


def test_every_message_is_for_whom_the_contract_says() -> None:
    table = {name: command.roles for name, command in COMMANDS.items()}
    assert table == {name: set(roles.split()) for name, (roles, _) in matrix.MESSAGES.items()}


def test_the_docs_have_the_same_messages() -> None:
    page = (DOCS / "protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`(?: `\w+`)*) \|.*\| ([\w, ]+) \|$", page, re.MULTILINE)
    table = {name: who for names, who in rows for name in re.findall(r"\w+", names)}
    words = {"all": matrix.ALL, "owner": matrix.ALL, "session tokens": matrix.ALL}
    documented = {
        name: words.get(who, " ".join(who.split(", "))) for name, who in table.items()
        if name in COMMANDS
    }  # fmt: skip
    assert documented == {name: roles for name, (roles, _) in matrix.MESSAGES.items()}


@pytest.mark.parametrize("over", ["socket", "http"])
@pytest.mark.parametrize("role", ROLES)
async def test_each_role_says_what_it_may_and_nothing_else(
    start: Any, role: str, over: str
) -> None:
    server = await start(limit_messages_per_s=0)
    agent, screen = await server.pair_of()
    await agent.call("open", "companion_confirm", parameters={"title": "?"}, timeout_ms=120_000)
    member = await server.join(session_id=agent.session_id, role=role)
    path = f"/sessions/{agent.session_id}/messages?role={role}"
    for name, (roles, fields) in matrix.MESSAGES.items():
        if over == "socket":
            await member.send(name, **fields, requestId=f"{role}-{name}")
            refused = {m["code"] for m in await member.quiet() if m["type"] == "error"}
        else:
            answer = await server.http("POST", path, {"type": name, **fields})
            refused = {answer.code} if answer.status >= 400 else set()
        if name == "token_renew":
            assert refused == {"forbidden"}, "alice's own token is no session token"
        elif role in roles.split():
            assert "forbidden" not in refused, name
        else:
            assert refused == {"forbidden"}, name
    assert screen.connection_id


@pytest.mark.parametrize("kind", ["session", "mallory"])
async def test_only_the_owner_answers_a_pairing(server: Running, kind: str) -> None:
    session_id = await server.new_session()
    if kind == "session":
        token = server.made("session", session_id=session_id, role="agent")
        socket = await server.join(token)
    else:
        socket = await server.join(
            server.made("admin", "mallory"), session_id=session_id, role="observer"
        )
    assert await socket.refused("pairing_answer", pairing_id="p", allow=True) == "forbidden"
