"""Packages of the npm registry that tests need and nobody ships."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path


def npm_package(name: str, version: str) -> Path:
    """Return the folder of an npm package, fetched once into a cache; none of it is shipped."""
    folder = cache() / f"{name.replace('/', '-')}-{version}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        command = [npm(), "pack", "--silent", f"{name}@{version}"]
        packed = subprocess.run(command, cwd=made, check=True, capture_output=True, text=True)
        # The first Pythons 3.11 unpack nothing with a filter; tar keeps to its folder by itself.
        subprocess.run(["tar", "xzf", packed.stdout.split()[-1]], cwd=made, check=True)
        with contextlib.suppress(OSError):  # somebody else was first
            (Path(made) / "package").rename(folder)
    return folder


def npm_installed(package: Path, finish: Callable[[Path], None] = lambda made: None) -> Path:
    """Return a folder with what a package.json depends on, made once per version of that file.

    A lock file beside it says which versions; no lock file names a registry.
    """
    files = [package, *package.parent.glob("package-lock.json")]
    folder = (
        cache() / hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    )
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        for file in files:
            (Path(made) / file.name).write_bytes(file.read_bytes())
        install = [npm(), "ci" if len(files) > 1 else "install"]
        install += ["--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(install, cwd=made, check=True, capture_output=True, timeout=300)
        finish(Path(made))
        with contextlib.suppress(OSError):  # somebody else was first
            Path(made).rename(folder)
            Path(made).mkdir()
    return folder


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "companion-ws-tests"


def npm() -> str:
    found = shutil.which("npm")
    assert found is not None, "npm is missing: apt-get install npm"
    return found
