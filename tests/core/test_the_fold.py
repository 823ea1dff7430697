"""A session is the fold of its records, however it is folded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from session_without_server import SessionWithoutServer

from companion_ws.core.commands import AnswerCall, EndSession
from companion_ws.core.errors import CompanionError
from companion_ws.core.protocol import encode
from companion_ws.core.session import (
    KEPT_REQUESTS,
    MAX_CARDS,
    MAX_CARDS_BYTES,
    Entry,
    Event,
    Limits,
    Sender,
    Session,
    apply,
    fold_card_again,
    forget_requests,
    remember,
    replay,
    short_key,
    trim,
)

WIRE = Path(__file__).parents[1] / "wire"

keys = st.sampled_from(["a", "b", "ключ", 'quote"'])
ids = st.sampled_from(["t1", "t2", "t3", "t4"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
revisions = st.none() | st.integers(0, 12)
statuses = st.sampled_from(["no_screen", "no_answer", "shown", "error"])
commands = st.one_of(
    st.builds(
        lambda text, context, data, locked, role: (
            {"type": "contextual_update", "text": text, "context_id": context, "locked": locked} | data, role
        ),
        st.text(max_size=5), st.none() | st.sampled_from(["c1", "c2"]),
        st.sampled_from([{}, {"data": {"select": "a"}}, {"data": 1}, {"ui": {}}]),
        st.sampled_from([None, True, False]), st.sampled_from(["agent", "ui"]),
    ),
    st.builds(
        lambda key, value, revision: (
            {"type": "state_update", "key": key, "value": value, "if_revision": revision}, "ui"
        ),
        keys, values, revisions,
    ),
    st.builds(
        lambda key, revision: ({"type": "state_delete", "key": key, "if_revision": revision}, "agent"),
        keys, revisions,
    ),
    st.builds(
        lambda id_, name, waits: (
            {"type": "client_tool_call", "tool_name": name, "tool_call_id": id_, "expects_response": waits},
            "agent",
        ),
        ids, st.sampled_from(["companion_confirm", "ask", "quotes"]), st.booleans(),
    ),
    st.builds(lambda id_: ({"type": "client_tool_result", "tool_call_id": id_, "result": "x"}, "ui"), ids),
    st.builds(lambda id_: ({"type": "client_tool_cancel", "tool_call_id": id_}, "agent"), ids),
    st.builds(
        lambda id_, status: (AnswerCall(tool_call_id=id_, result=json.dumps({"status": status})), "server"),
        ids, statuses,
    ),
    st.builds(
        lambda id_: ({"type": "conversation_initiation_metadata", "conversation_id": id_}, "agent"),
        ids,
    ),
    st.just(({"type": "user_message", "text": "x", "in_reply_to": "t1"}, "ui")),
    st.just(({"type": "screen", "text": "x"}, "ui")),
    st.just((EndSession(reason="expired"), "server")),
)
LIMITS = Limits(state_keys=3, value_bytes=200, state_bytes=400)


@settings(max_examples=200, deadline=None)
@given(st.lists(commands, max_size=30))
def test_replaying_the_records_gives_the_session_that_made_them(said: list[Any]) -> None:
    talk = SessionWithoutServer(LIMITS, server_tools=("quotes",))
    for message, role in said:
        talk.now_ms += 1000
        try:
            talk.say(message, role)
        except CompanionError:
            continue

    replayed = replay(Session("s", "alice"), talk.bodies)
    assert replayed == talk.session

    # As a restarted server does it, which reads no other records for them.
    alone = Session("s", "alice")
    for seq, body in enumerate(talk.bodies, 1):
        if json.loads(body)["type"] == "contextual_update":
            fold_card_again(alone, seq, body)
    for name in ("cards", "cards_bytes", "locked_cards", "locked_keys", "locked_names"):
        assert getattr(alone, name) == getattr(replayed, name)


@settings(max_examples=200, deadline=None)
@given(st.lists(commands, max_size=30))
def test_what_the_session_counts_is_what_it_holds(said: list[Any]) -> None:
    talk = SessionWithoutServer(Limits(records=7, log_bytes=900, state_keys=3), server_tools=("quotes",))
    results: dict[str, int] = {}
    for message, role in said:
        try:
            decision = talk.say(message, role)
        except CompanionError:
            continue
        for event in (decision, *decision.then) if isinstance(decision, Event) else ():
            if event.type == "client_tool_result":
                call_id = event.fields["tool_call_id"]
                results[call_id] = results.get(call_id, 0) + 1

    session = talk.session
    assert session.seq == len(talk.bodies)
    assert session.log_bytes == sum(session.sizes)
    assert len(session.sizes) == session.seq - session.first_seq + 1 <= 7
    assert session.log_bytes <= 900 or len(session.sizes) == 1
    assert session.state_bytes == sum(
        len(encode(key)) + len(entry.value) for key, entry in session.state.items()
    )
    assert session.cards_bytes == sum(len(body) for _, body in session.cards.values())
    assert all(count == 1 for count in results.values()), "exactly one result a call"
    assert session.unclosed == {
        call_id: call for call_id, call in session.calls.items() if call.status != "closed"
    }
    for call in session.unclosed.values():
        assert session.question_of(call).status != "closed", "whoever asks has an open question"
        assert session.askers(session.question_of(call)), "an open question has somebody who asks"


def test_the_log_keeps_its_newest_records() -> None:
    talk = SessionWithoutServer(Limits(records=3))
    assert talk.session.oldest is None
    for _ in range(3):
        talk.say({"type": "user_message", "text": "x"})
    assert talk.session.oldest == 1
    talk.say({"type": "user_message", "text": "x"})
    assert talk.session.oldest == 2

    narrow = SessionWithoutServer(Limits(log_bytes=10))
    narrow.say({"type": "user_message", "text": "x"})
    assert narrow.session.oldest == 1, "the newest stays even where it is too large alone"


# Cards.


def test_a_card_of_the_same_context_replaces_the_one_before() -> None:
    talk = SessionWithoutServer()
    for number in range(3):
        talk.say({"type": "contextual_update", "text": str(number), "context_id": "c"})
        assert list(talk.session.cards) == [number + 1]
    talk.say({"type": "contextual_update", "text": "other"})
    talk.say({"type": "contextual_update", "text": "other"})

    assert list(talk.session.cards) == [3, 4, 5]


def test_twenty_cards_are_kept_and_the_twenty_first_drops_the_oldest() -> None:
    talk = SessionWithoutServer()
    for _ in range(MAX_CARDS):
        talk.say({"type": "contextual_update", "text": "x"})
    assert len(talk.session.cards) == 20

    talk.say({"type": "contextual_update", "text": "x"})
    assert list(talk.session.cards) == list(range(2, 22))


def test_cards_are_kept_up_to_128_kib_and_not_a_byte_more() -> None:
    session = Session("s", "alice")
    half = MAX_CARDS_BYTES // 2
    event = Event("contextual_update", {"text": "x"})

    apply(session, event, b"x" * half, 0)
    apply(session, event, b"x" * half, 0)
    assert session.cards_bytes == MAX_CARDS_BYTES
    apply(session, event, b"x", 0)
    assert list(session.cards) == [2, 3]
    apply(session, event, b"x" * (MAX_CARDS_BYTES + 1), 0)
    assert (session.cards, session.cards_bytes) == ({}, 0)


def test_records_of_a_later_version_are_kept_and_change_nothing() -> None:
    session = replay(Session("s", "alice"), [b'{"type":"from_the_future","timestamp":1,"seq":1}'])

    assert session.seq == 1
    assert session == replay(Session("s", "alice"), [b'{"type":"other_type_here","timestamp":1,"seq":1}'])


# The golden files that JavaScript reads too.


def seeded(joined: dict[str, Any]) -> Session:
    """Return the session as the server had it when it said `session_joined`."""
    session = Session(joined["session_id"], joined["user"])
    if joined["recovery"] == "replay":
        return session
    talked = replay(session, [encode(record) for record in joined["open_calls"]])
    talked.cards = {card["seq"]: (card.get("context_id"), encode(card)) for card in joined["cards"]}
    talked.locked_cards = {card["seq"] for card in joined["cards"] if card.get("locked")}
    talked.cards_bytes = sum(len(body) for _, body in talked.cards.values())
    talked.state = {
        key: Entry(encode(entry["value"]), entry["revision"])
        for key, entry in joined["state"].items()
    }
    talked.seq = joined["seq"]
    return talked


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.json")), ids=lambda path: path.stem)
def test_the_golden_files_fold_to_what_they_say(path: Path) -> None:
    golden = json.loads(path.read_text())
    session = seeded(golden["joined"])
    last_ms = golden["joined"]["timestamp"]
    for message in golden["messages"]:
        last_ms = max(last_ms, message["timestamp"])
        if message.get("seq") == session.seq + 1:
            replay(session, [encode(message)])

    expected = golden["expect"]
    assert {
        key: {"value": json.loads(entry.value), "revision": entry.revision}
        for key, entry in session.state.items()
    } == expected["state"]
    assert session.seq == expected["seq"]
    assert sorted(session.cards) == expected["cards"]
    assert sorted(session.locked_cards) == expected.get("locked", [])
    assert [call.tool_call_id for call in session.open_calls(last_ms)] == expected["open_calls"]
    for key in ("ended", "conversation_id"):
        if key in expected:
            assert getattr(session, key) == expected[key]


# What requestIds cost.


def test_request_ids_of_records_that_are_gone_count_with_the_log() -> None:
    talk = SessionWithoutServer(Limits(log_bytes=4000))
    session = talk.session
    for number in range(200):
        talk.say({"type": "user_message", "text": "x"})
        remember(session, "sender", f"request-{number}", session.seq)
        trim(session, talk.limits)

        assert session.log_bytes + session.requests_bytes <= 4000
        assert session.requests_bytes <= 2000
        assert session.requests_bytes == sum(session.request_sizes)
    assert len(session.sizes) > 1
    oldest = forget_requests(session)
    assert oldest == session.requests[0] < session.first_seq


def test_ten_thousand_of_the_longest_request_ids_are_remembered_beside_a_full_log() -> None:
    talk = SessionWithoutServer(Limits(records=10, log_bytes=8 * 1024 * 1024))
    session, sender = talk.session, Sender("agent", "\U0001f600" * 200, None, "d" * 32)
    for number in range(KEPT_REQUESTS * 2):
        session.seq += 1
        session.sizes.append(100)
        session.named.append(0)
        session.log_bytes += 100
        if number % 2:  # Records without a requestId count for none.
            longest = "\U0001f600" * 123 + f"{number:05}"
            remember(session, sender.key, short_key(longest), session.seq)
        trim(session, talk.limits)
    oldest = forget_requests(session)
    assert oldest <= session.seq - 2 * (KEPT_REQUESTS - 10)
    assert session.requests_bytes <= talk.limits.log_bytes // 2


def test_no_more_request_ids_than_that_are_remembered() -> None:
    talk = SessionWithoutServer(Limits(records=1))
    for number in range(KEPT_REQUESTS + 50):
        talk.session.seq += 1
        talk.session.sizes.append(1)
        talk.session.named.append(0)
        talk.session.log_bytes += 1
        remember(talk.session, "s", str(number), talk.session.seq)
        trim(talk.session, talk.limits)
    forget_requests(talk.session)
    assert len(talk.session.requests) == KEPT_REQUESTS


def test_request_ids_leave_the_newest_record_alone() -> None:
    talk = SessionWithoutServer(Limits(log_bytes=200))
    for number in range(5):
        talk.say({"type": "user_message", "text": "x" * 300})
        remember(talk.session, "sender", "r" * 100 + str(number), talk.session.seq)
        trim(talk.session, talk.limits)
    assert talk.session.oldest == 5
