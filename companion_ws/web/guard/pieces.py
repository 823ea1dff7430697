"""Long answers, sent piece by piece: neither held in memory nor in the way of anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from aiohttp import web

from companion_ws.core.protocol import encode

AT_ONCE_BYTES: Final = 64 * 1024
"""What is handed to the socket at once; encoding that takes a fraction of a millisecond."""
PATIENCE_S: Final = 30.0
"""How long a reader may take over that much."""
ROWS_AT_ONCE: Final = 100

Pieces = AsyncIterator[bytes]


async def send(
    request: web.Request, pieces: Pieces, media_type: str = "application/json"
) -> web.StreamResponse:
    """Answer 200 with what comes in pieces; who stops reading is cut off.

    What fails before the first piece is an ordinary refusal, after it a broken answer.
    """
    response = web.StreamResponse(headers={"Content-Type": media_type})
    if request.method == "HEAD":
        return response
    waiting = [await anext(pieces)]
    size = len(waiting[0])
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    else:
        response.force_close()
    await response.prepare(request)
    async for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= AT_ONCE_BYTES:
            await _write(request, response, b"".join(waiting))
            waiting, size = [], 0
            # A reader that is fast enough makes no write wait: the others have their turn here.
            await asyncio.sleep(0)
    await _write(request, response, b"".join(waiting))
    await response.write_eof()
    return response


async def _write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    for start in range(0, len(data), AT_ONCE_BYTES):
        try:
            async with asyncio.timeout(PATIENCE_S):
                await response.write(data[start : start + AT_ONCE_BYTES])
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("Nobody read the answer.") from None


async def array(entries: AsyncIterator[Any]) -> Pieces:
    """Return the pieces of a JSON array of `entries`; those that are bytes are JSON already."""
    opening = b"["
    async for entry in entries:
        yield opening + (entry if isinstance(entry, bytes) else encode(entry))
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


async def each(rows: Iterable[Any]) -> AsyncIterator[Any]:
    """Return `rows` one by one, and leave the loop to others now and then."""
    for number, row in enumerate(rows, start=1):
        yield row
        if number % ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
