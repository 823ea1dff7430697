"""The pieces the readable API page is put together from; every text in them is escaped."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any, Final

from companion_ws.web.docs.fields import Field

_CODE: Final = re.compile(r"`([^`]+)`")
_LINE: Final = 60
"""Characters a line of an example may have and still be read at a glance."""


def prose(text: str) -> str:
    """Return a sentence; what stands in backticks becomes code."""
    return _CODE.sub(r"<code>\1</code>", html.escape(text, quote=False))


def paragraph(text: str) -> str:
    """Return a sentence as a paragraph, nothing for nothing."""
    return f"<p>{prose(text)}</p>" if text else ""


def code_link(anchor: str, text: str) -> str:
    """Return a link within the page whose text is code."""
    return f"<a href=#{anchor}><code>{html.escape(text)}</code></a>"


def block(code: str, label: str) -> str:
    """Return lines of code, which scroll by themselves and so can have the focus."""
    label = html.escape(label)
    return f'<pre tabindex=0 role=group aria-label="{label}"><code>{html.escape(code)}</code></pre>'


def pretty(value: Any, indent: str = "") -> str:
    """Return JSON for people: what is short stays on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= _LINE or not value or not isinstance(value, dict | list):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {pretty(part, inner)}" for name, part in value.items()]
    else:
        parts = [pretty(part, inner) for part in value]
    lines = ",\n".join(inner + part for part in parts)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{lines}\n{indent}{closing}"


def chips(names: Iterable[str]) -> str:
    """Return a few short names side by side, nothing for none."""
    shown = "".join(f"<li><code>{html.escape(name)}</code></li>" for name in names)
    return f"<ul class=kinds>{shown}</ul>" if shown else ""


def field_list(fields: Iterable[Field]) -> str:
    """Return fields with what may stand in them, nothing for none."""
    shown = "".join(map(_field, fields))
    return f"<ul class=fields>{shown}</ul>" if shown else ""


def _field(field: Field) -> str:
    need = " <span class=need>required</span>" if field.is_required else ""
    about = ", ".join(part for part in (field.kind, field.limits) if part)
    default = f"default `{field.default}`" if field.default else ""
    about = prose("; ".join(text for text in (about, default, field.meaning) if text))
    name = f"<p class=name><code>{html.escape(field.name)}</code>{need}</p>"
    return f"<li>{name}<p>{about}</p>{field_list(field.inner)}</li>"


def entry(
    anchor: str, name: str, shown: str, summary: str, facts: Iterable[tuple[str, str]], about: str
) -> str:
    """Return what shows one line until it is opened.

    The id stands inside, so that a link to it opens the entry. `shown` and the second
    of each of the `facts` are HTML already.
    """
    rows = "".join(f"<div><dt>{term}</dt><dd>{text}</dd></div>" for term, text in facts if text)
    here = f'<a class=here href=#{anchor} aria-label="Link to {html.escape(name)}">#</a>'
    return (
        f"<details class=entry><summary>{shown} <span class=about>{prose(summary)}</span></summary>"
        f"<div class=opened id={anchor}>{here}{paragraph(about)}<dl class=facts>{rows}</dl></div>"
        "</details>"
    )


def table(name: str, heads: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table; its roles are said, as narrow screens lay the cells out another way."""
    shown = "".join(f"<th role=columnheader scope=col>{head}</th>" for head in heads)
    return (
        f'<table class="codes {name}" role=table><thead role=rowgroup><tr role=row>{shown}</tr>'
        f"</thead><tbody role=rowgroup>{''.join(rows)}</tbody></table>"
    )


def row(anchor: str, first: str, *cells: str) -> str:
    """Return a row of such a table; the cells are HTML already."""
    shown = "".join(f"<td role=cell>{cell}</td>" for cell in cells)
    return f"<tr role=row id={anchor}><th role=rowheader scope=row>{first}</th>{shown}</tr>"
