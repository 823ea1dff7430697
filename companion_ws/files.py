"""Where the files that come with the package lie: in the wheel inside it, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the folder `static`, `migrations` or `docs/images`."""
    inside = _HERE / name
    return inside if inside.is_dir() else _HERE.parent / name
