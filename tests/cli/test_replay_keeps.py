"""What a replay says again of a record."""

from __future__ import annotations

from companion_ws.cli.replay import _command


def test_a_card_is_played_again_with_all_that_was_said_of_it() -> None:
    card = {
        "type": "contextual_update",
        "text": "quote_ready",
        "data": {"cost": 12.99},
        "labels": {"cost": "Price"},
        "context_id": "quote",
        "locked": True,
    }
    record = {**card, "seq": 3, "requestId": "r-1", "sender": {"role": "agent"}, "timestamp": 5}

    assert _command(record) == card


def test_what_the_server_makes_of_it_again_is_not_said_twice() -> None:
    assert _command({"type": "session_ended", "reason": "ended by owner"}) is None
    assert _command({"type": "conversation_initiation_metadata"}) is None
