"""How large a class may become before it is two."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "companion_ws"
SCRIPTS = Path(__file__).parents[1] / "static" / "js"
MOST_METHODS = 34


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
