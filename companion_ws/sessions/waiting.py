"""Waits for what is still to happen in a session: the result of a call, the next record."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from companion_ws.core.errors import Unavailable
from companion_ws.core.session import Event
from companion_ws.nodes.verbs import Verbs, verb
from companion_ws.sessions.live import LiveSession


class Waiting:
    """Everybody who waits, by HTTP or from Python."""

    def __init__(
        self, open_live: Callable[[str], Awaitable[LiveSession | None]], verbs: Verbs
    ) -> None:
        self._open = open_live
        self.verbs = verbs
        self._results: defaultdict[tuple[str, str], list[asyncio.Future[dict[str, Any]]]] = (
            defaultdict(list)
        )
        self._news: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    @verb(changes=False)
    async def result(
        self, session_id: str, tool_call_id: str, timeout_s: float
    ) -> dict[str, Any] | None:
        """Wait for the result of a call; None if it takes longer.

        Raises:
            Unavailable: the call itself is not known to be stored.
        """
        live = await self._open(session_id)
        call = live.session.calls.get(tool_call_id) if live is not None else None
        if live is None or call is None:
            return None
        if call.seq > live.delivered_seq:
            await live.turn()
            call = live.session.calls.get(tool_call_id, call)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        waiting = self._results[session_id, tool_call_id]
        waiting.append(future)
        try:
            if call.result_seq is not None and call.result_seq <= live.delivered_seq:
                body = await live.record_text(call.result_seq)
                if body is not None:
                    record: dict[str, Any] = msgspec.json.decode(body)
                    return record
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return None
        finally:
            waiting.remove(future)
            if not waiting:
                self._results.pop((session_id, tool_call_id), None)

    @verb(changes=False)
    async def beyond(self, session_id: str, seq: int | None, timeout_s: float) -> bool:
        """Wait until a record after `seq`, or after now, has been delivered; False if it takes longer."""
        live = await self._open(session_id)
        if live is None or (seq is not None and live.delivered_seq > seq):
            return live is not None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news[session_id].add(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._news[session_id].discard(future)
            if not self._news[session_id]:
                del self._news[session_id]
        return True

    def recorded(self, session_id: str, event: Event, body: bytes) -> None:
        """Wake those who wait for this record."""
        for news in self._news.get(session_id, ()):
            if not news.done():
                news.set_result(None)
        if event.type != "client_tool_result":
            return
        waiting = self._results.get((session_id, event.fields["tool_call_id"]))
        if waiting:
            record = msgspec.json.decode(body)
            for future in waiting:
                if not future.done():
                    future.set_result(record)

    def stop(self) -> None:
        """Let everybody go, as if their time were up: the server stops before it is."""
        self._let_go(None, TimeoutError())

    def forget(self, session_id: str | None = None) -> None:
        """Let go of those who wait in a session that another server has now, or everywhere."""
        self._let_go(session_id, Unavailable("The session is on another server; ask again."))

    def _let_go(self, session_id: str | None, error: Exception) -> None:
        everybody: list[asyncio.Future[Any]] = [
            *(f for key, waiting in self._results.items() if session_id in (None, key[0]) for f in waiting),
            *(f for key, news in self._news.items() if session_id in (None, key) for f in news),
        ]
        for future in everybody:
            if not future.done():
                future.set_exception(error)
