"""Whatever happens to a limiter, in whatever order: an answer, a bounded memory, no failure."""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from companion_ws.access import limits
from companion_ws.access.limits import CodeGuesses, Rate, source_of
from companion_ws.core.errors import TooManyRequests

ANY_TEXT = st.text(max_size=60)
ADDRESSES = st.one_of(
    st.integers(0, 30).map(lambda n: f"10.0.0.{n}"),
    st.ip_addresses().map(str),
    ANY_TEXT,
)
STEPS_S = st.one_of(st.just(0.0), st.floats(0, 5), st.floats(0, 10 * 86_400))
DAY_MS = 86_400_000


class Seconds:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def begin(guesses: CodeGuesses, source: str) -> int:
    """Return 0, or how many milliseconds `source` has to wait."""
    try:
        guesses.begin(source)
    except TooManyRequests as refusal:
        return int(refusal.details["retry_after_ms"])
    return 0


def test_ten_thousand_phones_that_pair_by_right_codes_leave_code_entry_working() -> None:
    guesses = CodeGuesses(clock=Seconds())
    for number in range(limits.MAX_SOURCES + 10):
        source = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
        guesses.begin(source)
        guesses.forgive(source)
    assert not guesses._by_source, "who was right is not remembered"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(ADDRESSES, STEPS_S, st.sampled_from(["begin", "forgive", "begin and forgive"])),
        max_size=80,
    ),
    st.integers(0, 8),
)
def test_no_state_of_the_code_limiter_is_a_failure(
    history: list[tuple[str, float, str]], most_sources: int
) -> None:
    before, limits.MAX_SOURCES = limits.MAX_SOURCES, most_sources  # type: ignore[misc]
    seconds = Seconds()
    guesses = CodeGuesses(clock=seconds)
    try:
        for source, step_s, what in history:
            seconds.now_s += step_s
            if what != "forgive":
                wait_ms = begin(guesses, source)
                assert 0 <= wait_ms <= DAY_MS
                if wait_ms:
                    continue
            if what != "begin":
                guesses.forgive(source)
            assert len(guesses._by_source) <= most_sources
            assert all(guesses._by_source.values()), "nobody is remembered for nothing"
    finally:
        limits.MAX_SOURCES = before  # type: ignore[misc]


def test_the_source_that_guessed_longest_ago_makes_room() -> None:
    before, limits.MAX_SOURCES = limits.MAX_SOURCES, 2  # type: ignore[misc]
    try:
        guesses = CodeGuesses(clock=Seconds())
        for source in ("a", "b", "a", "c"):
            guesses.begin(source)
        assert set(guesses._by_source) == {"a", "c"}
    finally:
        limits.MAX_SOURCES = before  # type: ignore[misc]


@settings(max_examples=300, deadline=None)
@given(
    per_s=st.one_of(st.just(0.0), st.floats(0, 1e9, allow_subnormal=True)),
    burst=st.one_of(st.integers(0, 10**9), st.floats(0, 1e9)),
    steps=st.lists(st.floats(-100, 1e7), max_size=60),
)
def test_no_state_of_a_connections_rate_is_a_failure(
    per_s: float, burst: float, steps: list[float]
) -> None:
    seconds = Seconds()
    rate = Rate(per_s, burst, clock=seconds)
    for step_s in steps:
        seconds.now_s += step_s  # also backwards, which no clock should do
        wait_ms = rate.retry_after_ms()
        assert wait_ms is None or 0 < wait_ms <= DAY_MS
        rate.is_ignored()
    assert len(rate._refusals or ()) <= limits.MAX_REFUSALS + 1


@settings(max_examples=200, deadline=None)
@given(per_s=st.floats(0.1, 1000), burst=st.integers(1, 50), gaps=st.lists(st.floats(0, 2)))
def test_no_pattern_of_sending_gets_more_than_the_rate_and_the_burst(
    per_s: float, burst: int, gaps: list[float]
) -> None:
    seconds = Seconds()
    rate = Rate(per_s, burst, clock=seconds)
    taken = 0
    for gap_s in gaps:
        seconds.now_s += gap_s
        taken += sum(rate.retry_after_ms() is None for _ in range(5))
    assert taken <= math.floor(burst + sum(gaps) * per_s + 1)


@given(st.one_of(ANY_TEXT, st.ip_addresses().map(str)))
def test_every_text_is_some_source_and_that_is_its_own(address: str) -> None:
    source = source_of(address)
    assert isinstance(source, str)
    assert len(source) <= max(len(address), 43)


@given(st.ip_addresses(v=4).map(str), st.sampled_from([str, "::ffff:{}".format]))
def test_an_ipv4_address_is_one_source_however_it_is_written(
    address: str, written: Callable[[str], str]
) -> None:
    assert source_of(written(address)) == address
