"""The fixtures users get: a server, an agent, a phone that taps."""

from __future__ import annotations

import asyncio

from companion_ws.client import CompanionClient
from companion_ws.testing.phone import Phone

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]


async def test_the_phone_chooses_and_the_agent_hears(
    companion: CompanionClient, phone: Phone
) -> None:
    asking = asyncio.create_task(
        companion.call_tool("companion_choose", title="Which?", options=OPTIONS)
    )
    await phone.choose("air")
    assert await asking == {"status": "chosen", "id": "air", "label": "UPS Next Day"}
