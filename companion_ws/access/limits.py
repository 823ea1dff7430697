"""How often somebody may: messages of a connection, guesses of a pairing code."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from companion_ws.core.errors import TooManyRequests

EPSILON: Final = 1e-6
"""What adding up fractions may cost a message."""
MAX_REFUSALS: Final = 100
REFUSALS_WINDOW_S: Final = 10.0
"""A client refused more often than that in this time is not listening to refusals."""

GUESSES_PER_SOURCE: Final = 5
GUESSES_PER_SOURCE_S: Final = 15 * 60.0
GUESSES_PER_DAY: Final = 20
DAY_S: Final = 24 * 3600.0
GUESSES_OVERALL: Final = 100
GUESSES_OVERALL_S: Final = 5 * 60.0
"""At 9 digits and 100 live codes, 100 guesses hit with a chance of 1 in 100,000."""
PAUSE_S: Final = 5 * 60.0
MAX_SOURCES: Final = 10_000
"""Sources remembered; the one that asked longest ago makes room."""


class Rate:
    """A token bucket for one connection: `per_s` at length, `burst` at once; 0 per second: no limit."""

    __slots__ = ("_at_s", "_burst", "_clock", "_left", "_per_s", "_refusals")

    def __init__(
        self, per_s: float, burst: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._left = self._burst
        self._at_s = clock()
        self._refusals: deque[float] | None = None
        """Made at the first one: hardly any connection is ever refused, and each has two rates."""

    def retry_after_ms(self) -> int | None:
        """Take one message; return None, or how long to wait if it is refused."""
        if self._per_s <= 0:
            return None
        now_s = self._clock()
        left, passed_s = self._left, now_s - self._at_s
        if passed_s > 0:
            left += passed_s * self._per_s
            if left > self._burst:
                left = self._burst
        self._at_s = now_s
        if left >= 1 - EPSILON:
            self._left = left - 1
            return None
        self._left = left
        if self._refusals is None:
            self._refusals = deque(maxlen=MAX_REFUSALS + 1)
        self._refusals.append(now_s)
        return math.ceil(min((1 - self._left) / self._per_s, DAY_S) * 1000)

    def is_ignored(self) -> bool:
        """Whether more than 100 refusals fell into 10 s: the connection is closed 4429."""
        return (
            self._refusals is not None
            and len(self._refusals) > MAX_REFUSALS
            and self._clock() - self._refusals[0] <= REFUSALS_WINDOW_S
        )


class Rates:
    """A `Rate` for each of those who ask over HTTP, where no connection holds one.

    The one that asked longest ago makes room; by then it has its whole burst again.
    """

    def __init__(
        self, per_s: float, burst: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._rates: dict[tuple[str, ...], Rate] = {}

    def check(self, *who: str) -> None:
        """Take one message of `who`.

        Raises:
            TooManyRequests: with `retry_after_ms`.
        """
        if self._per_s <= 0:
            return
        rate = self._rates.pop(who, None) or Rate(self._per_s, self._burst, clock=self._clock)
        self._rates[who] = rate
        while len(self._rates) > MAX_SOURCES:
            del self._rates[next(iter(self._rates))]
        retry_after_ms = rate.retry_after_ms()
        if retry_after_ms is not None:
            raise TooManyRequests("Too many messages; slow down.", retry_after_ms=retry_after_ms)


class CodeGuesses:
    """Wrong pairing codes, counted per source and overall, in memory.

    A guess is not tied to an account, any live code is a hit; so the bound
    that counts is the one over all sources. While it holds, codes are refused
    for everybody and tickets go on: 128 bits need no limit.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_source: dict[str, deque[float]] = {}
        self._overall: deque[float] = deque(maxlen=GUESSES_OVERALL)
        self._paused_until_s = 0.0

    def begin(self, source: str) -> None:
        """Count an attempt of `source`, an address, before anybody looks whether it is right.

        Raises:
            TooManyRequests: with `retry_after_ms`; nothing may be looked up.
        """
        now_s = self._clock()
        if now_s < self._paused_until_s:
            raise too_many_codes(self._paused_until_s - now_s)
        # Who guesses stands last, so the first is always who has not guessed for longest.
        name = source_of(source)
        guesses = self._by_source.pop(name, None) or deque(maxlen=GUESSES_PER_DAY)
        self._by_source[name] = guesses
        self._make_room()
        _drop_before(guesses, now_s - DAY_S)
        wait_s = max(
            _wait_s(guesses, GUESSES_PER_SOURCE, GUESSES_PER_SOURCE_S, now_s),
            _wait_s(guesses, GUESSES_PER_DAY, DAY_S, now_s),
        )
        if wait_s > 0:
            raise too_many_codes(wait_s)
        _drop_before(self._overall, now_s - GUESSES_OVERALL_S)
        guesses.append(now_s)
        self._overall.append(now_s)
        if len(self._overall) == GUESSES_OVERALL:
            self._paused_until_s = now_s + PAUSE_S
            self._overall.clear()

    def forgive(self, source: str) -> None:
        """Take the latest attempt of `source` back: it was right."""
        name = source_of(source)
        guesses = self._by_source.get(name)
        for counted in (guesses, self._overall):
            if counted:
                counted.pop()
        if not guesses:
            self._by_source.pop(name, None)

    def _make_room(self) -> None:
        while len(self._by_source) > MAX_SOURCES:
            del self._by_source[next(iter(self._by_source))]


def source_of(address: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 of an IPv6 address.

    >>> source_of("2001:db8::1:2"), source_of("::ffff:10.0.0.1"), source_of("10.0.0.1")
    ('2001:db8::/64', '10.0.0.1', '10.0.0.1')
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def _drop_before(times: deque[float], at_s: float) -> None:
    while times and times[0] <= at_s:
        times.popleft()


def _wait_s(times: deque[float], limit: int, window_s: float, now_s: float) -> float:
    if len(times) < limit:
        return 0.0
    return times[-limit] + window_s - now_s


def too_many_codes(wait_s: float) -> TooManyRequests:
    """Return what whoever tries too many codes is told."""
    return TooManyRequests(
        "Too many codes were tried. Scan the QR code instead, or wait.",
        retry_after_ms=max(1, round(wait_s * 1000)),
    )
