"""A queue of small whole numbers, as compact as they are in memory of a C program."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final

SLACK: Final = 256
"""Numbers that were taken from the front and still take their place: moving costs more."""


class Numbers:
    """Numbers of one width, appended at the end and taken from the front.

    A deque of them takes nine times as much. `width` is a type code of `array`:
    `B` up to 255, `I` up to 2**32 - 1.
    """

    __slots__ = ("_array", "_start", "append")

    def __init__(self, width: str = "I", numbers: Iterable[int] = ()) -> None:
        self._array = array(width, numbers)
        self._start = 0
        self.append = self._array.append

    def popleft(self) -> int:
        """Take the first one."""
        number = self._array[self._start]
        self._start += 1
        if self._start > SLACK and self._start * 2 > len(self._array):
            del self._array[: self._start]
            self._start = 0
        return number

    def __len__(self) -> int:
        return len(self._array) - self._start

    def __iter__(self) -> Iterator[int]:
        return iter(self._array[self._start :])

    def __getitem__(self, place: int) -> int:
        return self._array[self._start + place]

    def __setitem__(self, place: int, number: int) -> None:
        self._array[self._start + place] = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbers) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Numbers({[*self]})"
