"""A session as a notebook shows it: as of the moment it is shown, in HTML that does nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from companion_ws.client.invitation import Invitation, safe
from companion_ws.client.known import KnownSession
from companion_ws.core.text import cut, json_text

MOST_ROWS: Final = 50
"""A notebook is read, not searched."""
MOST_CHARACTERS: Final = 300
"""Of one value."""


def session_html(
    session: KnownSession, invitation: Invitation | None, *, is_connected: bool
) -> str:
    """Return who is there and what the state is; the way in, while nobody has a screen."""
    if not session.joined:
        return "<p>This companion has not joined a session yet.</p>"
    title = session.joined.get("title") or f"Session {session.session_id}"
    told = "connected" if is_connected else "not connected"
    parts = [
        f"<p><strong>{_words(title)}</strong> · {told} · record {session.seq}</p>",
        _way_in(session, invitation),
        _table("Here", map(_who, session.presence)),
        _table("State", ((key, _json(value)) for key, value in session.state.items())),
    ]
    # Notebooks typeset what stands between dollars, members' words as well, unless told not to.
    return f'<div class="tex2jax_ignore mathjax_ignore">{"".join(parts)}</div>'


def _way_in(session: KnownSession, invitation: Invitation | None) -> str:
    if session.screens:
        return ""
    if invitation is None:
        return "<p>No screen is here. <code>pair()</code> gives a QR code and a code.</p>"
    return invitation._repr_html_()


def _who(entry: dict[str, Any]) -> tuple[str, str]:
    role = {"ui": "screen"}.get(entry["role"], str(entry["role"]))
    return role, " · ".join(str(entry[name]) for name in ("device", "user") if entry.get(name))


def _table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    listed = list(rows)
    if not listed:
        return ""
    lines = "".join(
        f'<tr><th style="text-align:left">{_words(name)}</th>'
        f'<td style="text-align:left">{_words(value)}</td></tr>'
        for name, value in listed[:MOST_ROWS]
    )
    more = f"<p>… and {len(listed) - MOST_ROWS} more</p>" if len(listed) > MOST_ROWS else ""
    return f"<table><caption>{caption}</caption>{lines}</table>{more}"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _words(text: str) -> str:
    shown = cut(text, MOST_CHARACTERS)
    return safe(shown if shown == text else f"{shown}…")
