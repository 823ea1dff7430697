"""Whatever the network, the disk, the clock and the process do, every promise is kept."""

from __future__ import annotations

import pytest
from storm import Plan, live_through

BLOWS = 3
HARD = ("loss of power", "commit held", "sync refused", "all connections reset")


@pytest.mark.parametrize(("seed", "kinds"), [(3, HARD), (4, ())])
def test_in_a_storm_nothing_acknowledged_is_lost_and_nobody_hears_of_what_is_not_stored(
    seed: int, kinds: tuple[str, ...]
) -> None:
    counts = live_through(Plan(seed, BLOWS, kinds))
    assert counts["records"] > 0
    assert counts["records told"] > counts["records"]


def test_without_syncs_a_loss_of_power_is_seen_by_the_witness() -> None:
    # The control: were no power ever lost, or the witness blind, this would find nothing.
    plan = Plan(5, BLOWS, ("loss of power",), durability="process")
    with pytest.raises(AssertionError, match=r"records had been told, and \d+ are stored"):
        live_through(plan)
