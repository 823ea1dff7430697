"""What is stored together or not at all: units of work and statements of a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Params = Sequence[Any] | Mapping[str, Any]
Settle = Callable[[Exception | None], None]
Read = Callable[..., list[Any]]
"""Takes SQL and its parameters, returns all rows."""


class Conflict(Exception):
    """A statement of a unit did not touch as many rows as it had to."""


class NotUnique(Exception):
    """A row with that key is there already."""


class Spoken(str):
    """A statement that engines have to be told in words of their own."""

    __slots__ = ("postgres",)
    postgres: str


def spoken(sqlite: str, *, postgres: str) -> Spoken:
    """Return a statement that is another text for PostgreSQL; both take the same parameters."""
    statement = Spoken(sqlite)
    statement.postgres = postgres
    return statement


class Unit:
    """Statements that are stored together or not at all.

    `rows` maps SQL to the parameters it runs with; SQL texts run in the order
    of their first appearance. `guards` texts must touch exactly one row for
    each of their parameters, else the unit is stale (`Conflict`).
    """

    __slots__ = ("_hear", "guards", "rank", "rows", "size_bytes", "taken")

    def __init__(self, hear: Settle | None = None, guards: frozenset[str] = frozenset()) -> None:
        self._hear = hear
        self.rows: dict[str, list[Params]] = {}
        self.guards = guards
        self.rank = 0
        """The order in which guards lock rows, so that no two servers wait for each other."""
        self.size_bytes = 0
        self.taken = False
        """Whether the writer has it; from then on nothing may be added."""

    def add(self, sql: str, params: Params) -> None:
        self.rows.setdefault(sql, []).append(params)

    def seal(self) -> None:
        """Fill in what is known only now: the writer takes it."""

    def settle(self, error: Exception | None) -> None:
        """Hear whether it was stored."""
        hear, self._hear = self._hear, None
        if hear is not None:
            hear(error)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a transaction; `expect` rows touched, or any number."""

    sql: str
    params: Params = ()
    expect: int | None = None


_GATE = spoken("SELECT ?", postgres="SELECT pg_advisory_xact_lock(hashtextextended(?, 0))")


def one_at_a_time(name: str) -> Statement:
    """Return what comes first in transactions of which one at a time may run, whichever server it is of.

    What the next statements read is then as the last of these transactions left it. SQLite has
    one writer, where that is so anyway.
    """
    return Statement(_GATE, (name,))


class Transaction(Unit):
    """Statements in their own order, as `Database.transact` takes them."""

    __slots__ = ("gate", "statements")

    def __init__(self, hear: Settle, statements: tuple[Statement, ...]) -> None:
        super().__init__(hear)
        self.statements = statements
        self.gate = next((str(each.params[0]) for each in statements if each.sql is _GATE), "")  # type: ignore[index]
        """What `one_at_a_time` was given; gates are passed in one order, so that no circle waits."""


def outlive(future: asyncio.Future[Any]) -> None:
    """Let nobody be told of a fault that whoever waited for it did not wait for."""
    if not future.cancelled():
        future.exception()
