"""A database with a synchronous standby whose primary is killed under a checked load."""

from __future__ import annotations

import pytest
from cluster_storm import Plan, live_through


@pytest.mark.timeout(240)
def test_when_the_primary_is_lost_a_server_goes_on_with_its_standby_and_nothing_is_lost() -> None:
    report = live_through(Plan(1, {"the primary killed": 1, "a node killed": 1}, nodes=1))
    assert report.counts["records"] > 0
    assert report.counts["updates acknowledged to people"] > 0
    assert report.back_s, "nobody noticed anything, so nothing was tried"
