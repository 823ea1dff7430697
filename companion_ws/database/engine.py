"""What the rest of this room asks of a database engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from companion_ws.database.threads import Fates
from companion_ws.database.trouble import CannotOpen
from companion_ws.database.units import Params, Read, Unit

R = TypeVar("R")


class Reading(Protocol):
    """One connection that reads; the thread that made it is the only one to use it."""

    def rows(self, sql: str, params: Params = ()) -> list[Any]:
        """Return all rows."""

    def of_one_instant(self, function: Callable[[Read], R]) -> R:
        """Return what a function makes of rows it reads."""

    def close(self) -> None:
        """Let go of it."""


class Engine(Protocol):
    """One database; all but `look`, `backup` and `reading` run on the writer's thread."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its connections raise when they cannot do what they are asked."""

    def open(self) -> None:
        """Open it for writing, with this version's tables."""

    def commit(self, batch: list[Unit]) -> Fates:
        """Store the units and return what became of each; raises where all of them are refused."""

    def reopen(self) -> None:
        """Make writing possible again; what it raises says why it is not yet."""

    def purge(self) -> None:
        """Let nothing that was deleted stay anywhere."""

    def tidy(self) -> None:
        """Do a little of what keeps it small; what it raises, the next commit meets too."""

    def close(self) -> None:
        """Let go of it."""

    def look(self) -> None:
        """Raise OSError where what was opened is not there any more."""

    def backup(self, target: Path) -> None:
        """Write a consistent copy to `target`, which must not exist."""

    def reading(self) -> Reading:
        """Return a connection for the thread that calls."""

    def in_words(self, error: Exception) -> str:
        """Return what it says is wrong."""

    def way_out(self, error: Exception) -> str:
        """Return what an operator can do about it."""

    def is_damage(self, error: BaseException | None) -> bool:
        """Whether stored pages are broken: that costs whoever needs them, and no retry mends it."""

    def is_disks(self, error: Exception) -> bool:
        """Whether the next read would meet it too, whatever it asks for."""

    def how_unreadable(self, error: Exception) -> str:
        """Return the event of the log that says that something cannot be read."""

    def why_not_opened(self, error: Exception) -> CannotOpen | None:
        """Return `error` with its way out; None where it says so itself."""
