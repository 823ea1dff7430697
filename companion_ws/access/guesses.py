"""Wrong pairing codes where several servers share a database: one count for all of them."""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Final, Protocol

from companion_ws.access.keys import Keys
from companion_ws.access.limits import (
    DAY_S,
    GUESSES_OVERALL,
    GUESSES_OVERALL_S,
    GUESSES_PER_DAY,
    GUESSES_PER_SOURCE,
    GUESSES_PER_SOURCE_S,
    MAX_SOURCES,
    PAUSE_S,
    CodeGuesses,
    source_of,
    too_many_codes,
)
from companion_ws.core.errors import Unavailable
from companion_ws.database import Conflict, Database, Statement, one_at_a_time

LOOK_AGAIN_MS: Final = 2_000
"""A guess that was right, at another server, may have made room since."""

_FORGET: Final = "DELETE FROM guesses WHERE at_ms <= ?"
_GUESS: Final = """
    INSERT INTO guesses (guess_id, source, at_ms) SELECT :guess_id, :source, :now_ms
    WHERE (SELECT until_ms FROM guess_pause) <= :now_ms
    AND (SELECT count(*) FROM guesses WHERE source = :source AND at_ms > :window_ms) < :most
    AND (SELECT count(*) FROM guesses WHERE source = :source AND at_ms > :day_ms) < :most_a_day"""
_PAUSE: Final = """
    UPDATE guess_pause SET since_ms = :now_ms, until_ms = :until_ms
    WHERE (SELECT count(*) FROM guesses WHERE at_ms > :window_ms AND at_ms > since_ms) >= :most"""
_FORGIVE: Final = "DELETE FROM guesses WHERE guess_id = ?"
_NEWEST: Final = "SELECT at_ms FROM guesses WHERE source = ? ORDER BY at_ms DESC LIMIT ?"


class Guesses(Protocol):
    """What counts attempts at pairing codes."""

    async def begin(self, source: str) -> str:
        """Count an attempt of an address; return what `forgive` takes back.

        Raises:
            TooManyRequests: with `retry_after_ms`; nothing may be looked up.
        """

    async def forgive(self, guess: str) -> None:
        """Take an attempt back: it was right."""


class GuessesHere:
    """The attempts at a server alone, which are counted in memory."""

    def __init__(self, counted: CodeGuesses) -> None:
        self._counted = counted

    async def begin(self, source: str) -> str:
        """Count an attempt; return its source."""
        self._counted.begin(source)
        return source

    async def forgive(self, guess: str) -> None:
        """Take the latest attempt of a source back."""
        self._counted.forgive(guess)


class SharedGuesses:
    """The attempts at every server of a database, in it: the bounds of `CodeGuesses` over all.

    Counting is one transaction at a time, whichever server it is of, so two attempts can never
    both be the last one that is allowed. Addresses are stored as keyed hashes.
    """

    def __init__(self, database: Database, keys: Keys, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._keys = keys
        self._now_ms = now_ms
        self._refused: dict[str, tuple[int, int]] = {}
        """Sources, and "" for all, that were refused a moment ago: until when, and when to look again."""

    async def begin(self, source: str) -> str:
        """Count an attempt, durable on return."""
        guess_id, name, now = secrets.token_hex(8), self._named(source), self._now_ms()
        self._check_lately(name, now)
        guess = {
            "guess_id": guess_id, "source": name, "now_ms": now,
            "window_ms": _before(now, GUESSES_PER_SOURCE_S), "most": GUESSES_PER_SOURCE,
            "day_ms": _before(now, DAY_S), "most_a_day": GUESSES_PER_DAY,
        }  # fmt: skip
        pause = {
            "now_ms": now, "until_ms": now + int(PAUSE_S * 1000),
            "window_ms": _before(now, GUESSES_OVERALL_S), "most": GUESSES_OVERALL,
        }  # fmt: skip
        try:
            await self._database.transact(
                [
                    one_at_a_time("guesses"),
                    Statement(_FORGET, (_before(now, DAY_S),)),
                    Statement(_GUESS, guess, expect=1),
                    Statement(_PAUSE, pause),
                ]
            )
        except Conflict:
            raise too_many_codes(await self._wait_s(name, now)) from None
        return guess_id

    def _check_lately(self, name: str, now: int) -> None:
        """Refuse those that keep trying without asking the database, which others wait for."""
        for key in ("", name):
            until_ms, look_ms = self._refused.get(key, (0, 0))
            if now < min(until_ms, look_ms):
                raise too_many_codes((until_ms - now) / 1000)

    def _note_refused(self, key: str, until_ms: int, now: int) -> None:
        self._refused.pop(key, None)
        self._refused[key] = until_ms, now + LOOK_AGAIN_MS
        while len(self._refused) > MAX_SOURCES:
            del self._refused[next(iter(self._refused))]

    async def forgive(self, guess: str) -> None:
        """Take an attempt back; where that cannot be stored it stays counted."""
        with contextlib.suppress(Unavailable):
            await self._database.transact([Statement(_FORGIVE, (guess,))])

    def _named(self, source: str) -> str:
        key = self._keys.derive("guesses")
        return hmac.digest(key, source_of(source).encode("utf-8", "surrogatepass"), sha256).hex()

    async def _wait_s(self, name: str, now: int) -> float:
        """Return in how many seconds this source may try again."""
        [(until_ms,)] = await self._database.read("SELECT until_ms FROM guess_pause")
        if until_ms > now:
            self._note_refused("", until_ms, now)
            return float(until_ms - now) / 1000
        newest = [at_ms for (at_ms,) in await self._database.read(_NEWEST, (name, GUESSES_PER_DAY))]
        free_ms = [now]
        for most, window_s in ((GUESSES_PER_SOURCE, GUESSES_PER_SOURCE_S), (GUESSES_PER_DAY, DAY_S)):
            if len(newest) >= most:
                free_ms.append(newest[most - 1] + int(window_s * 1000))
        self._note_refused(name, max(free_ms), now)
        return float(max(free_ms) - now) / 1000


def _before(now: int, seconds: float) -> int:
    return now - int(seconds * 1000)
