"""The docs as a folder of files that any web server can hand out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from companion_ws.web.docs.site import IMAGES, SEARCH, Site

_ASSET: Final = re.compile(r'(?:href|src)="(?:\.\./)*static/([^"]+)"')
_MANIFEST: Final = re.compile(r'<link rel="manifest"[^>]*>\n')
"""It would offer to install an app where there is none."""
_MAP: Final = re.compile(rb"sourceMappingURL=([\w.-]+)")


def publish(
    site: Site,
    asset: Callable[[str], bytes],
    documents: Mapping[str, bytes],
    images: Path,
    to: Path,
) -> int:
    """Write every page of `site` and what it needs below `to`; return how many pages.

    `asset` returns a file of `static` by its path there; `documents` are written as they are. What is
    in the folder already stays, and is written over where it has the name of a page.
    """
    assets: set[str] = set()
    for name in site.names:
        page = _MANIFEST.sub("", site.page(name))
        assets.update(_ASSET.findall(page))
        _write(to / f"{name}.html", page.encode())
    for path in sorted(assets):
        body = asset(path)
        _write(to / "static" / path, body)
        if pointed := _MAP.search(body):
            beside = f"{path.rpartition('/')[0]}/{pointed[1].decode()}"
            _write(to / "static" / beside, asset(beside))
    for name, body in {**documents, SEARCH: site.search().encode()}.items():
        _write(to / name, body)
    for picture in images.glob("*.png"):
        _write(to / IMAGES / picture.name, picture.read_bytes())
    return len(site.names)


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
