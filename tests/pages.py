"""Programs, commands and tables of the docs, as they stand there, for tests that run them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(page: str, mark: str = "guide") -> dict[str, str]:
    """Return the code of a page by the names its comments give: `<!-- guide: NAME -->`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)<!-- {mark}: (\S+) -->\n\1```\w+\n(.*?)^\1```", text, re.M | re.S)
    return {name: textwrap.dedent(code) for _, name, code in found}


def rows(page: str, head: str) -> list[list[str]]:
    """Return the cells of the table whose first column is called `head`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    [table] = re.findall(rf"^\| {re.escape(head)} \|.*\n\|[-| ]+\n((?:\|.*\n?)+)", text, re.M)
    return [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in table.splitlines()]
