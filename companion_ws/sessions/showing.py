"""Shows the pictures that records name by address, without letting a phone ask for them itself.

A phone that fetched a picture would tell its host who looks, when and from where; the policy of
every page forbids it. So the server fetches, once, after the record was stored and delivered:

    record ──► delivered ──► pictures_in ──► fetch (internet.py) ──► header_of ──► stored ──► `media`

Nothing waits for it, and the record stays as it was sent: what became of a picture is told beside
it, by `media` to those who are there and in `session_joined` to those who come later. Only what an
agent or the server itself says is fetched for; a screen has no business with addresses. One
session has two of the four places in which anything is fetched, so that no other waits for it long.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import msgspec
import structlog
from msgspec.structs import replace

from companion_ws.core.pictures import Picture, header_of, pictures_in
from companion_ws.core.session import make_room_for_picture, put_picture
from companion_ws.database import Conflict
from companion_ws.internet import NotFetched
from companion_ws.sessions import pictures
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.parts import SessionParts

MOST_PICTURES: Final = 20
"""Of a session at a time; records that go take theirs with them."""
MOST_AT_ONCE: Final = 4
MOST_OF_ONE: Final = 2
MOST_PIXELS: Final = 16_000_000
"""What a phone decodes: 64 MB of its memory."""
FETCHED_FOR: Final = frozenset({"agent", "server"})

log = structlog.get_logger(__name__)


class Showing:
    """The pictures of all sessions."""

    def __init__(
        self,
        parts: SessionParts,
        live: Callable[[str], Awaitable[LiveSession | None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._fetch = parts.fetch
        self._database = parts.database
        self._limits = parts.rules.limits
        self._now_ms = parts.clock.earliest_ms
        self._live = live
        self._spawn = spawn
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        # Weak: they are gone once nothing is fetched for that session.
        self._places_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._under_way: dict[str, dict[str, int]] = {}
        """Addresses that are being fetched, with the seq of the newest record that names them."""

    def recorded(self, live: LiveSession, body: bytes) -> None:
        """Begin to fetch what a record names."""
        seq, urls = self._named_in(body)
        if urls:
            self._begin(live, urls, seq)

    def joined(self, live: LiveSession) -> None:
        """See to it that a screen that has joined can ask for what it was told of."""
        if live.session.pictures:
            self._spawn(self._lend_again(live.session_id))
        self._begin_again(live)

    def _begin_again(self, live: LiveSession) -> None:
        """Fetch what was on its way when the server went down: nobody else would."""
        session = live.session
        shown = [body for _, body in session.cards.values()]
        shown.extend(call.body for call in session.open_calls(live.clock.running_ms()))
        for body in shown:
            seq, urls = self._named_in(body)
            under_way = self._under_way.get(live.session_id, {})
            room = max(0, MOST_PICTURES - len(session.pictures) - len(under_way))
            lost = [url for url in urls if url not in session.pictures and url not in under_way]
            if lost[:room]:
                self._begin(live, lost[:room], seq)

    def _named_in(self, body: bytes) -> tuple[int, list[str]]:
        """Return a record's seq, and the addresses of pictures that are fetched for it."""
        if self._fetch is None or b"://" not in body:
            return 0, []
        record = msgspec.json.decode(body)
        is_fetched_for = record["sender"]["role"] in FETCHED_FOR
        return record["seq"], _named_in(record) if is_fetched_for else []

    def exported(self, session_id: str) -> AsyncIterator[tuple[Picture, bytes | None]]:
        """Return what is stored of a session's pictures, with their bytes."""
        return pictures.exported(self._database, session_id)

    def _begin(self, live: LiveSession, urls: list[str], seq: int) -> None:
        session = live.session
        under_way = self._under_way.setdefault(live.session_id, {})
        again = []
        for url in urls:
            known = session.pictures.get(url)
            if known is not None:
                put_picture(session, replace(known, seq=seq))
                again.append(url)
            elif url in under_way:
                under_way[url] = seq
            elif len(session.pictures) + len(under_way) >= MOST_PICTURES:
                problem = f"The session has {MOST_PICTURES} pictures, which is the limit."
                live.tell_message("media", url=url, problem=problem)
            else:
                under_way[url] = seq
                self._spawn(self._show(live.session_id, url))
        if again:
            self._spawn(pictures.name_again(self._database, live.session_id, again, seq))
        if not under_way:
            del self._under_way[live.session_id]

    async def _show(self, session_id: str, url: str) -> None:
        places = self._places_of.setdefault(session_id, asyncio.Semaphore(MOST_OF_ONE))
        under_way = self._under_way[session_id]
        try:
            async with places, self._places:
                picture, body = await self._fetched(url)
        finally:
            seq = under_way.pop(url)
            if not under_way and self._under_way.get(session_id) is under_way:
                del self._under_way[session_id]
        live = await self._live(session_id)
        if live is None or (seq < live.session.first_seq and seq not in live.session.cards):
            return
        picture = replace(picture, seq=seq)
        dropped = make_room_for_picture(live.session, seq, picture.size_bytes, self._limits)
        if dropped is None:
            picture, body = _failed(url, seq, "The session's log has no room for it."), None
        try:
            await pictures.put(
                self._database, session_id, picture, body, self._now_ms(), dropped or ()
            )
        except Conflict:
            return  # The session has ended meanwhile.
        await self._tell(session_id, [picture])

    async def _fetched(self, url: str) -> tuple[Picture, bytes | None]:
        """Return a picture and its bytes, or what stood in the way and None."""
        assert self._fetch is not None
        host = urlsplit(url).hostname
        try:
            body = await self._fetch(url)
            header = header_of(body)
            if header is None:
                raise NotFetched("It is not a PNG, JPEG, WebP or GIF.")
            if header.pixels > MOST_PIXELS:
                raise NotFetched(f"It has more than {MOST_PIXELS // 1_000_000} megapixels.")
        except NotFetched as problem:
            log.info("picture_refused", host=host, reason=str(problem))
            return _failed(url, 0, str(problem)), None
        log.info("picture_fetched", host=host, bytes=len(body))
        found = Picture(
            url=url, seq=0, media_id=secrets.token_urlsafe(16), media_type=header.media_type,
            width=header.width, height=header.height, size_bytes=len(body),
        )  # fmt: skip
        return found, body

    async def _lend_again(self, session_id: str) -> None:
        live = await self._live(session_id)
        if live is None:
            return
        known = dict(live.session.pictures)
        ids = [secrets.token_urlsafe(16) for _ in known]
        lent = await pictures.lend_again(self._database, session_id, known, ids, self._now_ms())
        await self._tell(session_id, lent)

    async def _tell(self, session_id: str, found: list[Picture]) -> None:
        live = await self._live(session_id)
        if live is None or live.session.ended is not None:
            return
        for picture in found:
            put_picture(live.session, picture)
            live.tell_message("media", **picture.shown())


def _named_in(record: dict[str, Any]) -> list[str]:
    """Return the addresses of pictures that a record names for screens."""
    if record["type"] == "contextual_update":
        return pictures_in([record.get("data"), record.get("ui")])
    if record["type"] == "client_tool_call" and record["handled_by"] == "screens":
        return pictures_in(record["client_tool_call"]["parameters"])
    return []


def _failed(url: str, seq: int, problem: str) -> Picture:
    return Picture(url=url, seq=seq, problem=problem)
