"""The words that users read: in docs, in help, in answers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(f"docs/{page.name}" for page in ROOT.glob("docs/*.md")),
)
BANNED = {
    r"\bfor ever\b": "until …, without a limit, never",
    r"\bfor instance\b": "for example",
    r"\banew\b": "again",
    r"\b(come|comes|came|coming) back\b": "reconnect, return",
    r"\blies? (in|beside|there|here)\b": "is stored in, is in",
    r"\bof ours\b": "say which",
    r"(?<!here )\bis no (?!longer\b|more\b)\w": "is not a …",
    r"\b[Ww](hoever|homever|hosoever)\b": "anybody who, the client that",
}
"""A phrase that stops an English reader, and what to write instead."""


def test_no_page_stops_its_reader() -> None:
    assert [
        f"{page}:{number}: {words}"
        for page in PAGES
        for number, line in enumerate(text_of(page).splitlines(), 1)
        for words in banned_in(line)
    ] == []


def test_no_sentence_of_the_program_stops_its_reader() -> None:
    assert [
        f"{path.relative_to(ROOT)}:{line}: {words}"
        for path in sorted((ROOT / "companion_ws").rglob("*.py"))
        for line, text in shown_by(ast.parse(path.read_text(encoding="utf-8")))
        for words in banned_in(text)
    ] == []


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def banned_in(text: str) -> list[str]:
    """Return each banned phrase of a text, with what to write instead."""
    return [
        f"{found[0]!r}, write: {instead}"
        for phrase, instead in BANNED.items()
        for found in [re.search(phrase, text)]
        if found
    ]


def shown_by(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the strings of a module that are values, and the help of commands, with their lines."""
    comments = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            comments.add(node.value)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_command(node):
            yield node.lineno, ast.get_docstring(node) or ""
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in comments:
            yield node.lineno, node.value


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether click makes a verb of it, whose docstring is its help."""
    return any(
        re.search(r"\.(command|group)\(", ast.unparse(mark)) for mark in function.decorator_list
    )
