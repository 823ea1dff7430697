"""`Idempotency-Key`: the same request sent again makes nothing, and is answered as the first was.

Rules of this file:

1. A key belongs to its sender, by kind of token, user, session, role, device and route; where no token
   is needed, a short one belongs to an address too: strangers choose the same.
2. An answer is remembered as what it was made of; tokens and links are made
   of it again, they are never stored.
3. Refusals are not remembered.
4. Repeats that come while the first is under way wait for its answer, at whichever server.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from companion_ws.core.errors import BadRequest, Unavailable
from companion_ws.database import Conflict, Statement
from companion_ws.nodes.turns import Turn, Turns
from companion_ws.web.guard.answers import Answers, Memory
from companion_ws.web.guard.middleware import CLAIMS, CLIENT

MAX_KEY: Final = 255
LONG_KEY: Final = 16
"""Characters from which on nobody else will have chosen the same."""

Store = Callable[[Memory, str, str | None], list[Statement]]
"""Given what was made, for which user and in which session: what remembers the answer."""
Make = Callable[[Store], Awaitable[Memory]]
Render = Callable[[Memory], Awaitable[web.Response]]


class Idempotency:
    """Runs what makes something at most once per key."""

    def __init__(
        self,
        answers: Answers,
        turns: Turns,
        note: Callable[[str, int], None] = lambda session_id, size: None,
    ) -> None:
        """`note` hears how many bytes are remembered for a session."""
        self._answers = answers
        self._turns = turns
        self._note = note

    async def once(
        self,
        request: web.Request,
        make: Make,
        render: Render,
        *,
        keeps: Callable[[Memory], bool] = lambda memory: True,
    ) -> web.Response:
        """Answer with `render` of what `make` made, now or when the key was first seen.

        `make` puts the statements its `Store` gives into its own transaction;
        if it does not ask for them, they are stored after it, unless `keeps` says that
        a repeat should make it again.

        Raises:
            BadRequest: the key is malformed.
            IdempotencyMismatch: it came with another body before.
        """
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return await render(await make(lambda memory, user, session_id: []))
        scope, body = _scope(request, key), await request.read()
        async with self._turns.taken(f"idempotency\0{scope}") as turn:
            memory = await self._answers.find(scope, body)
            if memory is not None:
                response = await render(memory)
                response.headers["Idempotency-Replayed"] = "true"
                return response
            try:
                memory = await self._made(turn, scope, body, request, make, keeps)
            except Conflict:
                raise Unavailable("Another server does this now; send it again.") from None
            return await render(memory)

    async def _made(
        self,
        turn: Turn,
        scope: str,
        body: bytes,
        request: web.Request,
        make: Make,
        keeps: Callable[[Memory], bool],
    ) -> Memory:
        is_stored = False

        def store(memory: Memory, user: str, session_id: str | None) -> list[Statement]:
            nonlocal is_stored
            is_stored = True
            if session_id is not None:
                self._note(session_id, len(json.dumps(memory)))
            stored = self._answers.storing(scope, body, memory, user, session_id)
            return [*stored, *turn.ends()]

        memory = await make(store)
        if not is_stored and keeps(memory):
            claims = request.get(CLAIMS)
            user = claims.user if claims else ""
            await self._answers.store(store(memory, user, request.match_info.get("session_id")))
        return memory


def _scope(request: web.Request, key: str) -> str:
    claims = request.get(CLAIMS)
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise BadRequest(f"An Idempotency-Key has 1 to {MAX_KEY} printable characters.")
    if claims is not None:
        who = [claims.kind, claims.user, claims.session_id or "", claims.role or "",
               claims.device_id or ""]  # fmt: skip
    else:
        who = ["public", "" if len(key) >= LONG_KEY else request[CLIENT]]
    path = f"{request.path}?{request.query['role']}" if "role" in request.query else request.path
    return "\0".join([*who, request.method, path, key])
