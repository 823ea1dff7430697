"""A kiosk: a session per visitor, wiped when they leave.

    COMPANION_TOKEN=$(companion-ws token create --user kiosk) python kiosk.py

Shows a code; the phone that scans it has the kiosk's agent to itself. When the phone
goes, everything of the visit is deleted and the next code is shown.
"""

from __future__ import annotations

import asyncio
import os

from companion_ws import CompanionClient

URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
PATIENCE_S = float(os.environ.get("PATIENCE_S", "20"))
"""A phone that locks its screen is away for a moment; after this long it has left."""


async def visit() -> None:
    async with CompanionClient(URL, token=os.environ["COMPANION_TOKEN"]) as companion:
        try:
            await companion.http("PATCH", f"/sessions/{companion.session_id}", {"title": "Kiosk"})
            while not companion.screens:
                invitation = await companion.pair()
                print(f"Scan {invitation.url} or type {invitation.code}", flush=True)
                try:
                    await companion.wait_for_screen(timeout=50)
                except TimeoutError:
                    continue  # the link is about to die: a fresh one
            await asyncio.gather(greet(companion), until_left(companion))
        finally:
            await companion.http("DELETE", f"/sessions/{companion.session_id}?erase=1")
            print("Wiped", flush=True)


async def greet(companion: CompanionClient) -> None:
    """Yours: start the voice agent here."""
    floors = [{"id": "1", "label": "Paintings"}, {"id": "2", "label": "Sculptures"}]
    answer = await companion.call_tool("companion_choose", title="Where to?", options=floors)
    await companion.contextual_update("directions", {"to": answer.get("label", "the desk")})


async def until_left(companion: CompanionClient) -> None:
    """Return when nobody has looked at this session for a while."""
    while companion.screens:
        await companion.wait_until(lambda client: not client.screens)
        try:
            await companion.wait_for_screen(timeout=PATIENCE_S)
        except TimeoutError:
            return


async def main() -> None:
    while True:
        await visit()


if __name__ == "__main__":
    asyncio.run(main())
