"""What runs beside the requests: loops that last as long as the server, and work nobody awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from companion_ws.core.errors import CompanionError
from companion_ws.nodes.place import Elsewhere

Work = Coroutine[Any, Any, None]

log = structlog.get_logger(__name__)


class Background:
    """All of it ends with the server."""

    def __init__(self) -> None:
        self._tasks: asyncio.TaskGroup | None = None
        self._children: set[asyncio.Task[None]] = set()
        self._root: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self, loops: dict[str, Work]) -> None:
        """Start the loops; from here on `spawn` does something."""
        ready = asyncio.Event()
        self._root = asyncio.create_task(self._run(loops, ready), name="sessions")
        await ready.wait()

    async def stop(self) -> None:
        """Cancel everything and wait until it has ended."""
        self._stopping.set()
        if self._root is not None:
            await self._root

    def spawn(self, work: Work) -> None:
        """Do something that nobody waits for; a failure is logged."""
        if self._tasks is None:
            work.close()
            return
        task = self._tasks.create_task(_guarded(work))
        self._children.add(task)
        task.add_done_callback(self._children.discard)

    async def _run(self, loops: dict[str, Work], ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            running = [tasks.create_task(work, name=name) for name, work in loops.items()]
            ready.set()
            await self._stopping.wait()
            self._tasks = None
            for task in [*running, *self._children]:
                task.cancel()


async def _guarded(work: Work) -> None:
    try:
        await work
    except Elsewhere as where:
        log.debug("work_is_elsewhere", node=where.node.url)
    except CompanionError as error:
        log.warning("work_refused", code=error.code, reason=error.message)
    except Exception:
        log.exception("work_failed")
