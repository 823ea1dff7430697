"""A socket made of server-sent events and requests, for networks that let no WebSocket through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp

from companion_ws.core.commands import COMMANDS
from companion_ws.core.errors import ERRORS

SILENCE_S: Final = 20.0
"""A server says every ten seconds that it lives."""
_STREAMED: Final = ("after", "epoch", "role", "device", "tools")
_UNORDERED: Final = frozenset(name for name, kind in COMMANDS.items() if kind.by_entrance)
"""What has no place in the order of what is said."""


class EventSocket:
    """Has what of a WebSocket the link uses.

    What it is told arrives as events of `GET /sessions/{id}/records`; what it is given goes, one
    at a time and in order, to `POST /sessions/{id}/messages`.
    """

    def __init__(
        self, http: aiohttp.ClientSession, url: str, token: str, joining: Mapping[str, str]
    ) -> None:
        self.close_code: int | None = None
        self._http = http
        self._url = f"{url}/sessions/{joining['session_id']}"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._joining = joining
        self._heard: asyncio.Queue[str | None] = asyncio.Queue()
        self._refusal: dict[str, Any] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> int | None:
        """Begin to listen; return the close code where the server refuses, else None."""
        stream = await self._http.get(
            f"{self._url}/records",
            params={name: self._joining[name] for name in _STREAMED if name in self._joining},
            headers={**self._headers, "Accept": "text/event-stream"},
            timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S),
        )
        if stream.status != 200:
            self.close_code = _close_code(await _problem(stream), stream.status)
            return self.close_code
        self._reading = asyncio.create_task(self._read(stream), name="companion-stream")
        return None

    async def texts(self) -> AsyncIterator[str]:
        """Yield messages until the stream ends."""
        while (text := await self._heard.get()) is not None:
            yield text

    async def send_str(self, text: str) -> None:
        """Post one; after a refusal that passes the next are refused here, as `ordered` sockets do."""
        command = json.loads(text)
        named = {"requestId": command.get("requestId")}
        if command["type"] == "ping" and command.get("resume"):
            self._refusal = None
        if self._refusal is not None and command["type"] not in _UNORDERED:
            self._heard.put_nowait(json.dumps({**self._refusal, **named}))
            return
        role = {"role": self._joining["role"]} if "role" in self._joining else {}
        async with self._http.post(
            f"{self._url}/messages", params=role, data=text.encode(),
            headers={**self._headers, "Content-Type": "application/json"},
        ) as response:  # fmt: skip
            answer = await _problem(response)
            if response.status < 400:
                # A record comes by the stream, in its place among the others.
                if "seq" not in answer or answer.get("duplicate"):
                    self._heard.put_nowait(json.dumps(answer))
                return
            if "code" not in answer or response.status == 401:
                self.close_code = _close_code(answer, response.status)
                self._heard.put_nowait(None)
                return
            error = {**answer, "type": "error", "message": answer.get("detail") or "", **named}
            if answer["code"] == "unavailable" or "retry_after_ms" in answer:
                self._refusal = error
            self._heard.put_nowait(json.dumps(error))

    async def close(self) -> None:
        """Listen no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, stream: aiohttp.ClientResponse) -> None:
        data: list[str] = []
        try:
            async with stream:
                async for raw in _lines(stream):
                    if raw.startswith("data:"):
                        data.append(raw[5:].removeprefix(" "))
                    elif not raw and data:
                        self._heard.put_nowait("\n".join(data))
                        data = []
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass  # Told below: the line is gone, whatever cut it.
        finally:
            self._heard.put_nowait(None)


async def _lines(stream: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Yield lines of any length; aiohttp's own stop at 128 KiB, and a join may be longer."""
    rest = b""
    async for chunk in stream.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r").decode()


async def _problem(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        answer = json.loads(await response.read())
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _close_code(problem: Mapping[str, Any], status: int) -> int | None:
    error = ERRORS.get(str(problem.get("code")))
    if error is not None and error.close_code is not None:
        return error.close_code
    return {403: 4503, 404: 4504}.get(status)
