"""The one-line gists, against the lines that JavaScript is held to as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from companion_ws.core.commands import RECORDS
from companion_ws.core.gists import CLOSES, GISTS, close_in_words, gist_of, plain_text, tone_of
from companion_ws.core.trouble import SLOW_MS, TROUBLES

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "wire/gists/list.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("line", GOLDEN["lines"], ids=lambda line: line["message"]["type"])
def test_a_record_reads_as_the_golden_line_says(line: dict[str, Any]) -> None:
    assert (gist_of(line["message"]), tone_of(line["message"])) == (line["gist"], line["tone"])


def test_the_golden_file_has_a_line_of_every_gist_and_every_record() -> None:
    types = {line["message"]["type"] for line in GOLDEN["lines"]}
    assert types >= GISTS
    assert set(RECORDS) <= GISTS
    assert GOLDEN["closes"] == {str(code): words for code, words in CLOSES.items()}
    assert (GOLDEN["slow_ms"], GOLDEN["troubles"]) == (SLOW_MS, [*TROUBLES])


@pytest.mark.parametrize("kind", sorted(GISTS))
@pytest.mark.parametrize("value", [None, 7, True, "text", [1], {"a": {"b": None}}])
def test_no_record_is_too_strange_for_a_line(kind: str, value: Any) -> None:
    names = ("text", "data", "client_tool_call", "result", "agent_tool_response", "device", "event",
             "user_transcription_event", "agent_response_correction_event", "code", "key")  # fmt: skip
    message = {"type": kind, **dict.fromkeys(names, value)}

    assert "\n" not in gist_of(message)
    assert tone_of(message) in ("bad", "warn", "good", "")


def test_what_is_long_is_not_spelled_to_its_end() -> None:
    assert len(plain_text(["x" * 1000] * 1000)) < 10_000
    assert plain_text(object()) == ""
    assert close_in_words("1006") == "closed 1006"
