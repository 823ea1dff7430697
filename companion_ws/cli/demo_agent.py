"""A voice agent without a voice: plays a shipping conversation over a real session."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from companion_ws.client import CompanionClient, Invitation

Message = dict[str, Any]

PACE_S: Final = 1.6
"""A pause between two sentences, about as long as reading one takes."""
LINK_TTL_S: Final = 900
"""The longest a pairing link may live: somebody may have to find their phone first."""
CONFIRM_MS: Final = 30_000
SELECTED: Final = "selected_shipping_option"
QUOTES: Final = "shipping_quotes"
"""The card that `get_shipping_quotes` shows."""
PARCEL: Final[dict[str, Any]] = {
    "from_zip": "94107",
    "to_zip": "10001",
    "weight": 5.0,
    "dimensions": "12x10x8",
}
SHOWN: Final = {"from": "San Francisco, 94107", "to": "New York, 10001", "weight": "5 lb"}


class DemoAgent:
    """Greets, quotes, waits for the person's tap, confirms, makes the label, says goodbye.

    `narrate` gets every line for the terminal, `invite` each link with the code beside it.
    """

    def __init__(
        self,
        companion: CompanionClient,
        narrate: Callable[[str], None],
        invite: Callable[[Invitation, Invitation], None],
        pace_s: float = PACE_S,
    ) -> None:
        self._companion = companion
        self._narrate = narrate
        self._invite = invite
        self._pace_s = pace_s
        self._records: AsyncIterator[Message] = companion.records()

    async def play(self) -> None:
        """Hold the conversation to its end, however long the person takes."""
        await self._begin()
        await self._say("Hello, this is the shipping desk. What do you want to send?")
        await self._hear("A five pound parcel from San Francisco to New York, please.")
        # On the screen before anybody looks: whoever scans sees at once what this is about.
        await self._companion.contextual_update("your_parcel", SHOWN, context_id="parcel")
        await self._say("Scan the code, and I show you what it costs.")
        await self._until_a_screen_is_here()
        await self._say("I see your screen. One moment, I look for offers.")
        self._narrate("… the agent calls get_shipping_quotes")
        since = self._companion.seq  # who taps at once is as right as who waits
        quotes = await self._companion.call_tool("get_shipping_quotes", **PARCEL)
        cheapest = quotes[0]
        await self._say(
            f"I have put {len(quotes)} offers on your screen, from {_price(cheapest)} for"
            f" {_name(cheapest)}. Tap the one you like."
        )
        while True:
            quote = await self._choice(quotes, since)
            await self._say(
                f"{_name(quote)}, {_price(quote)}, there in {_days(quote)}. Shall I make the label?"
            )
            answer = await self._confirm(quote)
            if answer["status"] == "confirmed":
                break
            since = answer["seq"]  # what was tapped before the no is not meant any more
            await self._say("Nothing is booked. Tap another offer whenever you like.")
        self._narrate("… the agent calls create_label")
        label = await self._companion.call_tool(
            "create_label",
            carrier=quote["carrier"],
            service=quote["service"],
            from_zip=PARCEL["from_zip"],
            to_zip=PARCEL["to_zip"],
        )
        # What the choice was for is done.
        await self._companion.contextual_update("label_created", context_id=QUOTES, locked=True)
        await self._say(
            f"Done. The tracking number is on your screen; it ends in"
            f" {label['tracking_number'][-4:]}. Goodbye!"
        )

    # The steps.

    async def _begin(self) -> None:
        event = {"conversation_id": f"demo-{self._companion.session_id[:8]}"}
        await self._companion.send(
            {
                "type": "conversation_initiation_metadata",
                "conversation_initiation_metadata_event": event,
            }
        )

    async def _until_a_screen_is_here(self) -> None:
        while not self._companion.screens:
            # What a terminal prints cannot be redrawn before it dies, so the link lives longer;
            # such a link has no code of its own.
            link, code = await self._companion.pair(LINK_TTL_S), await self._companion.pair()
            self._invite(link, code)
            left_s = code.code_expires_at / 1000 - time.time()
            try:
                await self._companion.wait_for_screen(max(5.0, left_s))
            except TimeoutError:
                self._narrate("The code has expired; here is a new one.")
        self._narrate(f"* {self._companion.screens[0]['device'] or 'A screen'} has joined")

    async def _choice(self, quotes: list[Message], since: int) -> Message:
        """Wait for a tap on a quote, or for words that name one."""
        async for record in self._records:
            if record["seq"] <= since:
                continue
            if record["type"] == "state_updated" and record["key"] == SELECTED:
                self._narrate(f"* The person taps {_name(record['value'])}")
                return dict(record["value"])
            if record["type"] == "user_message":
                quote = _named(record["text"], quotes)
                if quote is not None:
                    self._narrate(f"* The person writes: {record['text']}")
                    await self._companion.set_state(SELECTED, quote)
                    return quote
        raise AssertionError("the records of a session end with an exception")

    async def _confirm(self, quote: Message) -> Message:
        """Return the answer, `status` and the `seq` of its record."""
        self._narrate("… the agent calls companion_confirm")
        record = await self._companion.call(
            "companion_confirm",
            {
                "title": f"Ship with {_name(quote)}?",
                "text": f"A five pound parcel, there in {_days(quote)}.",
                "amount": quote["cost"],
                "currency": quote["currency"],
                "merchant": quote["carrier"],
                "confirm_label": "Make the label",
                "cancel_label": "Not yet",
            },
            timeout_ms=CONFIRM_MS,
        )
        answer: Message = json.loads(record["result"])
        if answer["status"] in ("no_answer", "no_screen"):
            await self._say(answer.get("say") or "Take your time.")
            record = await self._late_answer(record["tool_call_id"])
            result = record["result"]
            answer = json.loads(result) if isinstance(result, str) else result
        self._narrate(f"* The person answers: {answer['status']}")
        return {**answer, "seq": record["seq"]}

    async def _late_answer(self, tool_call_id: str) -> Message:
        async for record in self._records:
            if record["type"] == "user_message" and record.get("in_reply_to") == tool_call_id:
                return record
        raise AssertionError("the records of a session end with an exception")

    async def _say(self, text: str) -> None:
        self._narrate(f"Agent: {text}")
        await self._companion.send(
            {"type": "agent_response", "agent_response_event": {"agent_response": text}}
        )
        await asyncio.sleep(self._pace_s)

    async def _hear(self, text: str) -> None:
        self._narrate(f"You:   {text}")
        await self._companion.send(
            {"type": "user_transcript", "user_transcription_event": {"user_transcript": text}}
        )
        await asyncio.sleep(self._pace_s)


def _name(quote: Message) -> str:
    return f"{quote.get('carrier', '')} {quote.get('service', '')}".strip()


def _price(quote: Message) -> str:
    return f"${quote['cost']:.2f}"


def _days(quote: Message) -> str:
    days = quote["eta_days"]
    return "a day" if days == 1 else f"{days} days"


def _named(text: str, quotes: list[Message]) -> Message | None:
    """Return the quote the text names: by its service first, by its carrier at last."""
    said = text.casefold()
    for name in ("service", "id", "carrier"):
        for quote in quotes:
            if quote[name].casefold() in said:
                return quote
    return None
