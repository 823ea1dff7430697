"""What a client knows of its session."""

from __future__ import annotations

from typing import Any

import pytest

from companion_ws.core.view import MAX_CALLS, News, View


def joined(**changes: Any) -> dict[str, Any]:
    return {
        "type": "session_joined",
        "session_id": "s",
        "epoch": "e",
        "seq": 5,
        "first_seq": 1,
        "recovery": "none",
        "state": {"step": {"value": 1, "revision": 4}},
        "presence": [{"connection_id": "c1", "role": "agent"}],
        **changes,
    }


def updated(seq: int, key: str = "step", value: Any = 2) -> dict[str, Any]:
    return {"type": "state_updated", "seq": seq, "key": key, "value": value, "revision": seq}


def test_a_first_join_starts_at_the_snapshot() -> None:
    view = View()
    assert (view.after, view.seq) == (None, 0)

    view.join(joined())

    assert (view.session_id, view.epoch, view.seq, view.after) == ("s", "e", 5, 5)
    assert view.state["step"]["value"] == 1
    assert list(view.presence) == ["c1"]


def test_a_replay_does_not_change_the_state_that_already_holds_it() -> None:
    view = View(after=2)
    view.join(joined(recovery="replay"))

    assert [view.take(updated(seq, value="old")) for seq in (3, 4, 5)] == [News.NEW] * 3
    assert view.state["step"]["value"] == 1
    assert view.take(updated(6)) is News.NEW
    assert view.state["step"] == {"value": 2, "revision": 6}
    assert view.seq == 6


@pytest.mark.parametrize(("first_seq", "first"), [(3, 3), (1, 1), (None, 1)])
def test_a_replay_of_everything_begins_with_the_oldest_record_kept(
    first_seq: int | None, first: int
) -> None:
    view = View(after=0)
    view.join(joined(recovery="replay", first_seq=first_seq))

    assert view.take(updated(first + 1)) is News.GAP
    assert view.take(updated(first)) is News.NEW


def test_a_snapshot_goes_on_from_its_own_place_even_backwards() -> None:
    view = View(after=90)
    view.join(joined(recovery="snapshot", epoch="other"))

    assert (view.seq, view.epoch) == (5, "other")
    assert view.take(updated(6)) is News.NEW


def test_a_record_counts_once() -> None:
    view = View()
    view.join(joined())

    assert view.take(updated(6)) is News.NEW
    assert view.take(updated(6)) is News.KNOWN
    assert view.take({**updated(7), "duplicate": True}) is News.KNOWN
    assert view.take(updated(8)) is News.GAP
    assert view.seq == 6


def test_a_deleted_key_is_gone() -> None:
    view = View()
    view.join(joined())

    view.take({"type": "state_deleted", "seq": 6, "key": "step", "revision": 6})
    view.take({"type": "state_deleted", "seq": 7, "key": "never there", "revision": 7})
    view.take({"type": "contextual_update", "seq": 8, "text": "x"})

    assert view.state == {}
    assert view.seq == 8


def test_presence_follows_who_comes_and_goes() -> None:
    view = View()
    view.join(joined())
    entry = {"connection_id": "c2", "role": "ui", "device": "Pixel 7", "since": 1}

    view.meet({"type": "presence", "event": "joined", "session_id": "s", "timestamp": 1, **entry})
    assert view.presence["c2"] == entry

    view.meet({"type": "presence", "event": "dropped", **entry})
    view.meet({"type": "presence", "event": "left", "connection_id": "nobody"})
    assert list(view.presence) == ["c1"]


def called(number: int) -> dict[str, Any]:
    call = {"tool_name": "ask", "tool_call_id": f"t{number}", "parameters": {}}
    return {"type": "client_tool_call", "seq": 5 + number, "client_tool_call": call}


def test_calls_are_remembered_the_open_ones_of_the_join_included() -> None:
    view = View()
    view.join(joined(open_calls=[called(0)]))
    view.take(called(1))

    assert list(view.calls) == ["t0", "t1"]
    assert view.calls["t1"] == called(1)


def test_the_oldest_call_is_forgotten_first() -> None:
    view = View()
    view.join(joined())
    for number in range(1, MAX_CALLS + 2):
        view.take(called(number))

    assert list(view.calls) == [f"t{number}" for number in range(2, MAX_CALLS + 2)]


def test_a_copy_does_not_go_on_and_the_first_join_is_kept() -> None:
    view = View()
    view.join(joined(created=True, open_calls=[called(0), {**called(0)["client_tool_call"], "tool_call_id": "t9"}]))
    copied = view.copy()
    view.take(called(1))
    assert (list(copied.calls), list(view.calls)) == (["t0", "t9"], ["t0", "t9", "t1"])
    view = copied.copy()
    view.take(updated(6))
    view.meet({"type": "presence", "event": "joined", "connection_id": "c2", "role": "ui"})
    view.join(joined(created=False, seq=7))

    assert (copied.seq, copied.state["step"]["value"], list(copied.presence)) == (5, 1, ["c1"])
    assert view.first["created"]
    assert not view.joined["created"]
