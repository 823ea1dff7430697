"""Chromium for tests: the engine alone where it is to be had, it takes half the time."""

from __future__ import annotations

import shutil
from typing import Final

PROGRAMS: Final = ("chromium-headless-shell", "chromium", "chromium-browser")
FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # A name that is no secure context, as an address in the LAN is none.
    "--host-resolver-rules=MAP companion.test 127.0.0.1",
]


def program() -> str:
    """Return where the browser is; a test without it fails and says what is missing."""
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert path is not None, "Chromium is missing: apt-get install chromium"
    return path
