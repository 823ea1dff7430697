"""A kiosk: a session per visitor, wiped when they leave.

    COMPANION_TOKEN=$(companion-ws token create --user kiosk) python kiosk.py

Show http://127.0.0.1:8092 on its display. The phone that scans the code has the agent to itself;
when it goes, everything of the visit is deleted and the next code is shown.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import segno
from aiohttp import web

from companion_ws import CompanionClient

URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
PATIENCE_S = float(os.environ.get("PATIENCE_S", "20"))
"""A phone that locks its screen is away for a moment."""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Kiosk</title>
<style>body { font: 2rem system-ui; display: grid; place-items: center; min-height: 100vh; margin: 0 }
main { text-align: center } svg { display: block; margin: auto }</style><main></main>
<script type="module">for (;; await new Promise((soon) => setTimeout(soon, 500)))
  await fetch("now").then(async (now) => (document.querySelector("main").innerHTML = await now.text()), () => {})
</script>"""
display = {"now": "<p>One moment, please.</p>"}

async def visit() -> None:
    async with CompanionClient(URL, token=os.environ["COMPANION_TOKEN"]) as companion:
        try:
            await companion.http("PATCH", f"/sessions/{companion.session_id}", {"title": "Kiosk"})
            while not companion.screens:
                invitation = await companion.pair()
                drawn = segno.make(invitation.url, micro=False).svg_inline(scale=8, light="#fff")
                code = " ".join(invitation.code[at : at + 3] for at in (0, 3, 6))
                display["now"] = f"{drawn}<p>Scan me, or type {code} at {invitation.code_url}</p>"
                print(f"Scan {invitation.url} or type {invitation.code}", flush=True)
                with suppress(TimeoutError):  # the link is about to die: a fresh one
                    await companion.wait_for_screen(timeout=50)
            display["now"] = "<p>Look at your phone.</p>"
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


async def page(request: web.Request) -> web.Response:
    return web.Response(text=display["now"] if request.path == "/now" else PAGE, content_type="text/html")


async def main() -> None:
    (app := web.Application()).add_routes([web.get("/", page), web.get("/now", page)])
    await (runner := web.AppRunner(app)).setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "8092"))).start()
    while True:
        await visit()


if __name__ == "__main__":
    asyncio.run(main())
