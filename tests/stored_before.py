"""What earlier versions stored, as they stored it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

OLD = Path(__file__).parent / "sessions" / "stored_by_0.1.0.sql"


def filled(path: Path) -> Path:
    """What the server of version 0.1.0 had stored of three sessions, one trimmed and one ended."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
        connection.execute("PRAGMA user_version = 3")
    os.chmod(path, 0o600)
    return path
