"""Bodies of requests, read within a size and a time; those of strangers within a bound for all.

Who has proved nothing yet may hold a body of 64 KiB, and in all so many of them. One that is
larger needs a reason to believe who sends it (see `Route.vouch`) and one of few places. Nobody
who comes is refused for want of a place: who has held one longest gives it up, of that source
which holds most. Somebody honest is done in moments.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from companion_ws.access.limits import source_of
from companion_ws.core.errors import BadRequest, BodyTooLarge, Unavailable

BODY_S: Final = 10.0
"""How long a body may take to arrive. Source: docs/operations.md."""
SMALL_BYTES: Final = 64 * 1024
SMALL_PLACES: Final = 256
"""Bodies of strangers at once: 16 MiB."""
LARGE_PLACES: Final = 8
"""Of those the ones above 64 KiB, whatever their route allows: a post-call webhook's 4 MiB."""
MOST_UNPACKED: Final = 20
"""A zipped body of a stranger above 64 KiB may be this many times what was sent; text is ten."""
GIVEN_UP: Final = "Too many requests at once; try again."


class _Place:
    """A body under way; `until` ends the wait for it."""

    def __init__(self, source: str, until: asyncio.Timeout) -> None:
        self.source = source
        self.is_given_up = False
        self._until = until

    def give_up(self) -> None:
        self.is_given_up = True
        self._until.reschedule(asyncio.get_running_loop().time())


class Places:
    """So many bodies at once; the newest always gets in."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: dict[_Place, None] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, place: _Place) -> bool:
        return place in self._taken

    def take(self, place: _Place) -> None:
        if len(self._taken) >= self._limit:
            held = Counter(taken.source for taken in self._taken)
            greediest = max(held, key=held.__getitem__)
            loser = next(taken for taken in self._taken if taken.source == greediest)
            self.leave(loser)
            loser.give_up()
        self._taken[place] = None

    def leave(self, place: _Place) -> None:
        self._taken.pop(place, None)


class Bodies:
    """Reads bodies."""

    def __init__(self) -> None:
        self.small = Places(SMALL_PLACES)
        self.large = Places(LARGE_PLACES)

    async def read(self, request: web.Request, limit_bytes: int, stranger: str | None) -> None:
        """Read the whole body, which handlers then find read. 0 bytes: no limit.

        `stranger` is the address of who has proved nothing, None for all others.

        Raises:
            BodyTooLarge, BadRequest, web.HTTPRequestTimeout
            Unavailable: others came, and this one had held its place longest.
        """
        limit = limit_bytes or float("inf")
        too_large = BodyTooLarge(f"A body has at most {limit_bytes} bytes here.")
        if (request.content_length or 0) > limit:
            raise too_large
        if not request.can_read_body:
            return
        place = None
        try:
            async with asyncio.timeout(BODY_S) as until:
                if stranger is not None:
                    place = _Place(source_of(stranger), until)
                with self._held(place):
                    body = await self._whole(request, limit, place)
        except TimeoutError:
            if place is not None and place.is_given_up:
                raise Unavailable(GIVEN_UP, retry_after_ms=1000) from None
            raise web.HTTPRequestTimeout from None
        except web.RequestPayloadError:
            raise BadRequest("The body is not what its headers say.") from None
        if body is None:
            raise too_large
        # Where `request.read()` looks first. Its own reading keeps twice the limit in buffers.
        request._read_bytes = bytes(body)

    @contextmanager
    def _held(self, place: _Place | None) -> Iterator[None]:
        if place is None:
            yield
            return
        self.small.take(place)
        try:
            yield
        finally:
            self.small.leave(place)
            self.large.leave(place)

    async def _whole(
        self, request: web.Request, limit: float, place: _Place | None
    ) -> bytearray | None:
        """Return the body unpacked, None as soon as it is too large."""
        body = bytearray()
        try:
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > limit:
                    return None
                if place is not None and len(body) > SMALL_BYTES:
                    if place not in self.large:
                        self.large.take(place)
                    if len(body) > MOST_UNPACKED * (request.content.total_compressed_bytes or limit):
                        return None
                    # What is there already is read without a wait: others have their turn here.
                    await asyncio.sleep(0)
        except BaseException:
            # The error's trace holds this frame, for as long as nobody collects garbage.
            body.clear()
            raise
        return body
