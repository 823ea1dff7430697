"""The bundles of the pages and the pages of the docs: whether they are made of the sources as they are now."""

from __future__ import annotations

import fcntl
import json
import subprocess
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "static/dist"


def changed_sources() -> set[str]:
    """Return the files in `static` that have changed since bundles were made of them."""
    changed = set()
    for path in DIST.glob("*.map"):
        made_of = json.loads(path.read_text())
        for source, text in zip(made_of["sources"], made_of["sourcesContent"], strict=True):
            file = DIST / source
            if not file.exists() or file.read_text() != text:
                changed.add(source.removeprefix("../"))
    return changed | changed_docs()


def changed_docs() -> set[str]:
    """Return the pages of the docs that have changed since, that are new, or that are gone."""
    made = {}
    for path in (DIST / "docs").rglob("*.html"):
        head = path.read_text(encoding="utf-8").partition("\n")[0]
        if head.startswith("<!-- "):  # all but the list of decisions, which has no source of its own
            _, source, known, _ = head.split()
            made[source] = known
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    changed = (there - made.keys()) - {"docs/api.md"}
    for source, known in made.items():
        file = ROOT / source
        if not file.exists() or sha256(file.read_bytes()).hexdigest()[:16] != known:
            changed.add(source)
    return changed


def make_again_if_changed() -> None:
    """Bundle what has changed, once however many processes test; needs Node only then."""
    with (ROOT / ".ci/esbuild/package.json").open() as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if changed_sources():
            subprocess.run([ROOT / ".ci/bundle"], check=True)
