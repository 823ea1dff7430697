"""How large a class may become before it is two, and what tests are called."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "companion_ws"
SCRIPTS = Path(__file__).parents[1] / "static" / "js"
MOST_METHODS = 34
TESTS = Path(__file__).parent


def test_no_class_does_everything() -> None:
    sizes = [
        (node.name, sum(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) for part in node.body))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]

    assert [(name, size) for name, size in sizes if size > MOST_METHODS] == []


JS_CLASS = re.compile(r"^( *)(?![ /*])([^\n]*\bclass [^\n]*) \{\n(.*?)^\1\}", re.MULTILINE | re.DOTALL)
JS_METHOD = r"^{indent}(?:(?:static|async|get|set) |\*)*(?:#?[\w$]+|\[.+\])\("
"""A class ends at the first brace that is no deeper than its start; its methods are one step deeper."""


def test_no_class_of_the_pages_does_everything() -> None:
    sizes = {
        f"{path.name}: {start}": len(re.findall(JS_METHOD.format(indent=indent + "  "), body, re.MULTILINE))
        for path in SCRIPTS.rglob("*.js")
        for indent, start, body in JS_CLASS.findall(path.read_text(encoding="utf-8"))
    }

    # The scan finds what there is: it follows the layout of the code, not its grammar.
    assert sizes["connection.js: export class Connection"] > 20
    assert [(name, size) for name, size in sizes.items() if size > MOST_METHODS] == []


def test_tests_are_collected_together() -> None:
    names = Counter(
        path.name
        for path in TESTS.rglob("*.py")
        # Packages keep their names apart; agents are run a folder at a time.
        if not (path.parent / "__init__.py").exists() and "agents" not in path.parts
    )

    assert [name for name, count in names.items() if count > 1 and name != "conftest.py"] == []
