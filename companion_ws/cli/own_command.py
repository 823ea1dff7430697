"""The command this program was run by, for those who should run it once more."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def lan_command(argv: Sequence[str] | None = None) -> str:
    """Return the command that was run, changed so that phones reach the server.

    >>> lan_command(["/usr/bin/companion-ws", "serve", "--host", "localhost", "--port", "80"])
    'companion-ws serve --port 80 --lan'
    """
    program, *given = sys.argv if argv is None else argv
    kept: list[str] = []
    skips_next = False
    for argument in given:
        if skips_next or argument.startswith("--host="):
            skips_next = False
        elif argument == "--host":
            skips_next = True
        else:
            kept.append(argument)
    name = Path(program).name
    start = ["python", program] if name.endswith(".py") else [name]
    return shlex.join([*start, *kept, "--lan"])
