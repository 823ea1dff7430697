"""What every adapter's agent asks, and what a model may write instead."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

from companion_ws.client import CompanionClient
from companion_ws.testing.phone import Phone
from tests.voice.killable import KillableServer

CHOICE = {
    "title": "Which?",
    "options": [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}],
}
CHOSEN = {"status": "chosen", "id": "air", "label": "UPS Next Day"}
LATE = "About “Which?”: UPS Next Day."
ODD: list[Any] = [
    {},
    {"title": None, "options": None},
    {"title": "Which?", "options": "air"},
    {"title": 7, "options": {}},
    {"title": "Which?", "options": [None, None]},
    {"options": [{"id": None, "label": None}]},
]
"""Arguments of `companion_choose` that leave a person nothing to tap."""


def asks_once(role: str, text: str) -> str | tuple[str, Any]:
    """Ask when told to go, say what a result has to say, else repeat what was heard."""
    if text == "go":
        return "companion_choose", CHOICE
    result = json.loads(text) if role == "tool" else {}
    return str(result.get("say") or f"Heard: {text}")


def code_in(text: str) -> str:
    """Return the pairing code that an agent said."""
    [code] = re.findall(r"\b\d{3}[ -]?\d{3}[ -]?\d{3}\b", text)
    return code


async def kill_and_tap(server: KillableServer, code: str) -> Phone:
    """Kill the server and start it, join a phone by the code the agent said, and tap.

    Returns the phone, entered.
    """
    await server.kill()
    await server.start()
    phone = await Phone.pair(server.url, code, timeout_s=20)
    await phone.__aenter__()
    await phone.choose("air")
    return phone


async def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.01)


async def recorded(companion: CompanionClient, kind: str, count: int = 1) -> dict[str, Any]:
    """Return the first record of this type, or the `count`th."""
    async with asyncio.timeout(20):
        async for record in companion.records():
            count -= record["type"] == kind
            if count == 0:
                return record
    raise AssertionError
