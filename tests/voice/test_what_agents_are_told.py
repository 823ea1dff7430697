"""What a record becomes for an agent, and what waits in which order."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from companion_ws.voice import mcp, parameters, wording
from companion_ws.voice.elevenlabs.bridge import letter_of, letter_of_passed
from companion_ws.voice.elevenlabs.telephony import event_of
from companion_ws.voice.mailbox import Letter, Mailbox

UI = {"role": "ui", "connection_id": "c1"}
AGENT = {"role": "agent", "connection_id": "c2"}


@pytest.mark.parametrize(
    ("record", "letter"),
    [
        ({"type": "user_message", "text": "hi", "sender": UI}, Letter("turn", "hi")),
        ({"type": "user_message", "text": "hi", "sender": AGENT}, Letter("turn", "hi")),
        (
            {"type": "ui_action", "name": "more", "context": {"id": 1}, "sender": UI},
            Letter("turn", 'I tapped “more” on my screen: {"id":1}'),
        ),
        (
            {"type": "state_updated", "key": "step", "value": 2, "sender": UI},
            Letter("update", "Set on the user’s screen: step = 2", "state:step"),
        ),
        (
            {"type": "state_deleted", "key": "step", "sender": UI},
            Letter("update", "Cleared on the user’s screen: step", "state:step"),
        ),
        ({"type": "state_updated", "key": "step", "value": 2, "sender": AGENT}, None),
        ({"type": "contextual_update", "text": "x", "sender": AGENT}, None),
        ({"type": "client_tool_result", "sender": UI}, None),
    ],
)
def test_a_record_becomes_a_letter(record: dict[str, Any], letter: Letter | None) -> None:
    assert letter_of(record) == letter


def test_what_a_screen_shows_is_told_per_screen() -> None:
    shown = {"type": "screen", "text": "rates", "sender": UI}
    assert letter_of_passed(shown) == Letter(
        "update", "The user’s screen shows: rates", "screen:c1"
    )
    assert letter_of_passed({"type": "rendered", "sender": UI}) is None


def test_an_agent_that_asks_is_told_what_a_letter_would_say_and_nothing_of_its_own() -> None:
    late = {"type": "user_message", "text": "Air", "in_reply_to": "t", "result": "{}", "seq": 9}
    assert event_of({**late, "sender": UI, "timestamp": 5}) == {
        "type": "user_message", "text": "Air", "in_reply_to": "t", "result": "{}", "timestamp": 5,
    }  # fmt: skip
    assert event_of({"type": "state_updated", "sender": AGENT, "timestamp": 5}) is None
    assert event_of({"type": "client_tool_result", "sender": UI, "timestamp": 5}) is None


def test_of_updates_with_one_context_the_newest_waits_and_order_stays_true() -> None:
    mailbox = Mailbox([Letter("turn", "first")])
    mailbox.put(Letter("update", "a", "x"))
    mailbox.put(Letter("update", "plain"))
    mailbox.put(Letter("update", "plain"))
    mailbox.put(Letter("turn", "second"))
    mailbox.put(Letter("update", "b", "x"))
    mailbox.put(Letter("activity"))
    mailbox.put(Letter("activity"))
    texts = [letter.text or letter.kind for letter in mailbox]
    assert texts == ["first", "plain", "plain", "second", "b", "activity"]


def test_a_letter_that_was_replaced_while_it_went_out_leaves_the_newer_one() -> None:
    mailbox = Mailbox([old := Letter("update", "a", "x")])
    mailbox.put(Letter("update", "b", "x"))
    mailbox.delivered(old)
    assert [letter.text for letter in mailbox] == ["b"]


def test_values_too_long_for_a_model_are_cut() -> None:
    text = wording.update_text({"text": "log", "data": "x" * 10_000})
    assert len(text) < 2_100
    assert text.endswith("…")


@pytest.mark.parametrize("module", [mcp, parameters, wording])
def test_the_examples_in_the_docstrings_hold(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
