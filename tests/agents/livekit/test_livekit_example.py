"""The example for this platform, run as a program."""

from __future__ import annotations

from tests.agents.example import ask_kill_and_tap
from tests.voice.killable import KillableServer


async def test_the_example_asks_over_a_kill_and_learns_of_the_tap_once(
    killable: KillableServer,
) -> None:
    await ask_kill_and_tap("livekit_agent.py", killable)
