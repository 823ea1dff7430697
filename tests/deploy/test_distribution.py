"""What a package says of itself; `.ci/wheel` builds, installs and starts it."""

from __future__ import annotations

import configparser
import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTICE = re.compile(r"copyright\s+(?:\(c\)|©|\d{4})|@license|SPDX-License|licensed under", re.IGNORECASE)
TEXT = {".py", ".js", ".css", ".html", ".json", ".sql", ".svg", ".ts", ".md", ".webmanifest"}


VENDORED = {
    "static/js/vendor/minisearch.js": "0393b3ba253b809d5e55707c7b0875ef9b518a296a006c6739b28876e154edb3",
}
"""Files of others, and the SHA-256 of each as it was published; a LICENSE.txt is beside each."""
IN_BUNDLES = {"static/dist/docs.js", "static/dist/docs.js.map", "static/js/pages/docs.js"}
"""What carries a part of one of them, and says so."""


def settings() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


def test_what_is_vendored_is_as_it_was_published_and_has_its_licence_beside_it() -> None:
    folder = ROOT / "static/js/vendor"
    assert sorted(f"static/js/vendor/{path.name}" for path in folder.glob("*.js")) == sorted(VENDORED)
    for name, known in VENDORED.items():
        file = ROOT / name
        assert hashlib.sha256(file.read_bytes()).hexdigest() == known, name
        assert "Permission is hereby granted" in file.with_suffix(".LICENSE.txt").read_text()
        assert file.stem in (ROOT / "CONTRIBUTING.md").read_text().lower()
    for name in IN_BUNDLES:
        assert "minisearch.LICENSE.txt" in (ROOT / name).read_text(), name


def test_nothing_of_others_is_shipped_without_a_word() -> None:
    """CONTRIBUTING.md says what is vendored; a notice of somebody else would say otherwise."""
    shipped = [
        path
        for folder in ("companion_ws", "static", "migrations")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in TEXT and not {"__pycache__", "vendor"} & {*path.parts}
    ]
    assert len(shipped) > 200
    assert [
        str(path.relative_to(ROOT))
        for path in shipped
        if NOTICE.search(path.read_text(encoding="utf-8"))
        and path.relative_to(ROOT).as_posix() not in IN_BUNDLES
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


def test_every_file_that_pages_and_migrations_need_is_in_the_wheel() -> None:
    options, found = settings()["options"], settings()["options.package_data"]
    folders = dict(line.split(" = ") for line in options["package_dir"].strip().splitlines())
    for package in ("companion_ws.static", "companion_ws.migrations", "companion_ws.docs.images"):
        folder = ROOT / folders[package]
        globs = [pattern.strip() for pattern in found[package].split(",")]
        taken = {path for pattern in globs for path in folder.glob(pattern)}
        assert [
            str(path.relative_to(ROOT))
            for path in folder.rglob("*")
            if path.is_file() and path not in taken and "__pycache__" not in path.parts
        ] == []
