"""An event loop on a thread of its own, for programs that have none to spare.

What is run here always ends: with its result, with what it raised, or, where the loop was
stopped meanwhile, with `LoopStopped`. So does the thread, which keeps no program from ending.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopStopped(Exception):
    """The loop does not run any more."""


class LoopThread:
    """Runs coroutines for other threads, each of which waits for its own."""

    def __init__(self, name: str) -> None:
        self.last: Callable[[], Coroutine[Any, Any, None]] | None = None
        """What is run before the loop ends."""
        # The loop is there before its thread: whoever stops it at once finds it.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._is_over = asyncio.Event()
        self._is_stopped = False
        self._order = threading.Lock()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        with self._runner as runner:
            runner.run(self._until_over())

    async def _until_over(self) -> None:
        await self._is_over.wait()
        if self.last is not None:
            await self.last()

    @property
    def is_here(self) -> bool:
        """Whether the loop's own thread asks, which cannot wait for itself."""
        return threading.current_thread() is self._thread

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work()` on the loop and return what it returns.

        If whoever waits is interrupted, by Ctrl-C, the work is cancelled.

        Raises:
            LoopStopped: the loop ended before.
            RuntimeError: the loop's own thread asked.
        """
        if self.is_here:
            raise RuntimeError(
                f"Nothing may wait on the thread {self._thread.name}: its loop stands."
            )
        with self._order:
            # The loop hears of the end after everything that it is given before.
            if self._is_stopped:
                raise LoopStopped
            future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise LoopStopped from None
        except BaseException:
            future.cancel()
            raise

    def between(self, look: Callable[[], T]) -> T:
        """Return `look()`, called between two steps of the loop, so that nothing moves meanwhile.

        Raises:
            LoopStopped: the loop ended before.
        """

        async def looked() -> T:
            return look()

        return look() if self.is_here else self.run(looked)

    def stop(self) -> None:
        """End the loop with all that runs on it, and wait for the thread."""
        with self._order:
            if not self._is_stopped:
                self._is_stopped = True
                self._loop.call_soon_threadsafe(self._is_over.set)
        if not self.is_here:
            self._thread.join()
