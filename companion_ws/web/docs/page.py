"""`GET /docs`: the API as a page for people, made from the route table and the types."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

from companion_ws.core.commands import COMMANDS
from companion_ws.core.errors import ERRORS, CompanionError
from companion_ws.core.protocol import MAX_REQUEST_ID
from companion_ws.web.docs.article import API, Article, Part
from companion_ws.web.docs.entries import (
    anchor_of,
    command_entry,
    curl,
    first_line,
    path_of,
    route_entry,
    said_entry,
    summary_of,
)
from companion_ws.web.docs.fields import Field
from companion_ws.web.docs.markup import block, code_link, field_list, paragraph, prose, row, table
from companion_ws.web.docs.samples import CLOSES, JOIN, KINDS, Call, sent_example
from companion_ws.web.docs.sections import Section
from companion_ws.web.guard.route import Route

_SESSION: Final = r"/sessions/\{session_id\}"
_TOPICS: Final = {
    "sessions": ("Sessions", rf"/sessions|/me/sessions|{_SESSION}"),
    "state": ("State", rf"{_SESSION}/state(/.*)?"),
    "messages": ("Messages and records", rf"{_SESSION}/(messages|records|trail)"),
    "pairing": (
        "Pairing and devices",
        rf"/pair|/me/devices|{_SESSION}/((pairings|devices)(/.*)?|qr\..*)",
    ),
    "tokens": ("Tokens and sign-in", rf"/sign-in.*|/keys|/tokens(/.*)?|{_SESSION}/tokens"),
    "people": ("People", r"/me|/me/export"),
    "voice": ("Voice platforms and MCP", r"/elevenlabs/.*|/vapi|/retell|/mcp"),
    "health": ("Health and documents", r"/healthz|/readyz|/metrics|/\w+api\.json|/docs(/.*)?"),
    "pages": ("Pages and files", r".*"),
}
"""Title and paths of each group of routes; the first that matches has the route."""
_SOCKET: Final = "/ws"
_HEAD: Final = (
    "<header><h1>Companion API</h1>"
    "<p>Sessions shared by voice agents and the screens of people.</p>"
    '<p>For programs: <a href="page:openapi.json">OpenAPI 3.1</a> and '
    '<a href="page:asyncapi.json">AsyncAPI 3.0</a>.</p></header>'
)
_MESSAGES: Final = {
    "join": "Joining",
    "commands": "Commands",
    "records": "Records",
    "told": "Told, not recorded",
    "closes": "Close codes",
}


def api_page(
    routes: Iterable[Route],
    public_url: str,
    records: Mapping[str, str],
    told: Mapping[str, str],
) -> Article:
    """Return the page; everything in it is escaped, and it needs no script.

    `records` and `told` are what the server says, by name, with a sentence each.
    """
    groups = _grouped(routes)
    titles = {anchor: _TOPICS[anchor][0] for anchor in groups}
    parts = (
        Part("start", "Start"),
        Part("http", "HTTP", tuple(Part(*each) for each in titles.items())),
        Part("websocket", "WebSocket", tuple(Part(*each) for each in _MESSAGES.items())),
        Part("errors", "Errors"),
    )
    sections = [_start(public_url), _http(groups), _websocket(records, told), _errors()]
    found = (*_found(groups), *_found_messages(records, told))
    return Article(API, "API", _HEAD + "".join(sections), parts, found)


def topic_of(route: Route) -> str:
    """Return the anchor of the group a route belongs to."""
    path = path_of(route)
    return next(anchor for anchor, (_, paths) in _TOPICS.items() if re.fullmatch(paths, path))


def _grouped(routes: Iterable[Route]) -> dict[str, list[Route]]:
    groups: dict[str, list[Route]] = {anchor: [] for anchor in _TOPICS}
    for route in routes:
        if route.path != _SOCKET:
            groups[topic_of(route)].append(route)
    return {anchor: found for anchor, found in groups.items() if found}


def _found(groups: Mapping[str, list[Route]]) -> Iterable[Section]:
    yield Section("", "API", "every route, message, field and error")
    for anchor, routes in groups.items():
        for route in routes:
            text = f"{_TOPICS[anchor][0]}: {summary_of(route)}"
            yield Section(anchor_of(route), f"{route.method} {path_of(route)}", text)


def _found_messages(records: Mapping[str, str], told: Mapping[str, str]) -> Iterable[Section]:
    for name, kind in COMMANDS.items():
        yield Section(f"send-{name}", name, f"Command: {first_line(kind)}")
    for said, word in ((records, "record"), (told, "told")):
        for name, text in said.items():
            yield Section(f"{word}-{name}", name, f"Message from the server: {text}")
    for code in sorted(ERRORS):
        yield Section(f"error-{code}", code, f"Error: {first_line(ERRORS[code])}")


def _start(public_url: str) -> str:
    opened = curl("POST", "/sessions", Call({"title": "Parcel to Denver"}, options="-s"), "TOKEN")
    pick = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"session_id\"])'"
    token = f"URL={shlex.quote(public_url)}\nTOKEN=$(companion-ws token create --user alice)"
    session = f"SESSION=$({opened} \\\n  | {pick})"
    join = 'companion-ws connect --url "$URL" --token "$TOKEN" --session-id "$SESSION"'
    steps = [
        ("Make a token, in the folder the server was started in.", token),
        ("Open a session.", session),
        ("Join it: messages are printed, each line you type is sent.", join),
    ]
    shown = "".join(
        f"<li>{paragraph(text)}{block(code, f'Step {number}')}</li>"
        for number, (text, code) in enumerate(steps, 1)
    )
    line = block(json.dumps(sent_example("contextual_update")), "A line to type")
    return (
        "<section><h2 id=start>Start</h2>"
        f"<ol class=steps>{shown}</ol>"
        f"<p>Type this, and every screen of the session shows a card:</p>{line}"
        "<p>A phone becomes a screen by the link or the code that "
        f"{code_link('post-sessions-session_id-pairings', 'POST /sessions/{session_id}/pairings')} "
        "gives.</p></section>"
    )


def _http(groups: Mapping[str, list[Route]]) -> str:
    shown = "".join(
        f"<section><h3 id={anchor}>{html.escape(_TOPICS[anchor][0])}</h3>"
        f"<div class=entries>{''.join(map(route_entry, routes))}</div></section>"
        for anchor, routes in groups.items()
    )
    about = prose(
        "JSON in, JSON out; an absent body is `{}`. Times are milliseconds since 1970 (UTC). With "
        "`Idempotency-Key` a request that makes something makes it once, however often it is "
        "sent. A refusal is `application/problem+json` with a `code`:"
    )
    return (
        f"<section><h2 id=http>HTTP</h2><p>{about} <a href=#errors>Errors</a>.</p>"
        + paragraph(
            "A token comes as `Authorization: Bearer …` and is of one of four kinds. The commands "
            "below use `$URL`, `$TOKEN` and `$SESSION` as set above; other variables are ids of "
            "earlier answers."
        )
        + field_list(Field(name, "", meaning=text) for name, text in KINDS.items())
        + f"{shown}</section>"
    )


def _websocket(records: Mapping[str, str], told: Mapping[str, str]) -> str:
    address = f"{_SOCKET}?token=…&session_id=…&role=ui&after=17"
    parts = {
        "join": block(address, "Address")
        + field_list(Field(name, "", meaning=text) for name, text in JOIN.items()),
        "commands": paragraph(
            f"Messages that clients send. `requestId`, at most {MAX_REQUEST_ID} characters, makes any of "
            "them safe to repeat: it takes effect once, and is answered with the first record and "
            '`"duplicate": true`. A refusal is an `error` message; the connection stays open.'
        )
        + _entries(command_entry(kind) for kind in COMMANDS.values()),
        "records": paragraph(
            "Stored facts. Everybody in the session gets them once they are durable, the sender "
            "included; `seq` counts them from 1 without gaps."
        )
        + _entries(said_entry(name, text, is_record=True) for name, text in records.items()),
        "told": paragraph("Messages without a `seq`; they are never replayed.")
        + _entries(said_entry(name, text, is_record=False) for name, text in told.items()),
        "closes": paragraph("4000 to 4499 mean “reconnect”, 4500 to 4999 “do not”.") + _closes(),
    }
    shown = "".join(
        f"<section><h3 id={anchor}>{title}</h3>{parts[anchor]}</section>"
        for anchor, title in _MESSAGES.items()
    )
    return (
        "<section id=get-ws><h2 id=websocket>WebSocket</h2>"
        + paragraph(f"`GET {_SOCKET}`: one JSON object a text frame, each with its `type`.")
        + f"{shown}</section>"
    )


def _entries(entries: Iterable[str]) -> str:
    return f'<div class="entries is-messages">{"".join(entries)}</div>'


def _closes() -> str:
    reasons = {code: [text] for code, text in CLOSES.items()}
    for error in ERRORS.values():
        if error.close_code is not None:
            reasons.setdefault(error.close_code, []).append(first_line(error))
    rows = (
        row(f"close-{code}", f"<code>{code}</code>", prose(" ".join(texts)))
        for code, texts in sorted(reasons.items())
    )
    return table("is-closes", ["Code", "When"], rows)


def _errors() -> str:
    return (
        "<section><h2 id=errors>Errors</h2>"
        + paragraph(
            "Over HTTP a status and `application/problem+json` with `code`. Over the WebSocket an "
            "`error` message with `code`, or the connection is closed with the number given here."
        )
        + table("is-errors", ["Code", "HTTP", "Close", "When"], map(_error, sorted(ERRORS)))
        + "</section>"
    )


def _error(code: str) -> str:
    error: type[CompanionError] = ERRORS[code]
    number = error.close_code
    close = "" if number is None else f"<a href=#close-{number}>{number}</a>"
    status = str(error.http_status)
    return row(f"error-{code}", f"<code>{code}</code>", status, close, prose(first_line(error)))
