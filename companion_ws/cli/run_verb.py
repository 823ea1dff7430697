"""How a verb runs: one event loop, one clear sentence when it cannot go on."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import click

from companion_ws import logs
from companion_ws.cli.terminal import OutputClosed
from companion_ws.client import CompanionClosed
from companion_ws.core.errors import CompanionError
from companion_ws.data_folder import DataInUse, StartRefused, why_not
from companion_ws.database import NewerDatabase


def run(work: Coroutine[Any, Any, int | None], *, stays: bool = False) -> None:
    """Run a verb to its end and leave with its exit code; Ctrl-C leaves with 130.

    One that `stays` also leaves when nobody reads its output any more.
    """
    root = logging.getLogger()
    if not root.handlers:  # a verb's output is its answer: stdout is no place for log lines
        logs.set_up()
        root.setLevel(logging.ERROR)
    sys.exit(finish(_while_read(work) if stays else work))


def find_modules_here() -> None:
    """Let modules be found in the working directory, where `python -m` would look, too."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


async def _while_read(work: Coroutine[Any, Any, int | None]) -> int | None:
    """Run a verb for as long as somebody may read what it prints.

    Raises:
        OutputClosed: nobody does any more.
    """
    working = asyncio.ensure_future(work)
    unread = asyncio.Event()
    reader_left = asyncio.ensure_future(unread.wait())
    _watch_output(asyncio.get_running_loop(), unread)
    try:
        await asyncio.wait({working, reader_left}, return_when="FIRST_COMPLETED")
        if working.done():
            return working.result()
        raise OutputClosed
    finally:
        for task in (working, reader_left):
            task.cancel()
        await asyncio.gather(working, reader_left, return_exceptions=True)


def _watch_output(loop: asyncio.AbstractEventLoop, unread: asyncio.Event) -> None:
    """Set `unread` once the pipe on stdout has lost its reader; a terminal has one for good."""
    try:
        descriptor = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (OSError, ValueError):
        return
    if not is_pipe or not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(descriptor, 0)  # errors alone, and the reader's end is one

    def wait() -> None:
        poll.poll()
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(unread.set)

    threading.Thread(target=wait, daemon=True, name="output").start()


def finish(work: Coroutine[Any, Any, int | None]) -> int:
    """Run a verb to its end and return its exit code; uvloop is used where it is installed."""
    with sentences():
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(work) or 0
        except KeyboardInterrupt:
            return 130


@contextmanager
def sentences() -> Iterator[None]:
    """Say what went wrong in one sentence and leave with 1, instead of a traceback."""
    try:
        yield
    except (StartRefused, DataInUse) as error:
        raise click.ClickException(str(error)) from None
    except CompanionError as error:
        raise click.ClickException(error.message) from None
    except CompanionClosed as error:
        raise click.ClickException(f"The connection was closed: {error}.") from None
    except sqlite3.Error as error:
        # Trying a newer database again is in vain: a wrong argument, as it were.
        kind = click.UsageError if isinstance(error, NewerDatabase) else click.ClickException
        raise kind(f"The database cannot be used: {error}.") from None
    except ImportError as error:
        raise click.ClickException(f"A module cannot be imported: {error}.") from None
    # Some of these are ValueErrors, too: a certificate nobody knows, a URL that is none.
    except (aiohttp.ClientError, ConnectionError) as error:
        why = str(error).rstrip(".")
        raise click.ClickException(f"The server cannot be reached: {why}.") from None
    except ValueError as error:
        raise click.ClickException(f"{error}.") from None
    except OSError as error:
        raise click.ClickException(_os_sentence(error)) from None


def _os_sentence(error: OSError) -> str:
    what = why_not(error)
    return f"{error.filename}: {what}." if error.filename else f"{what}."


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
