"""The examples for OpenAI's models, run as programs."""

from __future__ import annotations

import pytest

from tests.agents.example import ask_kill_and_tap
from tests.voice.killable import KillableServer


@pytest.mark.parametrize("name", ["function_calling.py", "openai_agent.py"])
async def test_an_example_asks_over_a_kill_and_learns_of_the_tap_once(
    name: str, killable: KillableServer
) -> None:
    await ask_kill_and_tap(name, killable)
