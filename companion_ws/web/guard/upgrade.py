"""A connection that is taken from aiohttp: what came with the request, before its answer."""

from __future__ import annotations

from typing import Any, cast

from aiohttp import web


def early_bytes(request: web.Request) -> bytes:
    """Return what the peer sent behind an upgrade's head; aiohttp reads no more of it after this.

    Some clients do not wait for the answer to a handshake.
    """
    early = _Early()
    request.protocol.set_parser(cast(Any, early))
    return bytes(early.data)


class _Early:
    """Takes from aiohttp what it has read."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The connection is lost; nothing more is to be taken."""
