"""When a client comes back."""

from __future__ import annotations

import pytest

from companion_ws.core.reconnect import LONGEST_DELAY_S, delay_s, may_return


@pytest.mark.parametrize(
    "code", [None, 1001, 1005, 1006, 1009, 1011, 1012, 1013, 4000, 4401, 4408, 4429, 4499]
)
def test_a_passing_trouble_brings_the_client_back(code: int | None) -> None:
    assert may_return(code)


@pytest.mark.parametrize(
    "code", [1000, 1002, 1003, 1007, 1008, 1010, 3000, 3999, 4500, 4501, 4510, 4999, 5000]
)
def test_a_refusal_for_good_is_not_tried_again(code: int) -> None:
    assert not may_return(code)


def test_waits_grow_to_a_bound_and_are_spread_over_their_whole_length() -> None:
    longest = [delay_s(attempt, 1.0) for attempt in range(40)]

    assert longest[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0], "each twice the one before"
    assert longest[6:] == [LONGEST_DELAY_S] * 34
    assert delay_s(7, 0.0) == 0.0
    assert delay_s(7, 0.5) == longest[7] / 2


def test_in_the_middle_of_a_conversation_no_wait_is_long() -> None:
    assert max(delay_s(attempt, 1.0, 9.9) for attempt in range(40)) == 1.0
    assert max(delay_s(attempt, 1.0, 29.9) for attempt in range(40)) == 2.0
    assert delay_s(40, 1.0, 30.0) == LONGEST_DELAY_S
    assert delay_s(0, 1.0, 1.0) == delay_s(0, 1.0)
