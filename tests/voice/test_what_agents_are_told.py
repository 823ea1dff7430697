"""What a record becomes for an agent, and what waits in which order."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from companion_ws.core.phrases import phrase
from companion_ws.voice import mcp_tools, parameters, wording
from companion_ws.voice.attachment import letter_of, letter_of_passed
from companion_ws.voice.mailbox import Letter, Mailbox
from companion_ws.voice.polling import event_of

SENTENCES = json.loads(
    (Path(__file__).parents[1] / "wire/bridges/sentences.json").read_text(encoding="utf-8")
)
UI = {"role": "ui", "connection_id": "c1"}
AGENT = {"role": "agent", "connection_id": "c2"}


@pytest.mark.parametrize("case", SENTENCES["letters"], ids=lambda case: case["message"]["type"])
def test_a_message_becomes_the_letter_of_the_golden_file(case: dict[str, Any]) -> None:
    message, letter = case["message"], case["letter"]
    told = letter_of(message) if "seq" in message else letter_of_passed(message)
    assert told == (letter and Letter(**letter))


@pytest.mark.parametrize("case", SENTENCES["summaries"], ids=lambda case: case["text"][:40])
def test_an_agent_that_joins_late_is_told_what_the_golden_file_says(case: dict[str, Any]) -> None:
    assert wording.summary_text(case["state"], case["cards"]) == case["text"]


def test_what_an_agent_can_say_without_a_screen_is_in_the_golden_file() -> None:
    late = phrase("en", "late", question="Which service?", answer="Air")
    said = {key: phrase("en", key) for key in ("refused", "unreachable")}
    assert {**said, "late": late} == SENTENCES["words"]


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


@pytest.mark.parametrize("module", [mcp_tools, parameters, wording])
def test_the_examples_in_the_docstrings_hold(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
