"""Ids, codes, tickets, tokens, cursors and revisions of any text: refused, never a failure of ours."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from tests.running import Running

SEED = 9
PIECES = (
    "", "0", "1", "-1", "00", "9" * 15, "9" * 16, "9" * 30, "1e5", "٣٤٥", "１２３", "null", "true", "*",
    '"12"', 'W/"1"', '"', ",", ";", ":", "/", "//", "..", "%00", "\x00", "\n", "\t", " ", "ü", "\u202e",
    "😀", "\ud83d", "{}", "[]", "'", "--", "a" * 300, "cwu_", "cws_x.y", ".", "=", "__proto__",
    "00000000-0000-4000-8000-000000000000", "123-456-789", "123456789", "Bearer ", "epoch:5",
)  # fmt: skip


def text(chance: random.Random) -> str:
    return "".join(chance.choice(PIECES) for _ in range(chance.randint(0, 3)))


def value(chance: random.Random) -> Any:
    return chance.choice(
        [text(chance), text(chance), text(chance), chance.randint(-(2**60), 2**60), 1.5, True, None,
         [text(chance)], {text(chance): text(chance)}]
    )  # fmt: skip


def body(chance: random.Random, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value(chance) for name in names if chance.random() < 0.7}


async def knocked(server: Running, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    session_id = await server.new_session()
    own = f"/sessions/{session_id}"
    for _ in range(rounds):
        name = quote(text(chance).encode(errors="replace"), safe="")
        query = quote(text(chance).encode(errors="replace"), safe="")
        sent: dict[str, str] = {}
        for header in ("If-Match", "If-None-Match", "Last-Event-ID", "Idempotency-Key"):
            word = "".join(c for c in text(chance) if c.isprintable() and c.isascii())
            if chance.random() < 0.3:
                sent[header] = word
        method, path, given = chance.choice(
            [
                ("POST", "/pair", body(chance, ("code", "device"))),
                ("POST", "/pair", body(chance, ("ticket", "device"))),
                ("POST", "/pair", body(chance, ("claim",))),
                ("POST", "/sign-in", body(chance, ("ticket",))),
                ("GET", f"/sessions/{name}", None),
                ("GET", f"{own}/records?after={query}&limit={query}", None),
                ("GET", f"/me/sessions?cursor={query}&limit={query}", None),
                ("GET", f"{own}/qr.svg?pairing={query}", None),
                ("PUT", f"{own}/state/{name or 'k'}", value(chance)),
                ("GET", f"{own}/state/{name or 'k'}", None),
                ("DELETE", f"{own}/devices/{name}", None),
                ("DELETE", f"{own}/tokens/{name}", None),
                ("POST", f"{own}/pairings", body(chance, ("ttl_s",))),
                ("POST", f"{own}/pairings/{name}", body(chance, ("allow",))),
                ("POST", f"{own}/tokens", body(chance, ("role", "ttl_s"))),
                ("PATCH", own, body(chance, ("title", "language"))),
                ("POST", f"{own}/messages?role={query}&wait={query}",
                 body(chance, ("type", "text", "key", "value", "requestId", "tool_call_id"))),
            ]
        )  # fmt: skip
        token = server.token() if chance.random() < 0.9 else text(chance)
        token = "".join(c for c in token if c.isprintable() and c.isascii()) or "x"
        url = URL(server.url + path, encoded=True)
        async with server.http_session.request(
            method, url, json=given, headers={**sent, "Authorization": f"Bearer {token}"}
        ) as answer:
            assert answer.status < 500, (method, path, given, sent, await answer.text())
            if answer.status >= 400:
                assert answer.content_type == "application/problem+json", (method, path)


async def test_no_text_in_any_place_of_a_request_is_a_failure() -> None:
    async with Running(limit_messages_per_s=0) as server:
        await knocked(server, 400, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
async def test_no_text_in_any_place_of_a_request_is_a_failure_at_length(seed: int) -> None:
    async with Running(limit_messages_per_s=0) as server:
        await knocked(server, 3000, seed)
