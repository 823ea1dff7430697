"""Whatever the disk does, what was acknowledged is there and everybody was told the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from histories import histories

PER_RUN = 75
ONCE_WRONG = (6412,)
"""Found by long runs: a question asked while joining was answered before what it rests on."""


@pytest.mark.parametrize("first", range(0, 300, PER_RUN))
def test_whatever_the_disk_refuses_everybody_is_told_what_is_stored_and_nothing_else(
    first: int, tmp_path: Path
) -> None:
    histories(range(first, first + PER_RUN), tmp_path)


@pytest.mark.parametrize("seed", ONCE_WRONG)
def test_what_once_went_wrong_goes_well(seed: int, tmp_path: Path) -> None:
    histories(range(seed, seed + 1), tmp_path)
