"""Server tools of a test: quick, slow, failing, hanging, ill-behaved, and one that may run again."""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from companion_ws import ToolCall, ToolError, tool

hanging = threading.Event()


@dataclass
class Quote:
    """What a carrier asks."""

    carrier: str
    cost: float


@tool
async def quotes(call: ToolCall, from_zip: str, weight: float, pickup: bool = False) -> list[Quote]:
    """Emit an update and a state key, and return."""
    found = [Quote("FedEx", round(weight * 2, 2))]
    await call.contextual_update("quote_ready", {"quotes": found, "from": from_zip}, context_id="q")
    await call.update_state("quotes", found)
    return found


@tool
def plain(numbers: list[int]) -> dict[str, int]:
    """Run in a thread, without the call."""
    return {"sum": sum(numbers)}


@tool
async def says_no(call: ToolCall) -> None:
    """Refuse in the author's own words."""
    raise ToolError("That carrier does not deliver on Mars.")


@tool
def falls_over() -> None:
    """Fail in a way nobody planned."""
    raise RuntimeError("secret internals")


@tool
async def no_json() -> Any:
    """Return what cannot be written."""
    return {1, object()}


@tool
async def hangs() -> None:
    """Never come back."""
    await asyncio.Event().wait()


@tool
def hangs_in_a_thread() -> None:
    """Never come back, and cannot be told to."""
    hanging.wait(60)


@tool
async def holds_on() -> None:
    """Hang, and not let itself be cancelled until the test is over."""
    while not hanging.is_set():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue


@tool
async def exits() -> None:
    """End the program, as the author thinks."""
    sys.exit("secret internals")


@tool
def exits_in_a_thread() -> None:
    """The same in a plain function."""
    sys.exit("secret internals")


@tool
async def interrupts() -> None:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


@tool
async def raises_cancelled() -> None:
    """Raise what a cancelled task raises, though nobody cancelled it."""
    raise asyncio.CancelledError


@tool
async def cancels_itself() -> None:
    """Cancel the task it runs in and return."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@tool
def runs_dry() -> None:
    """Raise what no future can carry."""
    raise StopIteration


@tool(idempotent=True)
async def counts(call: ToolCall, path: str) -> int:
    """Note each run; the first one hangs."""
    runs = Path(path).read_text().count("x") if Path(path).exists() else 0
    Path(path).write_text("x" * (runs + 1))
    await call.contextual_update("run", {"n": runs})
    if runs == 0:
        await asyncio.Event().wait()
    return runs + 1


@tool
async def once(path: str) -> None:
    """Note each run and hang."""
    runs = Path(path).read_text().count("x") if Path(path).exists() else 0
    Path(path).write_text("x" * (runs + 1))
    await asyncio.Event().wait()


@tool
def wordy(count: int) -> str:
    """Return so many letters."""
    return "x" * count


@tool
async def shouts(call: ToolCall, count: int) -> str:
    """Show so many letters to everybody."""
    await call.contextual_update("x" * count)
    return "shown"
