"""The way in that a pairing gives: a link and a code, and a picture of both for notebooks."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from time import time

from companion_ws import qr
from companion_ws.core.text import visible


@dataclass(frozen=True, slots=True)
class Invitation:
    """How a phone joins: a link to scan or send, a code to type at `code_url` or to say."""

    pairing_id: str
    url: str
    url_expires_at: int
    code: str
    code_expires_at: int
    code_url: str

    @property
    def is_good(self) -> bool:
        """Whether link or code still lets somebody in, by this machine's clock."""
        return max(self.url_expires_at, self.code_expires_at) > time() * 1000

    def _repr_html_(self) -> str:
        """In a notebook: the QR code, and the code beside it."""
        if not self.is_good:
            return "<p>This invitation has expired. <code>pair()</code> gives another.</p>"
        picture = base64.b64encode(qr.png(self.url)).decode()
        code = f"<strong>{safe(f'{self.code[:3]} {self.code[3:6]} {self.code[6:]}')}</strong>"
        typed = f"or open {link(self.code_url)} and type {code}" if self.code else ""
        return (
            f'<figure style="margin:0"><img alt="QR code of the link" width="220" '
            f'src="data:image/png;base64,{picture}">'
            f"<figcaption>Scan to join {typed}</figcaption></figure>"
        )


def safe(text: str) -> str:
    """Return anybody's words for HTML: nothing of them is markup, nor turns what stands beside."""
    return f"<bdi>{escape(visible(text))}</bdi>"


def link(url: str) -> str:
    """Return a link to a page; what leads elsewhere than to a page stays words."""
    if not url.startswith(("http://", "https://")):
        return safe(url)
    return f'<a href="{escape(visible(url))}" rel="noreferrer" target="_blank">{safe(url)}</a>'
