from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from companion_ws.core.numbers import SLACK, Numbers


@given(st.lists(st.integers(0, 255) | st.none(), max_size=3 * SLACK))
def test_numbers_are_what_a_queue_of_them_would_be(steps: list[int | None]) -> None:
    numbers, queue = Numbers("B"), deque[int]()
    for step in steps:
        if step is not None:
            numbers.append(step)
            queue.append(step)
        elif queue:
            assert numbers.popleft() == queue.popleft()
    assert [*numbers] == [*queue]
    assert len(numbers) == len(queue)
    assert numbers == Numbers("B", queue)
    assert numbers != Numbers("B", [*queue, 1])
    assert numbers != [*queue]
    assert repr(numbers) == f"Numbers({[*queue]})"


def test_what_was_taken_from_the_front_gives_its_place_back() -> None:
    numbers = Numbers("I")
    for number in range(100_000):
        numbers.append(number)
        if number >= 10:
            assert numbers.popleft() == number - 10
    assert numbers[0] == 99_990
    assert [numbers[place] for place in range(len(numbers))] == [*numbers]
    numbers[9] = 7
    assert [*numbers][-1] == 7
    assert len(numbers._array) <= 2 * SLACK + 20
