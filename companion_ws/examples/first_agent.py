"""An agent that asks a phone which service it wants; README shows it."""

import asyncio
import os

from companion_ws import CompanionClient


async def main() -> None:
    url = os.environ.get("COMPANION_URL", "http://localhost:8000")
    async with CompanionClient(url, token=os.environ["COMPANION_TOKEN"]) as companion:
        pairing = await companion.pair()
        print(f"Scan {pairing.url} or type {pairing.code} at {pairing.code_url}", flush=True)
        await companion.wait_for_screen()
        await companion.contextual_update(
            "quote_ready", {"carrier": "FedEx", "service": "Ground", "cost": 12.99}
        )
        answer = await companion.call_tool(
            "companion_choose",
            title="Which service?",
            options=[
                {"id": "ground", "label": "FedEx Ground"},
                {"id": "air", "label": "UPS Next Day"},
            ],
        )
        print(answer)  # {'status': 'chosen', 'id': 'air', 'label': 'UPS Next Day'}


if __name__ == "__main__":
    asyncio.run(main())
