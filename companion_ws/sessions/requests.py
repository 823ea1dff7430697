"""The requestIds of one session: what tells a command that is sent again from a new one.

A session is asked this with each command, and remembers 10,000 of them at least. So the newest
stand here one by one, with the record each made; of the others only a filter is in memory, which
says "surely new" or "perhaps known", and the disk knows the rest. The filter is wrong about a
new one once in some thousand times, which costs that one connection a read.

Filters are never emptied; they age. When one is full the next begins, and the oldest of
GENERATIONS is dropped: together they always hold the newest 10,000, and a short session has one
small filter or none. A filter is a Bloom filter in words: by its hash a key picks one word, and a pattern of its bits that stands for the key, so that all
of it is looked at in one step.
"""

from __future__ import annotations

from array import array
from itertools import islice
from typing import ClassVar, Final

PER_FILTER: Final = 2_500
GENERATIONS: Final = 5
WORDS: Final = 1024
"""With these, one new requestId in some hundreds looks known, and costs a read."""


def _pattern(number: int) -> int:
    """Return up to five bits of 64, mixed by a multiplication (Fibonacci hashing)."""
    mixed = number * 0x9E3779B97F4A7C15
    return (
        1 << (mixed >> 8 & 63)
        | 1 << (mixed >> 20 & 63)
        | 1 << (mixed >> 32 & 63)
        | 1 << (mixed >> 44 & 63)
        | 1 << (mixed >> 56 & 63)
    )


_PATTERNS: Final = tuple(map(_pattern, range(1, 4097)))

Key = tuple[str, str]
"""Sender and requestId, both short (`core.session.short_key`)."""


class Requests:
    """What a session knows of requestIds without asking the disk."""

    __slots__ = ("_filters", "_in_newest", "_recent")

    recent: ClassVar[int] = 64
    """How many of the newest stand by themselves at least; a quarter more before some age."""

    def __init__(self) -> None:
        self._recent: dict[Key, tuple[int, str]] = {}
        self._filters: list[array[int]] = []
        self._in_newest = 0

    def find(self, key: Key) -> tuple[int, str] | None:
        """Return seq and type of the record it made, if that is one of the newest."""
        return self._recent.get(key)

    def may_be_stored(self, key: Key) -> bool:
        """Whether the disk has to be asked for one that `find` does not know."""
        if not self._filters:
            return False
        whole = hash(key)
        bits, word = _PATTERNS[whole & 4095], (whole >> 12) % WORDS
        for words in self._filters:  # noqa: SIM110 - asked with each command; `any` takes longer
            if words[word] & bits == bits:
                return True
        return False

    def add(self, key: Key, seq: int, kind: str, durable_seq: int) -> None:
        """Remember what made the record `seq`; those up to `durable_seq` the disk can be asked for."""
        self._recent[key] = (seq, kind)
        aging = self.recent // 4 + 1
        if len(self._recent) >= self.recent + aging:
            for old in [*islice(self._recent, aging)]:
                if self._recent[old][0] > durable_seq:
                    break
                del self._recent[old]
                self._note(old)

    def _note(self, key: Key) -> None:
        if not self._filters or self._in_newest == PER_FILTER:
            self._filters.append(array("Q", bytes(8 * WORDS)))
            del self._filters[:-GENERATIONS]
            self._in_newest = 0
        self._in_newest += 1
        whole = hash(key)
        self._filters[-1][(whole >> 12) % WORDS] |= _PATTERNS[whole & 4095]
