"""What waits for the agent: turns in order, updates with the newest of each context only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Letter:
    """One thing to tell the agent.

    A `turn` makes it speak, an `update` does not, an `activity` only asks it to hold
    back. Of updates with the same `context_id` the newest replaces those that still wait.
    """

    kind: Literal["turn", "update", "activity"]
    text: str = ""
    context_id: str | None = None


class Mailbox:
    """Letters until they are delivered. Nothing is dropped but what a newer one replaces."""

    def __init__(self, letters: Iterable[Letter] = ()) -> None:
        self._letters: deque[Letter] = deque(letters)

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[Letter]:
        return iter(tuple(self._letters))

    def put(self, letter: Letter) -> None:
        """Queue a letter; it takes the place of what it replaces, so order stays true."""
        if letter.kind == "activity" and any(old.kind == "activity" for old in self._letters):
            return
        if letter.kind == "update" and letter.context_id is not None:
            for place, old in enumerate(self._letters):
                if old.kind == "update" and old.context_id == letter.context_id:
                    del self._letters[place]
                    break
        self._letters.append(letter)

    def put_first(self, letter: Letter) -> None:
        """Queue a letter before all others."""
        self._letters.appendleft(letter)

    def first(self) -> Letter | None:
        """Return the next letter without taking it out."""
        return self._letters[0] if self._letters else None

    def delivered(self, letter: Letter) -> None:
        """Take out a letter that has arrived, if it is still there."""
        if letter in self._letters:
            self._letters.remove(letter)
