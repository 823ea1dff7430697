"""A session without a server: commands go in as the wire has them, records come out."""

from __future__ import annotations

import copy
from typing import Any

from companion_ws.core import commands, protocol
from companion_ws.core.session import (
    Decision,
    DecisionContext,
    Event,
    Limits,
    Sender,
    Session,
    apply,
    decide,
    trim,
)

START_MS = 1_650_000_000_000


class SessionWithoutServer:
    """Says commands in a session and keeps the text of every record they made."""

    def __init__(
        self,
        limits: Limits | None = None,
        server_tools: tuple[str, ...] = (),
        language: str | None = None,
    ) -> None:
        self.session = Session("s", "alice", language)
        self.limits = limits or Limits()
        self.server_tools = server_tools
        self.now_ms = START_MS
        self.bodies: list[bytes] = []

    def decide(self, message: dict[str, Any] | commands.Command, role: Any = "agent") -> Decision:
        """Return the decision, having seen that deciding changed nothing."""
        command = message if isinstance(message, commands.Command) else protocol.decode(message)[0]
        # Of a session of a thousand keys a copy is slow, and shows nothing new.
        before = copy.deepcopy(self.session) if len(self.session.state) < 50 else self.session
        try:
            return decide(
                command,
                DecisionContext(
                    self.session,
                    Sender(role, "alice", "c"),
                    self.now_ms,
                    self.limits,
                    lambda name: name in self.server_tools,
                ),
            )
        finally:
            assert self.session == before

    def say(self, message: dict[str, Any] | commands.Command, role: Any = "agent") -> Decision:
        """Decide and, where it is an event, let it become the next record."""
        decision = self.decide(message, role)
        if isinstance(decision, Event):
            for event in (decision, *decision.then):
                self._append(event)
        return decision

    def _append(self, event: Event) -> None:
        body = protocol.encode(
            {
                "type": event.type,
                **event.fields,
                "timestamp": self.now_ms,
                "seq": self.session.seq + 1,
            }
        )
        self.bodies.append(body)
        apply(self.session, event, body, self.now_ms)
        trim(self.session, self.limits)

    def record(self, message: dict[str, Any] | commands.Command, role: Any = "agent") -> Any:
        """Say something that becomes a record, and return it as the wire shows it."""
        before = len(self.bodies)
        decision = self.say(message, role)
        assert isinstance(decision, Event), decision
        return protocol.parse(self.bodies[before])

    def call(self, tool_call_id: str = "t1", name: str = "companion_choose", **fields: Any) -> Any:
        """Let the agent call a tool."""
        call = {"tool_name": name, "tool_call_id": tool_call_id, "parameters": {}, **fields}
        return self.record({"type": "client_tool_call", "client_tool_call": call})

    def answer(self, tool_call_id: str = "t1", result: str = '{"id":"air"}') -> Any:
        """Let a screen answer."""
        return self.record(
            {"type": "client_tool_result", "tool_call_id": tool_call_id, "result": result}, "ui"
        )

    def open_ids(self) -> list[str]:
        return [call.tool_call_id for call in self.session.open_calls(self.now_ms)]
