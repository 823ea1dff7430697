"""Packages of the npm registry that tests need and nobody ships."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def npm_package(name: str, version: str) -> Path:
    """Return the folder of an npm package, fetched once into a cache; none of it is shipped."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "companion-ws-tests" / f"{name.replace('/', '-')}-{version}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    assert npm is not None, "npm is missing: apt-get install npm"
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        command = [npm, "pack", "--silent", f"{name}@{version}"]
        packed = subprocess.run(command, cwd=made, check=True, capture_output=True, text=True)
        # The first Pythons 3.11 unpack nothing with a filter; tar keeps to its folder by itself.
        subprocess.run(["tar", "xzf", packed.stdout.split()[-1]], cwd=made, check=True)
        with contextlib.suppress(OSError):  # somebody else was first
            (Path(made) / "package").rename(folder)
    return folder
