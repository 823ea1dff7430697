"""An agent without asyncio: a script that asks a person, waits, and goes on.

COMPANION_URL and COMPANION_TOKEN name a server and a user token.
"""

from __future__ import annotations

import os

from companion_ws import SyncCompanionClient

QUOTES = {"air": ("UPS Next Day", 24.99), "ground": ("FedEx Ground", 12.99)}


def main() -> None:
    url = os.environ.get("COMPANION_URL", "http://localhost:8000")
    with SyncCompanionClient(url, token=os.environ["COMPANION_TOKEN"]) as companion:
        pairing = companion.pair()
        print(f"Scan {pairing.url} or type {pairing.code} at {pairing.code_url}", flush=True)
        companion.wait_for_screen()
        options = [{"id": name, "label": label} for name, (label, _) in QUOTES.items()]
        answer = companion.call_tool("companion_choose", title="Which service?", options=options)
        if answer["status"] != "chosen":
            print(answer["say"])
            return
        service, cost = QUOTES[answer["id"]]
        companion.contextual_update("booked", {"service": service, "cost": cost})
        print(f"Booked {service} for {cost}")


if __name__ == "__main__":
    main()
