"""A clock that several servers share: they agree on before and after, whatever their own clocks say."""

from __future__ import annotations

import random

import pytest

from companion_ws.clock import STEP_MS, SharedClock

DAY_MS = 86_400_000


class World:
    """A database's clock, and servers whose clocks began at other times and drift."""

    def __init__(self, seed: int, servers: int = 3) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 1_700_000_000_000.0
        self.database_ahead_ms = 0
        self.drifts = [self.rng.uniform(-2e-4, 2e-4) for _ in range(servers)]
        self.boots = [self.rng.uniform(0, DAY_MS) for _ in range(servers)]
        walls = [self.rng.uniform(-3_600_000, 3_600_000) for _ in range(servers)]
        self.clocks = [
            SharedClock(lambda ahead=ahead: int(self.now_ms + ahead), lambda each=each: self.boot_ms(each))
            for each, ahead in enumerate(walls)
        ]

    def boot_ms(self, each: int) -> int:
        return int(self.boots[each] + self.now_ms * (1 + self.drifts[each]))

    def database_ms(self) -> int:
        return int(self.now_ms) + self.database_ahead_ms

    def look(self, each: int, longest_ms: float = 300.0) -> None:
        """Ask the database for the time; question and answer take any time each."""
        asked_ms = self.boot_ms(each)
        self.now_ms += self.rng.uniform(0, longest_ms)
        there_ms = self.database_ms()
        self.now_ms += self.rng.uniform(0, longest_ms)
        self.clocks[each].follow(there_ms, asked_ms)


@pytest.mark.parametrize("seed", range(4))
def test_a_cutoff_of_one_server_is_after_everything_that_any_server_has_issued_by_then(seed: int) -> None:
    world = World(seed)
    for each in range(len(world.clocks)):
        world.clocks[each].running_ms()  # by its own clock, as programs do before they connect
        world.look(each)
    last_ms = [0] * len(world.clocks)
    for _ in range(500):
        world.now_ms += world.rng.uniform(0, 500)
        if world.rng.random() < 0.5:
            world.look(world.rng.randrange(len(world.clocks)))
        issued_ms = [clock.running_ms() for clock in world.clocks]
        assert all(now >= before for now, before in zip(issued_ms, last_ms, strict=True)), "it went back"
        last_ms = issued_ms
        cutoffs_ms = [clock.latest_ms() for clock in world.clocks]
        assert min(cutoffs_ms) >= max(issued_ms)
        assert max(issued_ms) <= world.database_ms() + 50, "a clock runs ahead"


def test_a_database_clock_that_is_set_expires_nothing_and_stretches_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World(1, servers=1)
    [clock] = world.clocks
    for _ in range(100):
        world.look(0, 5.0)
    for step_ms in (3_600_000, -3_600_000, 2 * STEP_MS):
        before_ms, began_ms = clock.running_ms(), world.now_ms
        world.database_ahead_ms += step_ms
        for _ in range(50):
            world.look(0, 5.0)
        passed_ms = clock.running_ms() - before_ms
        assert abs(passed_ms - (world.now_ms - began_ms)) < 50
    world.database_ahead_ms = 200  # NTP moves it a little: that is followed
    for _ in range(200):
        world.look(0, 5.0)
    assert abs(clock.running_ms() - world.database_ms()) < 60
