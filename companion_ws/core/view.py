"""What a client knows of its session: a fold over what the server tells it."""

from __future__ import annotations

from copy import copy
from enum import Enum
from typing import Any

Message = dict[str, Any]

MAX_CALLS = 100
"""Calls whose records are remembered; the oldest goes first."""


class News(Enum):
    """What a record was to the one who received it."""

    NEW = "new"
    KNOWN = "known"
    """It, or what came after it, was received before."""
    GAP = "gap"
    """Something before it is missing; come back with `after`."""


class View:
    """The session as of `seq`; `joined` and `presence` are the server's own words.

    `state` maps keys to `{"value": …, "revision": int}`.
    """

    def __init__(self, after: int | None = None) -> None:
        self.first: Message = {}
        """The `session_joined` of the first join."""
        self.joined: Message = {}
        self.session_id: str | None = None
        self.epoch: str | None = None
        self.after = after
        """What to ask for at the next join: the last record received, or None."""
        self.state: dict[str, Message] = {}
        self.presence: dict[str, Message] = {}
        self.calls: dict[str, Message] = {}
        """The newest tool calls heard of, by id: their records."""
        self._state_seq = 0

    @property
    def seq(self) -> int:
        """Of the last record received, or what the join's snapshot stands for."""
        return self.after or 0

    def copy(self) -> View:
        """Return what was known at this moment; it does not go on."""
        copied = copy(self)
        copied.state, copied.presence = dict(self.state), dict(self.presence)
        copied.calls = dict(self.calls)
        return copied

    def join(self, joined: Message) -> None:
        """Take `session_joined`: where the records go on, and what holds at its `seq`."""
        asked = self.after or 0
        self.first = self.first or joined
        self.joined = joined
        self.session_id = joined["session_id"]
        self.epoch = joined["epoch"]
        self.after = joined["seq"]
        if joined["recovery"] == "replay":
            # Older records than `first_seq` are gone; only `after=0` is told so by a replay.
            self.after = max(asked, (joined["first_seq"] or 1) - 1)
        self.state = dict(joined["state"])
        self.presence = {entry["connection_id"]: entry for entry in joined["presence"]}
        for call in joined.get("open_calls", ()):
            self._remember(call)
        self._state_seq = joined["seq"]

    def take(self, record: Message) -> News:
        """Take a record: new ones move `seq`, and the state if they are no history."""
        seq = record["seq"]
        if record.get("duplicate") or seq <= self.seq:
            return News.KNOWN
        if seq > self.seq + 1:
            return News.GAP
        self.after = seq
        if record["type"] == "client_tool_call":
            self._remember(record)
        if seq > self._state_seq:
            self._apply(record)
        return News.NEW

    def meet(self, message: Message) -> None:
        """Take a `presence` message."""
        connection_id = message["connection_id"]
        if message["event"] == "joined":
            absent = ("type", "event", "session_id", "timestamp")
            entry = {name: value for name, value in message.items() if name not in absent}
            self.presence[connection_id] = entry
        else:
            self.presence.pop(connection_id, None)

    def _remember(self, record: Message) -> None:
        call = record.get("client_tool_call", record)
        self.calls[call["tool_call_id"]] = record
        if len(self.calls) > MAX_CALLS:
            del self.calls[next(iter(self.calls))]

    def _apply(self, record: Message) -> None:
        if record["type"] == "state_updated":
            self.state[record["key"]] = {"value": record["value"], "revision": record["revision"]}
        elif record["type"] == "state_deleted":
            self.state.pop(record["key"], None)
