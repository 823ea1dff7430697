"""Who sent a command, and how the answer finds its way back."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from companion_ws.core.errors import CompanionError
from companion_ws.core.protocol import error_message
from companion_ws.core.session import Sender
from companion_ws.sessions.connections import Connection

Answer = Callable[[bytes], None]
Refuse = Callable[[CompanionError], None]


class Caller(Struct, frozen=True, eq=False):
    """Built once per command by the entrance that received it.

    A WebSocket gives its `connection`, which is sent the answer or the error as a message.
    HTTP and Python give `answer` and `refuse`, one of which is called.
    """

    sender: Sender
    request_id: str | None = None
    connection: Connection | None = None
    answer: Answer | None = None
    refuse: Refuse | None = None
    size_bytes: int = 0
    """What the command counts for at its connection until it is stored or refused."""

    def hear(self, body: bytes) -> None:
        """Hear an answer that nobody else is told."""
        if self.connection is not None:
            self.connection.outbox.push_text(body)
        if self.answer is not None:
            self.answer(body)

    def hear_refusal(self, error: CompanionError, at_ms: int) -> None:
        """Hear why the command was refused; `at_ms` is the time of day."""
        connection = self.connection
        if connection is not None:
            connection.hold(error)
            connection.outbox.push_text(
                error_message(error, self.request_id, connection.session_id, at_ms)
            )
        if self.refuse is not None:
            self.refuse(error)

    def command_accepted(self) -> None:
        """The command made a record that waits for the disk."""
        if self.connection is not None:
            self.connection.command_accepted(self.size_bytes)

    def command_settled(self) -> None:
        """That record was stored or refused."""
        if self.connection is not None:
            self.connection.command_settled(self.size_bytes)

    def lookup_begun(self) -> None:
        """The disk is asked about it; what its connection says next must not overtake it."""
        if self.connection is not None:
            self.connection.lookups += 1

    def lookup_ended(self) -> None:
        """It has been decided on."""
        if self.connection is not None:
            self.connection.lookups -= 1
            self.connection.changed.set()
