"""Names the server tool that keeps the event loop from everybody else, and frees it at a stop.

An `async` tool runs on the loop; one that computes, or waits without `await`,
stops all sessions. Only another thread can see that, and only a signal can
reach what the loop's thread is doing meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Final

import structlog

BLOCKED_S: Final = 0.5
"""Who talks notices a pause of this length."""
BEAT_S: Final = 0.1
"""How often it is seen whether the loop answers, while async tools run."""

OURS: Final = "companion_ws."
EXAMPLES: Final = "companion_ws.examples."
RUNS: Final = "companion_ws.sessions.runs"
"""Modules: what they call is a tool's code, or ours on its behalf."""
LOOPS: Final = frozenset({("asyncio.events", "_run"), ("asyncio.runners", "run")})
"""What calls a task."""

running_tool: ContextVar[str | None] = ContextVar("running_tool", default=None)
"""The tool whose code this is; tasks it makes inherit it."""

log = structlog.get_logger(__name__)


class Interrupted(BaseException):
    """What is raised inside a tool that blocks the loop of a server that is to stop."""


def interrupt_tool(frame: FrameType | None) -> None:
    """Raise Interrupted if it is a tool's code that runs in `frame`; for a handler of a signal.

    What the tool calls of ours is let through: a session is changed whole or not at all.

    Raises:
        Interrupted: it is.
    """
    if running_tool.get() is None:
        return
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == RUNS or (name, frame.f_code.co_name) in LOOPS:
            break
        if name.startswith(OURS) and not name.startswith(EXAMPLES):
            return
        frame = frame.f_back
    raise Interrupted("The server is stopping.")


class LoopWatch:
    """Sees from a thread of its own whether the loop answers, as long as async tools run."""

    def __init__(self) -> None:
        self._codes: Counter[tuple[str, CodeType]] = Counter()
        self._is_needed = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, tool_name: str, code: CodeType) -> Iterator[None]:
        """Watch while this tool, made of this code, runs on the loop."""
        if self._thread is None:
            at = (asyncio.get_running_loop(), threading.get_ident())
            self._thread = threading.Thread(
                target=self._watch, args=at, name="companion-loop-watch", daemon=True
            )
            self._thread.start()
        self._codes[tool_name, code] += 1
        self._is_needed.set()
        try:
            yield
        finally:
            self._codes[tool_name, code] -= 1
            self._codes += Counter()  # What is at zero goes.
            if not self._codes:
                self._is_needed.clear()

    def end(self) -> None:
        """Let the thread end."""
        self._is_over = True
        self._is_needed.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        while self._is_needed.wait() and not self._is_over:
            answered = threading.Event()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:
                return  # The loop is closed.
            began_s = time.monotonic()
            if not answered.wait(BLOCKED_S):
                self._name(thread_id, began_s, answered)
            time.sleep(BEAT_S)

    def _name(self, thread_id: int, began_s: float, answered: threading.Event) -> None:
        """Say which tool it is, and how long it took."""
        found = self._at_work(sys._current_frames().get(thread_id))
        if found is None:
            return
        tool, place = found
        advice = "make it a plain function, or let it await"
        log.warning("tool_blocks_all_sessions", tool=tool, at=place, advice=advice)
        answered.wait()
        seconds = round(time.monotonic() - began_s, 1)
        log.warning("tool_blocked_all_sessions", tool=tool, seconds=seconds)

    def _at_work(self, frame: FrameType | None) -> tuple[str, str] | None:
        """Return the tool whose code is under way in the loop's thread, and the line it is at."""
        tools = {code: name for name, code in list(self._codes)}
        files = {code.co_filename: name for code, name in tools.items()}
        place = None
        while frame is not None:
            code = frame.f_code
            if place is None and code.co_filename in files:
                place = f"{code.co_filename}:{frame.f_lineno}"
            if code in tools:
                return tools[code], place or f"{code.co_filename}:{frame.f_lineno}"
            frame = frame.f_back
        # A task that the tool made has none of its own frames below it, but its file's.
        for file, name in files.items():
            if place is not None and place.startswith(f"{file}:"):
                return name, place
        return None
