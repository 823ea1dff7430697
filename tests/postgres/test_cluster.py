"""Two servers on a database with a synchronous standby: each part is killed under a checked load."""

from __future__ import annotations

import pytest
from cluster_storm import Plan, live_through

BLOWS = {
    "a node killed": 1, "the primary killed": 1, "a node stands still": 1, "a rolling restart": 1,
}  # fmt: skip


@pytest.mark.timeout(600)
def test_whichever_part_of_a_cluster_is_killed_nothing_is_lost_doubled_or_out_of_order() -> None:
    report = live_through(Plan(1, BLOWS, sessions=1, still_s=6.0))
    assert report.counts["records"] > 0
    assert report.counts["updates acknowledged to people"] > 0
    assert report.back_s, "nobody noticed anything, so nothing was tried"
