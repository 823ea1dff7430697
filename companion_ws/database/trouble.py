"""Trouble with a database: what it is called, and when it began and ended."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from companion_ws.core.errors import Unavailable

CALM_S: Final = 3.0
"""A disk that takes writes again may refuse the next one; it is over after so long without."""

log = structlog.get_logger(__name__)

Words = Callable[[Exception], str]


class CannotOpen(sqlite3.OperationalError):
    """The database cannot be used as it stands; the message names cause and way out."""


class NewerDatabase(CannotOpen):
    """A newer version has written it; this one leaves it alone."""


@contextmanager
def extra_needed() -> Iterator[None]:
    """Name the extra where what the block imports is not installed.

    Raises:
        CannotOpen: PostgreSQL's driver is not there.
    """
    try:
        yield
    except ImportError as error:
        raise CannotOpen(
            f"PostgreSQL needs the extra: pip install 'companion-ws[postgres]' ({error})"
        ) from None


class Episode:
    """Trouble from its beginning to its end; one line of the log for each."""

    def __init__(self, began: Words, ended: str, in_words: Words, way_out: Words) -> None:
        self._began = began
        self._ended = ended
        self._in_words = in_words
        self._way_out = way_out
        self._began_s = 0.0
        self._calm_since_s: float | None = None
        self.reason: str | None = None

    def begin(self, error: Exception) -> None:
        """It goes wrong, or still does."""
        self._calm_since_s = None
        if self.reason is not None:
            return
        self._began_s = time.monotonic()
        self.reason = self._in_words(error)
        log.error(self._began(error), reason=self.reason, way_out=self._way_out(error))

    def calm(self) -> None:
        """It may be over; the next refusal would be the same trouble."""
        self._calm_since_s = time.monotonic()

    def end_if_calm(self) -> None:
        if self._calm_since_s is not None and time.monotonic() - self._calm_since_s > CALM_S:
            self.end()

    def end(self) -> None:
        """It is over, if there was any."""
        if self.reason is not None:
            after_s = round(time.monotonic() - self._began_s, 1)
            log.warning(self._ended, after_s=after_s, reason=self.reason)
        self.reason = None
        self._calm_since_s = None


def unavailable(error: BaseException | None) -> Unavailable:
    """Return what those are told whose work was refused with `error`."""
    reason = Unavailable("Not known to be stored; send the same requestId again.")
    reason.__cause__ = error
    return reason
