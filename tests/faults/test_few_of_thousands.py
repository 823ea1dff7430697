"""A few of the thousands of `crowds.py`, every day."""

from __future__ import annotations

import crowds
import pytest


@pytest.mark.parametrize(("name", "count"), [("reconnect", 24), ("stop", 24)])
async def test_a_crowd_loses_nothing_when_the_server_dies_or_stops(name: str, count: int) -> None:
    assert await crowds.run(name, count)
