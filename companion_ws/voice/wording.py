"""What an agent is told in words: records and screen messages as sentences a model can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from companion_ws.core.phrases import phrase

MAX_VALUE_CHARS: Final = 2_000
"""A value longer than this would crowd out the conversation in the model's context."""


def update_text(record: Mapping[str, Any]) -> str:
    """Return a contextual update as text: ElevenLabs reads nothing but `text`.

    >>> update_text({"text": "quote_ready", "data": {"cost": 12.5}})
    'quote_ready: {"cost":12.5}'
    """
    data = record.get("data")
    return record["text"] if data is None else f"{record['text']}: {compact(data)}"


def tap_text(record: Mapping[str, Any]) -> str:
    """Return what the user did with a button of a card, as the user would say it.

    >>> tap_text({"name": "show_details", "context": {"id": "air"}})
    'I tapped “show_details” on my screen: {"id":"air"}'
    """
    context = record.get("context")
    tapped = f"I tapped “{record['name']}” on my screen"
    return tapped if context is None else f"{tapped}: {compact(context)}"


def screen_text(text: str) -> str:
    """Return what a screen shows, as the agent is told it.

    >>> screen_text("three rates, UPS chosen")
    'The user’s screen shows: three rates, UPS chosen'
    """
    return f"The user’s screen shows: {text}"


def state_text(key: str, value: Any) -> str:
    """Return a state change made on a screen.

    >>> state_text("quantity", 2)
    'Set on the user’s screen: quantity = 2'
    """
    return f"Set on the user’s screen: {key} = {compact(value)}"


def state_gone_text(key: str) -> str:
    """Return that a screen removed a key."""
    return f"Cleared on the user’s screen: {key}"


def summary_text(state: Mapping[str, Any], cards: list[Mapping[str, Any]]) -> str:
    """Return what an agent that joins late should know; empty where there is nothing.

    `state` maps keys to values; `cards` are contextual updates, oldest first.

    >>> summary_text({"step": 2}, [{"text": "quote_ready"}])
    'So far in this session: step = 2; shown on the screen: quote_ready'
    """
    parts = [f"{key} = {compact(value)}" for key, value in state.items()]
    parts += [f"shown on the screen: {update_text(card)}" for card in cards[-3:]]
    text = "; ".join(parts)
    return _short(f"So far in this session: {text}") if text else ""


def refused_result(language: str | None, reason: str) -> str:
    """Return what a call that was not made comes to: the model can say it, and do better.

    >>> refused_result(None, "`options` is a list.")[:21]
    '{"status": "refused",'
    """
    say = phrase(language, "refused")
    return json.dumps({"status": "refused", "say": say, "reason": reason}, ensure_ascii=False)


def tool_reply(
    result: str, is_error: bool, events: list[dict[str, Any]], screens: list[str]
) -> dict[str, Any]:
    """Return the answer to a webhook tool: the result, what screens did meanwhile, what they show.

    `result` is there as the text it is; if it is an object, its fields stand beside it,
    so that an `assignments` path of the tool can reach them.
    """
    try:
        value = json.loads(result)
    except ValueError:
        value = None
    reply: dict[str, Any] = dict(value) if isinstance(value, dict) else {}
    reply["result"] = result
    if is_error:
        reply["is_error"] = True
    reply["companion"] = {"events": events, "screens": screens}
    return reply


def compact(value: Any) -> str:
    """Return short JSON text of a value, cut where it would crowd out everything else."""
    return _short(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _short(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def cut(value: Any, limit_bytes: int) -> Any:
    """Return what was said with its longest texts cut, so that its JSON has `limit_bytes` at most.

    >>> cut({"user_transcript": "aaaaaaaaaaaaaaaa"}, 34)
    {'user_transcript': 'aaaaaaaa…'}
    """
    while (over := len(json.dumps(value, ensure_ascii=False).encode()) - limit_bytes) > 0:
        longest = max((v for v in _texts(value)), key=len, default="")
        kept = max(len(longest) - over - len("…".encode()), len(longest) // 2)
        if len(longest) < 8:
            return {}
        value = _with_text(value, longest, longest[:kept] + "…")
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in _texts(each)]


def _with_text(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_text(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_text(each, old, new) for each in value]
    return new if value == old else value
