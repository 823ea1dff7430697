from __future__ import annotations

from companion_ws.sessions.requests import GENERATIONS, PER_FILTER, Requests


def filled(count: int, durable_seq: int | None = None) -> Requests:
    requests = Requests()
    for seq in range(1, count + 1):
        requests.add(("sender", str(seq)), seq, "user_message", seq if durable_seq is None else durable_seq)
    return requests


def test_the_newest_are_known_with_what_they_made() -> None:
    requests = filled(1000)
    for seq in range(1000, 1000 - Requests.recent, -1):
        assert requests.find(("sender", str(seq))) == (seq, "user_message")
    assert requests.find(("another", "1000")) is None


def test_none_of_the_last_ten_thousand_looks_new() -> None:
    requests = filled(30_000)
    for seq in range(20_001, 30_001):
        key = ("sender", str(seq))
        assert requests.find(key) or requests.may_be_stored(key)


def test_hardly_a_new_one_looks_known() -> None:
    requests = filled(GENERATIONS * PER_FILTER)
    wrong = sum(requests.may_be_stored(("sender", f"new {number}")) for number in range(10_000))
    assert wrong < 200


def test_what_the_disk_may_not_have_yet_stands_by_itself() -> None:
    requests = filled(1000, durable_seq=10)
    for seq in range(11, 1001):
        assert requests.find(("sender", str(seq))) is not None


def test_a_short_session_asks_the_disk_nothing() -> None:
    assert not filled(Requests.recent).may_be_stored(("sender", "1"))
