"""A screen without a screen: answers the questions of a session with one choice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from companion_ws.client import CompanionClient
from companion_ws.core.companion_tools import CHOOSE, CONFIRM, FORM, is_card, option_name
from companion_ws.core.errors import ToolClosed

Message = dict[str, Any]


class HeadlessScreen:
    """Answers questions and quotes in which `choice` makes sense; leaves the others alone.

    `choice` is an option's id or label, `yes` or `no` for a confirmation, JSON for a form
    or for any other tool.
    """

    def __init__(
        self, companion: CompanionClient, choice: str, misses: Callable[[str], None]
    ) -> None:
        """`misses` hears of each question in which `choice` makes no sense, in words."""
        self._companion = companion
        self._choice = choice
        self._misses = misses

    async def answers(self) -> AsyncIterator[Message]:
        """Yield the record of each answer, the open questions' first."""
        joined = self._companion.joined
        for record in [*joined["open_calls"], *joined["cards"]]:
            answer = await self._answer(record)
            if answer is not None:
                yield answer
        async for record in self._companion.records():
            answer = await self._answer(record)
            if answer is not None:
                yield answer

    async def _answer(self, record: Message) -> Message | None:
        if record["type"] == "client_tool_call" and record["handled_by"] == "screens":
            call = record["client_tool_call"]
            result = answer_to(call["tool_name"], call["parameters"], self._choice)
            if result is None:
                self._misses(_missed(call["tool_name"], call["parameters"], self._choice))
                return None
            try:
                return await self._companion.answer_tool(call["tool_call_id"], result)
            except ToolClosed:
                return None
        if record["type"] == "contextual_update":
            return await self._take_quote(record.get("data"))
        return None

    async def _take_quote(self, data: Any) -> Message | None:
        """Tap a quote: its state key is set, and the person says so. Source: docs/protocol.md."""
        if not isinstance(data, dict) or not isinstance(data.get("select"), str):
            return None
        for quote in data.get("quotes", []):
            name = f"{quote.get('carrier', '')} {quote.get('service', '')}".strip()
            if self._choice in (quote.get("id"), name):
                await self._companion.set_state(data["select"], quote)
                return await self._companion.user_message(f"I choose {name}.")
        return None


def _missed(tool_name: str, parameters: Message, choice: str) -> str:
    asked = parameters.get("title") or tool_name
    if tool_name == CHOOSE.name:
        names = [id for id, _ in _options(parameters)]
        wanted = f"one of: {', '.join(names)}" if names else "an option, and it has none"
    elif tool_name == CONFIRM.name:
        wanted = "yes or no"
    else:
        wanted = "a JSON object"
    return f"{choice!r} does not answer {asked!r}, which wants {wanted}. Waiting for another question."


def answer_to(tool_name: str, parameters: Message, choice: str) -> Message | None:
    """Return the result `choice` is for a question, None where it makes no sense there.

    >>> options = [{"id": "air", "label": "UPS Next Day"}]
    >>> answer_to("companion_choose", {"options": options}, "UPS Next Day")
    {'status': 'chosen', 'id': 'air', 'label': 'UPS Next Day'}
    >>> answer_to("companion_confirm", {}, "no")
    {'status': 'declined'}
    """
    if is_card(tool_name):
        return {"status": "shown"}
    if tool_name == CHOOSE.name:
        return _chosen(parameters, choice)
    if tool_name == CONFIRM.name:
        decided = _decided(parameters, choice)
        return None if decided is None else {"status": "confirmed" if decided else "declined"}
    try:
        values = json.loads(choice)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    return {"status": "submitted", "values": values} if tool_name == FORM.name else values


def _chosen(parameters: Message, choice: str) -> Message | None:
    for id, label in _options(parameters):
        if choice in (id, label):
            if parameters.get("multiple"):
                return {"status": "chosen", "ids": [id], "labels": [label]}
            return {"status": "chosen", "id": id, "label": label}
    return None


def _options(parameters: Message) -> list[tuple[str, str]]:
    options = parameters.get("options")
    names = map(option_name, options if isinstance(options, list) else ())
    return [name for name in names if name is not None]


def _decided(parameters: Message, choice: str) -> bool | None:
    yes = {"yes", "confirm", "confirmed", "true", str(parameters.get("confirm_label", "")).lower()}
    no = {"no", "cancel", "declined", "false", str(parameters.get("cancel_label", "")).lower()}
    if choice.lower() in yes - {""}:
        return True
    return False if choice.lower() in no - {""} else None
