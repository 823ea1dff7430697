"""Limits: at the limit, one beyond it, and when it is over."""

from __future__ import annotations

import pytest

from companion_ws.access import limits
from companion_ws.access.limits import CodeGuesses, Rate, Rates, source_of
from companion_ws.core.errors import TooManyRequests


class Seconds:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def refusals(rate: Rate, count: int) -> int:
    return sum(rate.retry_after_ms() is not None for _ in range(count))


def test_a_connection_may_send_its_burst_and_not_one_more(seconds: Seconds) -> None:
    rate = Rate(50, 100, clock=seconds)
    assert refusals(rate, 100) == 0
    assert rate.retry_after_ms() == 20
    seconds.now_s += 0.020
    assert rate.retry_after_ms() is None
    seconds.now_s += 3600
    assert refusals(rate, 101) == 1


def test_ten_times_the_burst_is_refused_and_the_connection_closed(seconds: Seconds) -> None:
    rate = Rate(50, 100, clock=seconds)
    assert refusals(rate, 200) == 100
    assert not rate.is_ignored()
    assert refusals(rate, 1) == 1
    assert rate.is_ignored()


def test_refusals_spread_over_more_than_ten_seconds_close_nothing(seconds: Seconds) -> None:
    rate = Rate(0.001, 1, clock=seconds)
    rate.retry_after_ms()
    for _ in range(101):
        assert rate.retry_after_ms() is not None
        seconds.now_s += 0.1001
    assert not rate.is_ignored()


def test_no_rate_means_no_limit_and_no_burst_either(seconds: Seconds) -> None:
    rate = Rate(0, 1, clock=seconds)
    assert refusals(rate, 10_000) == 0


def test_each_who_asks_over_http_has_a_rate_of_their_own(seconds: Seconds) -> None:
    rates = Rates(50, 3, clock=seconds)
    for who in (("alice", "s1"), ("alice", "s2"), ("bob", "s1")):
        for _ in range(3):
            rates.check(*who)
        with pytest.raises(TooManyRequests) as refusal:
            rates.check(*who)
        assert refusal.value.details["retry_after_ms"] == 20
    seconds.now_s += 0.020
    rates.check("bob", "s1")


def test_those_who_ask_over_http_do_not_fill_the_memory(
    seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SOURCES", 3)
    rates = Rates(50, 1, clock=seconds)
    for who in ("first", "second", "third"):
        rates.check(who)
    with pytest.raises(TooManyRequests):
        rates.check("first")
    rates.check("fourth")
    with pytest.raises(TooManyRequests):
        rates.check("first")
    rates.check("second")  # It asked longest ago, and made room.
    Rates(0, 1, clock=seconds).check("nobody is limited")
    Rates(0, 1, clock=seconds).check("nobody is limited")


def guess(guesses: CodeGuesses, source: str) -> int:
    """Return 0, or how many milliseconds `source` has to wait."""
    try:
        guesses.begin(source)
    except TooManyRequests as refusal:
        return int(refusal.details["retry_after_ms"])
    return 0


def test_a_source_may_guess_five_times_in_fifteen_minutes(seconds: Seconds) -> None:
    guesses = CodeGuesses(clock=seconds)
    assert [guess(guesses, "10.0.0.1") for _ in range(5)] == [0] * 5
    assert guess(guesses, "10.0.0.1") == 900_000
    assert guess(guesses, "10.0.0.2") == 0
    seconds.now_s += 899
    assert guess(guesses, "10.0.0.1") == 1000
    seconds.now_s += 1
    assert guess(guesses, "10.0.0.1") == 0


def test_a_source_may_guess_twenty_times_a_day(seconds: Seconds) -> None:
    guesses = CodeGuesses(clock=seconds)
    for _ in range(4):
        assert [guess(guesses, "10.0.0.1") for _ in range(5)] == [0] * 5
        seconds.now_s += 900
    assert guess(guesses, "10.0.0.1") == 86_400_000 - 4 * 900_000
    seconds.now_s += 86_400
    assert guess(guesses, "10.0.0.1") == 0


def test_who_was_right_may_be_right_again(seconds: Seconds) -> None:
    guesses = CodeGuesses(clock=seconds)
    for _ in range(300):
        assert guess(guesses, "10.0.0.1") == 0
        guesses.forgive("10.0.0.1")


def test_after_a_hundred_guesses_overall_codes_pause_for_everybody(seconds: Seconds) -> None:
    guesses = CodeGuesses(clock=seconds)
    for number in range(100):
        assert guess(guesses, f"10.0.0.{number}") == 0
    assert guess(guesses, "10.0.1.1") == 300_000
    seconds.now_s += 299
    assert guess(guesses, "10.0.1.1") == 1000
    seconds.now_s += 1
    assert guess(guesses, "10.0.1.1") == 0


def test_ninety_eight_guesses_in_five_minutes_pause_nothing(seconds: Seconds) -> None:
    guesses = CodeGuesses(clock=seconds)
    for number in range(1000):
        seconds.now_s += 300 / 98
        assert guess(guesses, f"10.0.{number // 256}.{number % 256}") == 0


def test_an_attacker_with_many_addresses_guesses_at_most_twenty_a_minute(seconds: Seconds) -> None:
    guesses = CodeGuesses(clock=seconds)
    tried = 0
    for number in range(36_000):
        seconds.now_s += 0.1
        tried += guess(guesses, f"10.{number // 65536}.{number // 256 % 256}.{number % 256}") == 0
    assert tried <= 12 * 100


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::1", True),
    ],
)
def test_neighbours_in_one_ipv6_network_are_one_source(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same


def test_sources_do_not_fill_the_memory(seconds: Seconds) -> None:
    guesses = CodeGuesses(clock=seconds)
    for number in range(10_200):
        seconds.now_s += 10
        guess(guesses, f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert len(guesses._by_source) <= 10_000
