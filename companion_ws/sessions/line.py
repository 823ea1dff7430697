"""The line of one session: what was decided leaves in order, once it is durable.

A commit takes milliseconds, and a session decides thousands of commands a second. If each
waited for its commit, a session would be as slow as the disk. So memory runs ahead: a command
is decided, numbered and encoded at once, and its record waits here for the disk.

    log      … 5 6 │ 7 8 │ 9 10
                   ▲     ▲      ▲
       delivered_seq   durable_seq   tip (`LiveSession.session.seq`)

    queue            7 8   9 [answer to 9] 10 [session_joined at 10]

`delivered_seq ≤ durable_seq ≤ tip`, and nothing moves a position back.

append   An answer, a refusal or a join that was decided on the tip is true only if the records
         before it are stored. It waits in the same queue, behind them, whatever entrance it came
         by. With nothing before it, it leaves in the same turn.
settle   A commit moves `durable_seq`.
flush    Everything up to `durable_seq` leaves from the front, in order: a run of records goes to
         every subscribed member in one write, and then to the callers that wait for them.
refuse   A refused commit empties the queue: each entry hears `unavailable`, in order. The line is
         held until the session has been read again; what changes nothing waits in it meanwhile.
close    The session lives elsewhere, or is gone: all that waits, and all that still comes, is refused.
release  The positions start again from the disk. Records that were refused and are stored all the
         same (a failed fsync leaves that open) are delivered now.

Where a server may not answer from memory (its lease has run out, or is about to), nothing leaves:
what waits is refused when the session is dropped, a moment later.

The newest delivered records stay in a tail, so that whoever was away for a moment is brought
up to date without the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from typing import Final

from msgspec import Struct

from companion_ws.core.errors import CompanionError
from companion_ws.core.session import Event
from companion_ws.nodes.place import Places
from companion_ws.sessions.caller import Answer, Caller, Refuse
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.outbox import Batch

TAIL_RECORDS: Final = 16
TAIL_BYTES: Final = 64 * 1024
"""Records kept in memory after they were delivered, so that a short absence costs no read."""


class QueueEntry(Struct, eq=False):
    """One entry of the line; `seq` is 0 for what is not a record.

    `deliver` runs when its turn comes. If it never does, the `caller` hears the refusal,
    and `refuse` runs.
    """

    seq: int
    body: bytes
    deliver: Answer | None = None
    refuse: Refuse | None = None
    caller: Caller | None = None
    event: Event | None = None


class Line:
    """What waits in one session, and how far it has been stored and delivered.

    It must not know the session it belongs to: a cycle of the two would leave every session
    that memory forgets to the garbage collector.
    """

    __slots__ = (
        "_closed", "_members", "_now_ms", "_places", "_queue", "_tail", "_tail_bytes",
        "delivered_seq", "durable_seq", "is_held",
    )

    def __init__(
        self,
        members: dict[str, Connection],
        seq: int,
        now_ms: Callable[[], int],
        places: Places,
    ) -> None:
        self.delivered_seq = seq
        self.durable_seq = seq
        self.is_held = False
        """Whether everything waits until the session has been read again."""
        self._closed: CompanionError | None = None
        """Why nothing is taken any more."""
        self._places = places
        self._members = members
        self._now_ms = now_ms
        self._queue: deque[QueueEntry] = deque()
        self._tail: list[tuple[int, bytes]] = []
        self._tail_bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    def append(self, entry: QueueEntry) -> None:
        """Let an entry wait for its turn, which may be now."""
        queue = self._queue
        queue.append(entry)
        if len(queue) == 1 and entry.seq <= self.durable_seq:
            if not self.is_held:
                self._flush()
            elif self._closed is not None:
                self.refuse(self._closed)

    def append_answer(self, body: bytes, caller: Caller) -> None:
        """Tell one caller alone, in its turn."""
        self.append(QueueEntry(0, body, caller.hear, caller=caller))

    def append_refusal(self, refusal: CompanionError, caller: Caller) -> None:
        """Tell a caller in its turn what its command was refused for."""
        now_ms = self._now_ms
        self.append(
            QueueEntry(0, b"", lambda _: caller.hear_refusal(refusal, now_ms()), caller=caller)
        )

    def settle(self, seq: int) -> list[QueueEntry]:
        """Everything up to `seq` is durable; return the records that were delivered now."""
        self.durable_seq = seq
        return self._flush()

    def refuse(self, reason: CompanionError) -> None:
        """Refuse everything that waits; nothing is delivered until `release`."""
        self.is_held = True
        queue, self._queue = self._queue, deque()
        for entry in queue:
            if entry.caller is not None:
                if entry.seq:
                    entry.caller.command_settled()
                entry.caller.hear_refusal(reason, self._now_ms())
            if entry.refuse is not None:
                entry.refuse(reason)

    @property
    def is_closed(self) -> bool:
        """Whether everything is refused from now on."""
        return self._closed is not None

    def close(self, reason: CompanionError) -> None:
        """Refuse what waits, and whatever still comes."""
        self._closed = reason
        self.refuse(reason)

    def release(self, seq: int, found: list[tuple[int, bytes]]) -> None:
        """Go on from `seq`, after the records `found` beyond what was delivered."""
        self.durable_seq = seq
        self.is_held = False
        self._deliver_records([QueueEntry(seq, body) for seq, body in found])
        self._flush()

    def waiting(self, seqs: Container[int]) -> dict[int, bytes]:
        """Return those of these records that are not durable yet."""
        return {entry.seq: entry.body for entry in self._queue if entry.seq in seqs}

    def recent(self, seq: int) -> bytes | None:
        """Return a record that was delivered lately."""
        for known, body in self._tail:
            if known == seq:
                return body
        return None

    def missed_since(self, position: int) -> list[tuple[int, bytes]] | None:
        """Return what was delivered after `position`, or None where the tail does not reach."""
        missed = [(seq, body) for seq, body in self._tail if seq > position]
        if position < self.delivered_seq and (not missed or missed[0][0] != position + 1):
            return None
        return missed

    def forget_tail(self) -> None:
        self._tail.clear()
        self._tail_bytes = 0

    def _flush(self) -> list[QueueEntry]:
        delivered: list[QueueEntry] = []
        if not self._places.is_good:
            return delivered
        run: list[QueueEntry] = []
        queue = self._queue
        while queue and queue[0].seq <= self.durable_seq:
            entry = queue.popleft()
            if entry.seq:
                run.append(entry)
                delivered.append(entry)
                continue
            self._deliver_records(run)
            run = []
            if entry.deliver is not None:
                entry.deliver(entry.body)
        self._deliver_records(run)
        return delivered

    def _deliver_records(self, run: list[QueueEntry]) -> None:
        """Send durable records to everybody, in one write per member; then answer for each."""
        if not run:
            return
        records = [(entry.seq, entry.body) for entry in run]
        self.delivered_seq = run[-1].seq
        self._keep(records)
        batch = Batch([*records])
        for member in self._members.values():
            if member.is_subscribed:
                member.outbox.push(batch)
        for entry in run:
            if entry.caller is not None:
                entry.caller.command_settled()
            if entry.deliver is not None:
                entry.deliver(entry.body)

    def _keep(self, records: list[tuple[int, bytes]]) -> None:
        """Keep the newest records for those who were away for a moment."""
        tail = self._tail
        tail.extend(records)
        self._tail_bytes += sum(len(body) for _, body in records)
        while len(tail) > TAIL_RECORDS or self._tail_bytes > TAIL_BYTES:
            # A list: this short it moves in no time, and a deque takes 700 bytes when it is empty.
            self._tail_bytes -= len(tail.pop(0)[1])
