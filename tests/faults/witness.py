"""The verdict over a history: what clients sent and heard, against what is stored in the end.

Nothing of the product is used here. The log gives one order to everything that was done, so the
checks are exact and cheap where a checker of other systems has to search:

- What anybody was told is stored, word by word, and nothing is stored that nobody sent.
- The log's order agrees with time: what was sent after somebody had heard of record N stands
  after N. With that each answer has a window of seqs in which it must be true: from the newest
  record anybody had heard of when the question left, to the newest that had been sent when the
  answer came. Compare-and-swap, refusals and reads of the state are linearizable exactly if
  each has such a moment, and each swap stands right after the revision it names.
- A call has one record, one result, and at most one thing that closes its question.

Times are seconds of one clock, that of the process in which all clients run.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

Message = dict[str, Any]
Key = tuple[str, str]
"""A requestId belongs to its sender: role and id."""
State = dict[str, tuple[Any, int]]
"""Value and revision of each key."""

INDEFINITE: Final = frozenset({"unavailable", "request_timeout", "overloaded"})
"""Errors that leave open whether it was done, or ask for another try; so does silence."""
RELEASED: Final = frozenset({"no_screen", "no_answer"})
"""Results after which the question is still open."""


@dataclass(slots=True)
class Attempt:
    """A command sent once; `answer` is a record, a repeat or an error, None for silence."""

    sent_s: float
    door: str
    heard_s: float | None = None
    answer: Message | None = None

    def hear(self, at_s: float, answer: Message) -> None:
        self.heard_s, self.answer = at_s, answer

    @property
    def is_error(self) -> bool:
        return self.answer is not None and self.answer["type"] == "error"

    @property
    def is_final(self) -> bool:
        """Whether it is known what became of it."""
        return self.answer is not None and self.answer.get("code") not in INDEFINITE


@dataclass(slots=True)
class Sent:
    """A command with all its attempts under one requestId."""

    sender: str
    request_id: str
    message: Message
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        return any(attempt.is_final for attempt in self.attempts)


@dataclass(slots=True)
class Visit:
    """One connection of a reader; `told` are the texts of the records in the order they came."""

    reader: str
    door: str
    after: int | None
    joined_s: float = 0.0
    joined: Message | None = None
    told: list[tuple[float, str]] = field(default_factory=list)
    repeats: list[tuple[float, Message]] = field(default_factory=list)
    """Records told again to this connection alone."""
    is_last: bool = False
    """Whether it stayed until everything there is had been told."""


@dataclass(slots=True)
class Look:
    """The state as it was told to somebody who asked."""

    asked_s: float
    told_s: float
    state: State


@dataclass(slots=True)
class History:
    """All that was sent and heard."""

    sent: dict[Key, Sent] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)


def state_of(shown: Message) -> State:
    """Return a state as the checks compare it."""
    return {key: (entry["value"], entry["revision"]) for key, entry in shown.items()}


def faults(history: History, stored: list[str], state: State) -> list[str]:
    """Return what is wrong, in words; nothing where all promises were kept.

    `stored` are the texts of the log in its order, `state` what the server shows at the end.
    """
    case = _Case(history, stored)
    found = [*_dense(case)]
    if found:
        return found  # Every other check counts on it that places are seqs.
    for check in CHECKS:
        found += check(case)
    if state != case.states[-1]:
        found.append(f"the state is {state}, and the records add up to {case.states[-1]}")
    return found


def newest(history: History) -> int:
    """Return the newest seq that anybody has heard of, 0 where nobody has."""
    return max((seq for _, seq in _news(history)), default=0)


def _news(history: History) -> Iterator[tuple[float, int]]:
    """Yield when somebody heard of a seq, and of which."""
    for visit in history.visits:
        if visit.joined is not None:
            yield visit.joined_s, visit.joined["seq"]
        for at_s, text in visit.told:
            yield at_s, json.loads(text)["seq"]
        for at_s, again in visit.repeats:
            yield at_s, again["seq"]
    for sent in history.sent.values():
        for attempt in sent.attempts:
            if attempt.heard_s is not None and "seq" in (attempt.answer or {}):
                assert attempt.answer is not None
                yield attempt.heard_s, attempt.answer["seq"]


class _Case:
    """A history beside its log, with what several checks ask of both."""

    def __init__(self, history: History, stored: list[str]) -> None:
        self.history, self.texts = history, stored
        self.records: list[Message] = [json.loads(text) for text in stored]
        self.last = len(stored)
        self.states: list[State] = [{}]
        """The state after each record; the first is before any."""
        for record in self.records:
            self.states.append(_folded(self.states[-1], record))
        self.calls = _Calls(self.records)
        self.places = {
            (record["sender"]["role"], record.get("requestId")): record["seq"]
            for record in self.records
        }
        self.sent_s: list[float] = [
            self._sent_s(record) for record in self.records
        ]
        self._heard_s, self._heard = self._hearsay()

    def _sent_s(self, record: Message) -> float:
        sent = self.history.sent.get((record["sender"]["role"], record.get("requestId", "")))
        return sent.attempts[0].sent_s if sent is not None and sent.attempts else float("-inf")

    def at(self, seq: int) -> Message | None:
        return self.records[seq - 1] if 1 <= seq <= self.last else None

    def _hearsay(self) -> tuple[list[float], list[int]]:
        """Return when the newest seq was heard of that anybody knew, and which."""
        news = sorted(_news(self.history))
        return [at_s for at_s, _ in news], list(accumulate((seq for _, seq in news), max))

    def known_at(self, at_s: float) -> int:
        """Return the newest seq that anybody had heard of before that time."""
        place = bisect_left(self._heard_s, at_s)
        return min(self._heard[place - 1], self.last) if place else 0

    def possible_at(self, at_s: float) -> int:
        """Return the last seq that can have been stored by that time."""
        for seq, sent_s in enumerate(self.sent_s, 1):
            if sent_s > at_s:
                return seq - 1
        return self.last

    def window(self, asked_s: float, told_s: float) -> range:
        """Return the seqs after one of which an answer must have been true."""
        return range(self.known_at(asked_s), self.possible_at(told_s) + 1)


def _folded(state: State, record: Message) -> State:
    if record["type"] == "state_updated":
        return {**state, record["key"]: (record["value"], record["revision"])}
    if record["type"] == "state_deleted":
        return {key: entry for key, entry in state.items() if key != record["key"]}
    return state


class _Calls:
    """Where each call was made, answered and closed."""

    def __init__(self, records: list[Message]) -> None:
        self.made: defaultdict[str, list[int]] = defaultdict(list)
        self.results: defaultdict[str, list[int]] = defaultdict(list)
        self.late: defaultdict[str, list[int]] = defaultdict(list)
        self.closed: defaultdict[str, list[int]] = defaultdict(list)
        self.waits: dict[str, bool] = {}
        for record in records:
            seq = record["seq"]
            if record["type"] == "client_tool_call":
                call = record["client_tool_call"]
                self.made[call["tool_call_id"]].append(seq)
                self.waits[call["tool_call_id"]] = call["expects_response"]
            elif record["type"] == "client_tool_result":
                self.results[record["tool_call_id"]].append(seq)
                if _status(record["result"]) not in RELEASED:
                    self.closed[record["tool_call_id"]].append(seq)
            elif record["type"] == "client_tool_cancel":
                self.closed[record["tool_call_id"]].append(seq)
            elif record["type"] == "user_message" and "result" in record:
                self.late[record["in_reply_to"]].append(seq)
                self.closed[record["in_reply_to"]].append(seq)

    def open_at(self, seq: int) -> list[str]:
        """Return the questions open after that record, in the order they were asked."""
        return [
            call
            for call, made in self.made.items()
            if made[0] <= seq and not any(closed <= seq for closed in self.closed.get(call, ()))
        ]


def _status(result: str) -> Any:
    read = json.loads(result)
    return read.get("status") if isinstance(read, dict) else None


def _dense(case: _Case) -> Iterator[str]:
    for place, record in enumerate(case.records, 1):
        if record["seq"] != place:
            yield f"seq {record['seq']} stands where {place} should: the log has a hole or a double"
            return


def _once(case: _Case) -> Iterator[str]:
    """A requestId of a sender makes one record."""
    seen: dict[Key, int] = {}
    for record in case.records:
        role = record["sender"]["role"]
        if role == "server":
            continue
        key = (role, record["requestId"])
        if key in seen:
            yield f"{key} made two records, {seen[key]} and {record['seq']}"
        seen[key] = record["seq"]


def _no_phantoms(case: _Case) -> Iterator[str]:
    """Whatever is stored was sent, as it was sent, and was not known before."""
    for record in case.records:
        role, seq = record["sender"]["role"], record["seq"]
        if role == "server":
            if record["type"] != "client_tool_result" or _status(record["result"]) not in RELEASED:
                yield f"the server made {seq} of its own: {record}"
            continue
        sent = case.history.sent.get((role, record["requestId"]))
        if sent is None:
            yield f"{seq} is a phantom, nobody sent it: {record}"
        elif not _says(record, sent.message):
            yield f"{seq} is stored as {record}, and was sent as {sent.message}"
        elif case.known_at(sent.attempts[0].sent_s) >= seq:
            yield (
                f"{seq} stands before what was heard of when it was sent:"
                f" {case.known_at(sent.attempts[0].sent_s)}"
            )


def _says(record: Message, message: Message) -> bool:
    """Whether this record is what becomes of this message."""
    kind, asked = record["type"], message["type"]
    if asked in ("state_update", "state_delete"):
        becomes = {"state_update": "state_updated", "state_delete": "state_deleted"}[asked]
        is_same = record.get("key") == message["key"] and record.get("value") == message.get("value")
        return kind == becomes and is_same and record["revision"] == record["seq"]
    if asked == "client_tool_call":
        call, meant = record.get("client_tool_call", {}), message["client_tool_call"]
        return kind == asked and meant.items() <= call.items()
    if asked == "client_tool_result":
        call_id = record.get("tool_call_id" if kind == asked else "in_reply_to")
        is_kind = kind in (asked, "user_message")
        return is_kind and (call_id, record.get("result")) == (message["tool_call_id"], message["result"])
    if asked == "client_tool_cancel":
        is_end = kind == asked or (
            kind == "client_tool_result" and _status(record["result"]) == "cancelled"
        )
        return is_end and record["tool_call_id"] == message["tool_call_id"]
    return kind == asked and message.items() <= record.items()


def _acknowledged(case: _Case) -> Iterator[str]:
    """Every answer is a stored record, the one that this command made, and the same each time."""
    for key, sent in case.history.sent.items():
        told = set()
        for attempt in sent.attempts:
            answer = attempt.answer
            if answer is None or attempt.is_error:
                continue
            fault = _differs(case, answer)
            if fault is not None:
                yield f"{key} was answered by {attempt.door}, and {fault}"
                continue
            if (sent.message["type"], answer["type"]) == ("client_tool_call", "client_tool_result"):
                # The caller waited for the result over HTTP.
                asked = sent.message["client_tool_call"]["tool_call_id"]
                if answer["tool_call_id"] != asked:
                    yield f"{key} was answered with the result of {answer['tool_call_id']}"
                continue
            told.add(answer["seq"])
            is_own = case.places.get(key) == answer["seq"]
            if not is_own and not (
                sent.message["type"] == "client_tool_call" and _says(answer, sent.message)
            ):
                yield f"{key} was answered with somebody else's record: {answer}"
        if len(told) > 1:
            yield f"{key} was answered with several records: {sorted(told)}"


def _differs(case: _Case, told: Message) -> str | None:
    """Return how a message differs from its stored record, or None."""
    record = case.at(told["seq"])
    if record is None:
        return f"{told['seq']} is not stored: {told}"
    plain = {name: value for name, value in told.items() if name != "duplicate"}
    return None if plain == record else f"{told['seq']} is stored as {record}, not {plain}"


def _refused(case: _Case) -> Iterator[str]:
    """What was refused each time it was sent left no record, and why it was refused is true."""
    for key, sent in case.history.sent.items():
        errors = [attempt for attempt in sent.attempts if attempt.is_error and attempt.is_final]
        if key in case.places and len(errors) == len(sent.attempts):
            yield f"{key} was refused each time, and is stored as {case.places[key]}"
        for attempt in errors:
            assert attempt.answer is not None
            assert attempt.heard_s is not None
            window = case.window(attempt.sent_s, attempt.heard_s)
            if not _is_true(case, sent.message, attempt.answer, window):
                yield f"{key} was refused, which was never so between {window}: {attempt.answer}"


def _is_true(case: _Case, message: Message, error: Message, window: range) -> bool:
    """Whether a refusal was true after one of these seqs."""
    code = error["code"]
    if code == "revision_conflict":
        told = (error["value"], error["revision"])
        return error["revision"] != message["if_revision"] and any(
            case.states[seq].get(message["key"], (None, 0)) == told for seq in window
        )
    call_id = message.get("tool_call_id", "")
    if code == "tool_unknown":
        return not any(made <= window.start for made in case.calls.made.get(call_id, ()))
    if code == "tool_closed":
        return any(closed < window.stop for closed in case.calls.closed.get(call_id, ()))
    if code == "tool_call_reused":
        made = case.calls.made.get(message["client_tool_call"]["tool_call_id"], [])
        return any(
            seq < window.stop and not _says(case.records[seq - 1], message) for seq in made
        )
    return False


def _swaps(case: _Case) -> Iterator[str]:
    """A change that named a revision stands where the key had that one."""
    for key, seq in case.places.items():
        sent = case.history.sent.get((key[0], key[1] or ""))
        expected = None if sent is None else sent.message.get("if_revision")
        if sent is None or expected is None:
            continue
        _, found = case.states[seq - 1].get(sent.message["key"], (None, 0))
        if found != expected:
            yield f"{seq} was to change revision {expected} of a key, which had {found}"


def _looks(case: _Case) -> Iterator[str]:
    """A state that was told stood at some moment between question and answer."""
    for look in case.history.looks:
        window = case.window(look.asked_s, look.told_s)
        if not any(case.states[seq] == look.state for seq in window):
            yield f"a state was told that never stood between {window}: {look.state}"


def _readers(case: _Case) -> Iterator[str]:
    """Each reader has each record once, in order, as it is stored, from where it left off."""
    for visit in case.history.visits:
        name = f"{visit.reader} by {visit.door} after {visit.after}"
        for _, again in visit.repeats:
            fault = _differs(case, again)
            if fault is not None:
                yield f"{name} was told a repeat, and {fault}"
        if visit.joined is None:
            if visit.told:
                yield f"{name} was told records before it was let in"
            continue
        yield from _joined(case, visit, name)
        expected = (
            visit.joined["seq"] if visit.after is None else visit.after
        ) + 1
        for _, text in visit.told:
            seq = json.loads(text)["seq"]
            if seq != expected:
                yield f"{name} was told {seq} where {expected} comes next"
                break
            if seq > case.last:
                yield f"{name} was told {seq}, which is not stored: {text}"
                break
            if text != case.texts[seq - 1]:
                yield f"{name} was told {text}, and {case.texts[seq - 1]} is stored"
            expected += 1
        else:
            if visit.is_last and expected != case.last + 1:
                yield f"{name} stayed to the end and misses {expected} to {case.last}"


def _joined(case: _Case, visit: Visit, name: str) -> Iterator[str]:
    """What a join shows is of one instant."""
    joined = visit.joined
    assert joined is not None
    if joined["seq"] > case.last:
        yield f"{name} was promised {joined['seq']} records, and {case.last} are stored"
        return
    wanted = "none" if visit.after is None else "replay"
    if joined["recovery"] != wanted:
        yield f"{name} got recovery {joined['recovery']} instead of {wanted}"
    if state_of(joined["state"]) != case.states[joined["seq"]]:
        yield f"{name} was shown another state than that of {joined['seq']}: {joined['state']}"
    if joined["open_calls"] is None:
        return  # Pages of records show none.
    shown = [call["client_tool_call"]["tool_call_id"] for call in joined["open_calls"]]
    if shown != case.calls.open_at(joined["seq"]):
        yield f"{name} was shown {shown} as open, not {case.calls.open_at(joined['seq'])}"


def _calls(case: _Case) -> Iterator[str]:
    """A call has one record, one result, and one end; a late answer counts once."""
    calls = case.calls
    for call, results in calls.results.items():
        made = calls.made.get(call)
        if not made or min(results) < made[0]:
            yield f"{call} has a result and no call before it"
    for call, made in calls.made.items():
        results, late, closed = (
            where.get(call, []) for where in (calls.results, calls.late, calls.closed)
        )
        if len(made) > 1:
            yield f"{call} was made twice, at {made}"
        if len(results) > 1:
            yield f"{call} has several results, at {results}"
        if len(late) > 1:
            yield f"{call} was answered late twice, at {late}"
        if len(closed) > 1:
            yield f"{call} was closed twice, at {closed}"
        if calls.waits[call] and not results:
            yield f"{call} has no result"
        if late and calls.waits[call] and not (results and results[0] < late[0]):
            yield f"{call} was answered late before its agent was released"


CHECKS: Final[tuple[Callable[[_Case], Iterator[str]], ...]] = (
    _once, _no_phantoms, _acknowledged, _refused, _swaps, _looks, _readers, _calls,
)  # fmt: skip
