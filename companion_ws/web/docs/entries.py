"""One entry of the readable API page: a route, a command, or what the server says."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from companion_ws.core.commands import Command, Relayed
from companion_ws.web.api.shapes import Message
from companion_ws.web.docs.fields import Field, fields_of, words_of
from companion_ws.web.docs.markup import (
    block,
    chips,
    code_link,
    entry,
    field_list,
    paragraph,
    pretty,
)
from companion_ws.web.docs.samples import (
    CALLS,
    KINDS,
    PARAMETERS,
    SECRETS,
    Call,
    said_example,
    sent_example,
)
from companion_ws.web.guard.permissions import ROLES
from companion_ws.web.guard.route import ADMIN, Route

_PARAMETER: Final = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_INDENT: Final = "  "


def path_of(route: Route) -> str:
    """Return a route's path for people, without the patterns of its parameters."""
    return _PARAMETER.sub(r"{\1}", route.path)


def anchor_of(route: Route) -> str:
    """Return the id of a route's entry."""
    words = re.sub(r"[^A-Za-z0-9_]+", "-", path_of(route)).strip("-")
    return f"{route.method.lower()}-{words or 'root'}"


def first_line(what: Any) -> str:
    """Return what a docstring of ours says first; a builtin's says nothing about us."""
    if not str(getattr(what, "__module__", "")).startswith("companion_ws"):
        return ""
    return (getattr(what, "__doc__", None) or "").strip().partition("\n")[0]


# Routes.


def summary_of(route: Route) -> str:
    """Return what a route does, in a line without a full stop."""
    name = f"{route.method} {path_of(route)}"
    return (route.summary or first_line(route.handler) or name).removesuffix(".")


def route_entry(route: Route) -> str:
    """Return the entry of a route: who may use it, what it takes and answers, a command."""
    path = path_of(route)
    name = f"{route.method} {path}"
    about = first_line(route.handler)
    facts = [
        ("Who", _who(route, name)),
        ("Path", field_list(Field(part, "string") for part in _PARAMETER.findall(route.path))),
        ("Query", "" if route.query is None else field_list(fields_of(route.query))),
        ("Body", _body(route)),
        ("Answer", _answer(route)),
        ("Try it", _tries(route, name)),
    ]
    # A long path breaks where one part of it ends.
    broken = html.escape(path).replace("/", "/<wbr>").replace("/<wbr>", "/", 1)
    shown = (
        f'<span class="method is-{route.method.lower()}">{route.method}</span> '
        f"<code class=path>{broken}</code>"
    )
    return entry(
        anchor_of(route), name, shown, summary_of(route), facts, about if route.summary else ""
    )


def _who(route: Route, name: str) -> str:
    who = chips(kind for kind in KINDS if kind in route.who)
    if not who:
        who = paragraph(SECRETS.get(name, "Anybody; no token is needed."))
    if route.admin:
        who += paragraph(
            "This machine only, 404 elsewhere; behind a proxy or tunnel at `--admin-port`."
        )
    if route.anywhere:
        who += paragraph("From anywhere with a token of this kind:")
        who += chips(kind for kind in KINDS if kind in route.anywhere)
    return who


def _body(route: Route) -> str:
    if route.body is None:
        return ""
    fields = fields_of(route.body)
    bare = f"The bare value, {words_of(route.body)}."
    about = paragraph(first_line(route.body) if fields else bare)
    if route.body is Message:
        about += "<p>They are listed under <a href=#commands>Commands</a>.</p>"
    return about + field_list(fields)


def _answer(route: Route) -> str:
    status = f"<strong>{route.status}</strong> {HTTPStatus(route.status).phrase}"
    if route.status == HTTPStatus.NO_CONTENT:
        return f"<p>{status}</p>"
    status = f"<p>{status}, <code>{html.escape(route.media)}</code></p>"
    if route.answer is None:
        return status
    fields = [_given(field) for field in fields_of(route.answer)]
    words = f"An {words_of(route.answer)}:" if fields else ""
    return status + paragraph(first_line(route.answer) or words) + field_list(fields)


def _given(field: Field) -> Field:
    """Nothing is required of an answer: what it has is there."""
    return replace(field, is_required=False, inner=tuple(map(_given, field.inner)))


def _tries(route: Route, name: str) -> str:
    is_admin = route.who == ADMIN
    variable = "" if not route.who else "ADMIN_TOKEN" if is_admin else "TOKEN"
    shown = ""
    for number, call in enumerate(CALLS.get(name, (Call(),)), 1):
        label = f"Command {number} for {name}" if number > 1 else f"Command for {name}"
        shown += paragraph(call.about)
        shown += block(curl(route.method, route.path, call, variable), label)
    if is_admin:
        shown += paragraph(
            "`companion-ws token create --user me --role admin` prints such a token."
        )
    return shown


def curl(method: str, path: str, call: Call, token: str) -> str:
    """Return a command line for one request; `token` is the variable that holds one."""
    path = _PARAMETER.sub(lambda part: PARAMETERS.get(part[1], f"${part[1].upper()}"), path)
    url = f'"$URL{path}{"?" if call.query else ""}{call.query}"'
    words = ["curl", call.options, "" if method == "GET" else f"-X {method}", url]
    lines = [" ".join(word for word in words if word)]
    headers = [f"Authorization: Bearer ${token}"] if token else []
    lines += [f"-H {_quoted(header)}" for header in [*headers, *call.headers]]
    if call.body is not None:
        lines.append(f"-d {shlex.quote(pretty(call.body, _INDENT))}")
    return f" \\\n{_INDENT}".join(lines)


def _quoted(header: str) -> str:
    """Double quotes where the shell is to fill in a variable, single ones elsewhere."""
    return f'"{header}"' if "$" in header else shlex.quote(header)


# Messages.


def command_entry(kind: type[Command]) -> str:
    """Return the entry of a command: who may send it, its fields, what becomes of it."""
    name = kind.type
    facts = [
        ("Who", chips(role for role in ROLES if role in kind.roles)),
        ("Fields", field_list(_command_fields(kind))),
        ("Then", _fate(kind)),
        ("Example", block(pretty(sent_example(name)), f"Example of {name}")),
    ]
    summary = first_line(kind).removesuffix(".")
    return entry(f"send-{name}", name, f"<code>{name}</code>", summary, facts, "")


def _command_fields(kind: type[Command]) -> Iterable[Field]:
    fields = fields_of(kind)
    if not issubclass(kind, Relayed):
        return fields
    inner = tuple(
        Field(name, words_of(type_), is_required=True) for name, type_ in kind.required.items()
    )
    return [replace(field, inner=inner) for field in fields]


def _fate(kind: type[Command]) -> str:
    name = kind.outcome()
    match kind.fate:
        case "recorded":
            return f"<p>Recorded, and told to everybody as {code_link(f'record-{name}', name)}.</p>"
        case "answered":
            return f"<p>The sender alone is answered by {code_link(f'told-{name}', name)}.</p>"
        case "passed":
            return f"<p>Passed on as {code_link(f'told-{name}', name)}; nothing answers it.</p>"
    return "<p>Nothing answers it, unless it is refused.</p>"


def said_entry(name: str, text: str, *, is_record: bool) -> str:
    """Return the entry of a message of the server: an example of it."""
    kind = "record" if is_record else "told"
    example = block(pretty(said_example(name, is_record=is_record)), f"Example of {kind} {name}")
    return entry(f"{kind}-{name}", name, f"<code>{name}</code>", text, [("Example", example)], "")
