"""One script and one style sheet for each page, under names that change with their content.

`.ci/bundle` makes `static/dist/phone.js` of all the modules that `static/phone.html` leads to. What
is here when the server starts is read once and hashed as a whole: a page then loads
`static/dist/phone.HASH.js`, which a browser may keep without asking again, and parts that the script
fetches later (languages, designs) have the same hash in their names. So a page's second visit is one
request, and a new release never mixes with an old one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from companion_ws.web.brand import NO_BRAND, Brand
from companion_ws.web.guard.prepared import Prepared, prepare

_TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".webmanifest": "application/manifest+json",
}
_NO_HASH: Final = b".0000000000000000.js"
"""In a bundle, the end of a part's name, as long as the one it gets. Source: .ci/esbuild/build.mjs."""
_HASHED: Final = re.compile(r"dist/([^/.]+)(?:\.([^/.]+))?(\.[a-z]+)")
_STYLE: Final = re.compile(r'<link rel="stylesheet" href="((?:\.\./)*)static/css/[^"]+">\n')
_MANIFEST: Final = re.compile(r'href="((?:\.\./)*)static/app/(\w+)\.webmanifest"')
_SCRIPT: Final = re.compile(r'<script type="module" src="((?:\.\./)*)static/js/[^"]+">')


class Bundles:
    """The bundles in `static/dist` and the manifests in `static/app`, as `brand` wants them."""

    def __init__(self, static: Path, brand: Brand = NO_BRAND) -> None:
        css = brand.css().encode()
        paths = [*(static / "dist").iterdir(), *(static / "app").iterdir()]
        self._bodies = {
            path.name: path.read_bytes() for path in sorted(paths) if path.suffix in _TYPES
        }
        for name, body in self._bodies.items():
            if name.endswith(".css"):
                self._bodies[name] = body + css
            elif name.endswith(".webmanifest"):
                self._bodies[name] = brand.manifest(body)
        # All share one hash: each may name others, and is named by them.
        whole = hashlib.sha256()
        for name, body in self._bodies.items():
            whole.update(f"{name} {len(body)}\n".encode() + body)
        self.hash = whole.hexdigest()[:16]
        for name, body in self._bodies.items():
            self._bodies[name] = body.replace(_NO_HASH, f".{self.hash}.js".encode())
        self._prepared: dict[str, Prepared] = {}

    def page(self, name: str, html: str) -> str:
        """Return the page `name` with its bundles in place of the files it lists."""
        style = rf'<link rel="stylesheet" href="\1static/dist/{name}.{self.hash}.css">' "\n"
        html = _STYLE.sub("", _STYLE.sub(style, html, count=1))
        script = rf'<script type="module" src="\1static/dist/{name}.{self.hash}.js">'
        manifest = rf'href="\1static/dist/\2.{self.hash}.webmanifest"'
        return _MANIFEST.sub(manifest, _SCRIPT.sub(script, html))

    def find(self, path: str) -> tuple[Prepared, str] | None:
        """Return what `path` in `static` stands for and how long it may be kept, if it is a bundle.

        A name with the hash of another start stands for today's bundle: a page that was open
        during an upgrade still finds its parts.
        """
        parts = _HASHED.fullmatch(path)
        name = parts[1] + parts[3] if parts else ""
        if parts is None or name not in self._bodies:
            return None
        if name not in self._prepared:
            self._prepared[name] = prepare(self._bodies[name], _TYPES[parts[3]])
        is_lasting = parts[2] == self.hash
        return self._prepared[name], "max-age=31536000, immutable" if is_lasting else "no-cache"
