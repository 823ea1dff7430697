"""The one way out to a terminal: sentences, JSON, a QR code in half blocks.

What a member wrote is escaped here, whoever prints it, and a reader that has gone
(`| head`) is `OutputClosed`.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO, TypeVar

import click
import segno

from companion_ws.core.text import json_text, visible
from companion_ws.logs import takes_colours

PULSE_S: Final = 0.1
T = TypeVar("T")

WIDEST: Final = 40
"""A longer cell moves what follows it in its own line alone."""


class OutputClosed(Exception):
    """Whoever read our output has had enough of it."""


def print_qr(content: str, out: TextIO | None = None) -> None:
    """Draw a QR code; where the terminal cannot, nothing.

    Black on white whatever the theme: scanners fail on inverted codes, so on
    a terminal each line sets its own colours. Source: research ui-ecosystem.md section 4.
    """
    out = out or sys.stdout
    lines = qr_lines(content)
    try:
        "\n".join(lines).encode(out.encoding or "ascii")
    except UnicodeEncodeError:
        return
    for line in lines:
        _write(f"\x1b[97;40m{line}\x1b[0m" if takes_colours(out) else line, out)


def qr_lines(content: str) -> list[str]:
    """Return a QR code as text, two rows of modules a line, light modules painted."""
    code = segno.make(content, micro=False, error="m")
    rows = [[not dark for dark in row] for row in code.matrix_iter(border=4)]
    if len(rows) % 2:
        rows.append([True] * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(map(_half_block, upper, lower)) for upper, lower in pairs]


def _half_block(upper_is_light: bool, lower_is_light: bool) -> str:
    if upper_is_light:
        return "█" if lower_is_light else "▀"
    return "▄" if lower_is_light else " "


def say(text: str = "", *, err: bool = False, lines: bool = False) -> None:
    """Print a sentence at once, on stdout or stderr; with `lines` its line breaks are its own."""
    _write(visible(text, lines=lines), sys.stderr if err else sys.stdout)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print one value, as one line unless it is indented, at once, also into a pipe."""
    _write(json_text(value, indent=indent), sys.stdout)


@contextmanager
def progress(
    label: str, total: int | None = None, *, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """Draw a bar on stderr while the block runs; yield what it is told how much is done.

    Only on a terminal. Without a total the bar moves, and nothing more.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda done: None
        return
    steps = None if total is not None else itertools.repeat(None)
    with click.progressbar(steps, length=total, label=label, file=sys.stderr) as bar:
        yield lambda done: bar.update(done - bar.pos)


async def with_progress(label: str, work: Coroutine[Any, Any, T]) -> T:
    """Return what comes of work that does not say how far it is."""
    task = asyncio.ensure_future(work)
    with progress(label) as moves:
        for step in itertools.count(1):
            await asyncio.wait({task}, timeout=PULSE_S)
            moves(step)
            if task.done():
                break
    return task.result()


def _write(text: str, out: TextIO) -> None:
    with closing_quietly():
        try:
            print(text, file=out, flush=True)
        except UnicodeEncodeError:
            encoding = out.encoding or "ascii"
            print(text.encode(encoding, "backslashreplace").decode(encoding), file=out, flush=True)


@contextmanager
def closing_quietly() -> Iterator[None]:
    """Tell a reader that has gone from a server that cannot be reached.

    Raises:
        OutputClosed: it has gone.
    """
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosed from error


def grouped(code: str) -> str:
    """Return a pairing code as it is said.

    >>> grouped("123456789")
    '123 456 789'
    """
    return " ".join(code[at : at + 3] for at in range(0, len(code), 3))


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines, their cells in columns.

    >>> aligned([["a", "bb", ""], ["ccc", "d", "e"]])
    ['a    bb', 'ccc  d   e']
    """
    widths = [min(max(map(len, column)), WIDEST) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
