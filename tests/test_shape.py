"""How large a class may become before it is two."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "companion_ws"
MOST_METHODS = 34


def test_no_class_does_everything() -> None:
    sizes = [
        (node.name, sum(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) for part in node.body))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]

    assert [(name, size) for name, size in sizes if size > MOST_METHODS] == []
