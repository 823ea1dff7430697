"""What a package says of itself; `.ci/wheel` builds, installs and starts it."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTICE = re.compile(r"copyright\s+(?:\(c\)|©|\d{4})|@license|SPDX-License|licensed under", re.IGNORECASE)
TEXT = {".py", ".js", ".css", ".html", ".json", ".sql", ".svg", ".ts", ".md", ".webmanifest"}


def settings() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


def test_nothing_of_others_is_shipped_without_a_word() -> None:
    """CONTRIBUTING.md says that nothing is vendored; a notice of somebody else would say otherwise."""
    shipped = [
        path
        for folder in ("companion_ws", "static", "migrations")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in TEXT and "__pycache__" not in path.parts
    ]
    assert len(shipped) > 200
    assert [
        str(path.relative_to(ROOT))
        for path in shipped
        if NOTICE.search(path.read_text(encoding="utf-8"))
    ] == []


def test_the_licences_that_are_shipped_are_our_own() -> None:
    ours = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert settings()["metadata"]["license"] == ours.split()[0]
    found = [path for folder in ("companion_ws", "static") for path in (ROOT / folder).rglob("LICENSE*")]
    assert [path for path in found if path.read_text(encoding="utf-8") != ours] == []


def test_each_python_that_is_declared_is_one_the_package_installs_on() -> None:
    metadata, options = settings()["metadata"], settings()["options"]
    minors = [int(minor) for minor in re.findall(r"Python :: 3\.(\d+)", metadata["classifiers"])]
    assert minors == [11, 12, 13, 14]
    assert options["python_requires"] == f">=3.{minors[0]}"
    assert metadata["version"] == "attr: companion_ws.__version__"


def test_the_mark_of_types_is_shipped() -> None:
    assert (ROOT / "companion_ws/py.typed").exists()
    assert "py.typed" in settings()["options.package_data"]["companion_ws"]
