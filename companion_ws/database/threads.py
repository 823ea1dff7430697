"""Threads for the disk: one does what it is asked, the one that writes gathers and commits at once.

How it works. The loop puts whole batches into a queue that never blocks it; the
thread takes all that is there and commits it as one. A commit costs about the
same however much it holds (its fsync), so where several speak at once the
thread waits until GATHER_S after the last commit began, and takes what came
meanwhile. Who speaks alone waits for nothing: gathering begins with a batch of
more than one. The fate of everything in a commit reaches the loop in one call.

After a refused commit nothing more is tried: what was handed over before the
loop knew is refused with it, until `resume` has run. Other work for the
connection (`run`) has its turn between two commits, in the order it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

GATHER_S: Final = 0.0015
"""Between the beginnings of two commits, where more than one has something to store."""

T = TypeVar("T")
R = TypeVar("R")
Fates = Sequence[Exception | None]


class Worker:
    """A thread that runs functions in the order in which they were asked for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; called on the loop that is told."""
        self._loop = asyncio.get_running_loop()
        # A program that ends without `stop` is not held up: what was not committed was not told.
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[..., R], *args: Any) -> R:
        """Run a function on the thread, behind what was asked for before."""
        if self._thread is None:
            self.start()
        future: asyncio.Future[R] = self._loop.create_future()

        def job() -> None:
            try:
                result = function(*args)
            except BaseException as error:
                self._call(_settle, future, None, error)
            else:
                self._call(_settle, future, result, None)

        self._queue.put(job)
        return await future

    def stop(self) -> None:
        """End the thread, behind what was asked for before, and wait for it."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job()

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # a loop that has ended: nobody is left to be told
            self._loop.call_soon_threadsafe(function, *args)


class WriterThread(Worker, Generic[T]):
    """Commits batches of T in order, on a thread of its own.

    `commit` runs on the thread and returns a fate for each item; what it raises
    refuses them all, and all that is handed over until `resume`. `told` runs on
    the loop.
    """

    def __init__(
        self,
        commit: Callable[[list[T]], Fates],
        told: Callable[[list[T], Fates | Exception], None],
    ) -> None:
        super().__init__("companion-writer")
        self._commit = commit
        self._told = told
        self._refusal: Exception | None = None
        self.is_committing = False
        """Whether a commit is under way: `told` will run after anybody saw this True."""

    def put(self, items: list[T]) -> None:
        """Hand items over; nothing may be added to them from here on."""
        if self._thread is None:
            self.start()
        self._queue.put(items)

    async def resume(self, function: Callable[[], None]) -> None:
        """Run a function that makes writing possible again; where it raises, nothing has changed."""

        def reopen() -> None:
            function()
            self._refusal = None

        await self.run(reopen)

    # On the thread.

    def _work(self) -> None:
        began_s, was_shared = 0.0, False
        while (job := self._queue.get()) is not None:
            if callable(job):
                job()
                continue
            items, after = self._gathered(job)
            if was_shared or len(items) > 1:
                time.sleep(max(0.0, began_s + GATHER_S - time.monotonic()))
                if after is _NOTHING:
                    items, after = self._gathered(items)
            began_s, was_shared = time.monotonic(), len(items) > 1
            self._store(items)
            job, items = None, []  # Nothing of it is held until the next one comes.
            if after is None:
                return
            if callable(after):
                after()

    def _gathered(self, items: list[T]) -> tuple[list[T], Any]:
        """Return all items that wait, and the job that comes after them, if one does."""
        while True:
            try:
                job = self._queue.get_nowait()
            except Empty:
                return items, _NOTHING
            if isinstance(job, list):
                items = [*items, *job]
            else:
                return items, job

    def _store(self, items: list[T]) -> None:
        fates: Fates | Exception
        self.is_committing = True
        if self._refusal is not None:
            fates = self._refusal
        else:
            try:
                fates = self._commit(items)
            except Exception as error:
                # Whatever it was: nobody else writes, so this must go on.
                fates = self._refusal = error
        self.is_committing = False
        self._call(self._told, items, fates)


_NOTHING: Final = object()


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
