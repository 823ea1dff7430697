"""Fixtures of the access tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from access_fixture import Access, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def access(tmp_path: Path, clock: Clock) -> AsyncIterator[Access]:
    opened = await Access.open(tmp_path, clock)
    await opened.add_session()
    yield opened
    await opened.close()
