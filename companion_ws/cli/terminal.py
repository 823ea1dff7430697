"""What a terminal can show: a QR code in half blocks, a line of JSON."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

import segno


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
        print(f"\x1b[97;40m{line}\x1b[0m" if out.isatty() else line, file=out)


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


def print_json(value: Any) -> None:
    """Print one value as one line, at once, also into a pipe."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def grouped(code: str) -> str:
    """Return a pairing code as it is said.

    >>> grouped("123456789")
    '123 456 789'
    """
    return " ".join(code[at : at + 3] for at in range(0, len(code), 3))
