"""One connection at a time: made, kept, and made again for as long as the server lets us."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp

from companion_ws.client.incoming import Incoming
from companion_ws.client.outgoing import CompanionClosed, Outgoing
from companion_ws.client.stream import EventSocket
from companion_ws.core.reconnect import delay_s, may_return

Token = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that fetches one."""

HEARTBEAT_S: Final = 10.0
"""A silent server is noticed within one and a half of these."""
LEAVE_S: Final = 2.0
"""How long leaving waits for a server that does not say goodbye."""
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""A join may bring a whole session's state and cards."""
STEADY_S: Final = 5.0
"""A connection that lasted this long, or brought a record, makes the next wait short again."""

_LOST: Final = 1006
_BLOCKED: Final = frozenset({200, 400, 426})
"""So answers this server, asked without `Upgrade`, and so do proxies that know no sockets."""
_REASONS: Final = {
    1009: "a message was too large",
    4401: "the token has expired",
    4500: "a parameter is malformed",
    4501: "not authenticated, or the token was revoked",
    4503: "this token may not do that here",
    4504: "there is no such session",
    4510: "the session ended or expired",
}

log = logging.getLogger(__name__)


class Link:
    """Carries `outgoing` to the server and what it says to `incoming`.

    `joining` are the parameters of the first join (`session_id`, `role`, …).
    """

    def __init__(
        self,
        url: str,
        token: Token,
        joining: Mapping[str, Any],
        http: aiohttp.ClientSession,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> None:
        self.token = token if isinstance(token, str) else ""
        """The newest token there is."""
        self.trouble = "nobody answered"
        """Why there was no connection, the last time there was none."""
        self.has_met_anybody = False
        """Whether anything has ever answered at this address."""
        self._url = url
        self._token_source = token
        self._joining = joining
        self._http = http
        self._incoming = incoming
        self._outgoing = outgoing

    async def stay(self) -> CompanionClosed:
        """Connect and come back until that is no use any more; return why."""
        clock, attempt = asyncio.get_running_loop().time, 0
        lost_at_s = -math.inf  # when a connection that worked was lost
        while True:
            started_s, taken = clock(), self._incoming.taken
            code, reason = await self._connect_once()
            if self._is_final(code):
                return CompanionClosed(code, reason)
            self.trouble = reason or f"the connection ended ({code})"
            # The first time it may be the address; afterwards it is the network's daily life.
            log.log(logging.INFO if self.has_met_anybody else logging.WARNING,
                    "No connection: %s", self.trouble)  # fmt: skip
            was_good = self._incoming.taken > taken or clock() - started_s > STEADY_S
            attempt = 0 if was_good else attempt + 1
            lost_at_s = clock() if was_good else lost_at_s
            pause_s = delay_s(attempt, random.random(), clock() - lost_at_s)  # noqa: S311 - jitter, no secret
            await asyncio.sleep(pause_s)

    async def fetch_token(self) -> bool:
        """Ask the function for a token; False where there is only the one that was given."""
        if isinstance(self._token_source, str):
            return False
        fetched = self._token_source()
        token = fetched if isinstance(fetched, str) else await fetched
        if not isinstance(token, str):
            raise TypeError(f"a token is text, not {type(token).__name__}")
        self.token = token
        return True

    def _is_final(self, code: int | None) -> bool:
        if code == 1009:
            self._outgoing.give_up_largest()
        if code == 4401:
            # The server's own word; until then a token, renewed or not, is good.
            self.token = self._token_source if isinstance(self._token_source, str) else ""
            return isinstance(self._token_source, str)
        if code is not None and code < 1000:  # the status of a refused handshake
            return 400 <= code < 500 and code not in (408, 425, 429)
        return not may_return(code)

    async def _connect_once(self) -> tuple[int | None, str]:
        """Connect, stay, and return the close code (or HTTP status) and reason."""
        if not self.token:
            try:
                await self.fetch_token()
            except Exception as error:  # whatever a function of somebody's raises
                return None, f"no token could be fetched ({error!r})"
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                ws = await self._http.ws_connect(
                    f"{self._url}/ws",
                    params=self._parameters(),
                    headers={"Authorization": f"Bearer {self.token}"},
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=LEAVE_S),
                )
        except aiohttp.WSServerHandshakeError as error:
            self.has_met_anybody = True
            if error.status in _BLOCKED and self._parameters().get("session_id"):
                return await self._connect_by_stream()
            return error.status, _no_socket(error.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return None, f"{self._url} cannot be reached ({error or type(error).__name__})"
        self.has_met_anybody = True
        try:
            return await self._talk(ws)
        finally:
            with suppress(aiohttp.ClientError, OSError):
                await ws.close()

    async def _connect_by_stream(self) -> tuple[int | None, str]:
        """Go on without a WebSocket: a proxy may strip `Upgrade`."""
        ws = EventSocket(self._http, self._url, self.token, self._parameters())
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                refused = await ws.open()
            if refused is not None:
                return refused, _REASONS.get(refused, "")
            return await self._talk(ws)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return None, f"{self._url} cannot be reached ({error or type(error).__name__})"
        finally:
            await ws.close()

    def _parameters(self) -> dict[str, str]:
        view = self._incoming.view
        wanted = {**self._joining, "after": view.after, "epoch": view.epoch}
        if view.session_id is not None:
            # Coming back must not land in another session without a word.
            wanted |= {"session_id": view.session_id, "strict": 1}
        return {name: str(value) for name, value in wanted.items() if value is not None}

    async def _talk(
        self, ws: aiohttp.ClientWebSocketResponse | EventSocket
    ) -> tuple[int | None, str]:
        writer: asyncio.Task[None] | None = None
        try:
            async for text in _texts(ws):
                message = json.loads(text)
                if not self._incoming.hear(message):
                    return _LOST, "a record is missing"
                self._hear(message)
                if message["type"] == "session_joined":
                    self._outgoing.begin(message)
                    writer = asyncio.create_task(self._write(ws), name="companion-writer")
        except (ValueError, KeyError, TypeError) as error:
            log.warning("The server sent something that is not a message: %r", error)
            return _LOST, "the server sent something that is not a message"
        finally:
            self._incoming.lose()
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        return ws.close_code, _REASONS.get(ws.close_code or 0, "")

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "token_expiring":
            self._outgoing.renew_token()
        elif message["type"] == "token_renewed":
            self.token = message["token"]
        self._outgoing.hear(message)

    async def _write(self, ws: aiohttp.ClientWebSocketResponse | EventSocket) -> None:
        while True:
            command = await self._outgoing.next()
            try:
                await ws.send_str(command.text)
            except (aiohttp.ClientError, OSError):
                return  # The reading side sees the end, too, and tells why.
            self._outgoing.wrote(command)


async def _texts(ws: aiohttp.ClientWebSocketResponse | EventSocket) -> AsyncIterator[str]:
    if isinstance(ws, EventSocket):
        async for text in ws.texts():
            yield text
        return
    async for frame in ws:
        if frame.type is aiohttp.WSMsgType.TEXT:
            yield frame.data


def _no_socket(status: int) -> str:
    told = f"the handshake was answered with HTTP {status}"
    hint = ": is there a proxy that strips `Upgrade`? With a session_id it could be gone around"
    return told + (hint if status in _BLOCKED else "")
