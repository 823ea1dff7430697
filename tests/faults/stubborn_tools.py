"""Server tools that keep the event loop from everybody else."""

from __future__ import annotations

import asyncio
import re
import time

from companion_ws import ToolCall, tool


@tool
async def computes(call: ToolCall, seconds: float) -> str:
    """Compute without a pause."""
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        sum(range(1000))
    return "computed"


@tool
async def sleeps(call: ToolCall, seconds: float) -> str:
    """Wait as only a thread may."""
    time.sleep(seconds)
    return "slept"


@tool
async def delegates(call: ToolCall, seconds: float) -> str:
    """Let a task of its own compute."""

    async def work() -> None:
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            sum(range(1000))

    await asyncio.create_task(work())
    return "delegated"


@tool
async def ignores(call: ToolCall, seconds: float) -> str:
    """Compute on, whatever is raised."""
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        try:
            while time.monotonic() < ends_s:
                re.fullmatch("(a|b)*c", "ab" * 10)
        except BaseException:
            continue
    return "ignored"
