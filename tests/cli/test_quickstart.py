"""The quickstart, command by command, as the page has them; `.ci/quickstart` installs it, too."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests import quickstart


async def test_a_stranger_gets_an_answer_from_a_paired_phone_in_four_commands(
    tmp_path: Path,
) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)  # as the first command leaves it
    began = time.monotonic()
    answer = await quickstart.use(quickstart.Shell(tmp_path))
    print(f"an answer after {time.monotonic() - began:.1f} s")

    assert answer == "{'status': 'chosen', 'id': 'air', 'label': 'UPS Next Day'}"
    steps = quickstart.steps()
    assert list(steps) == ["clone", "package", "serve", "ask"]
    commands = [line for name in ("clone", "serve", "ask") for line in steps[name].splitlines()]
    assert len(commands) == 4
    assert quickstart.first_command().startswith(steps["clone"].strip())


async def test_the_first_command_of_readme_lets_a_phone_in(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    *_, demo = quickstart.first_command().split(" && ")
    await quickstart.see(quickstart.Shell(tmp_path), demo)
