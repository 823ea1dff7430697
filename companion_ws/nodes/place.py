"""Where a session lives: on this server, or on another one that shares its database."""

from __future__ import annotations

from typing import Final, Protocol

from msgspec import Struct


class Node(Struct, frozen=True):
    """A server; `url` is where the other servers reach it, without a slash at its end."""

    name: str
    url: str


class Elsewhere(Exception):
    """The session lives on another server, whose lease is valid."""

    def __init__(self, node: Node) -> None:
        super().__init__(f"the session lives at {node.url}")
        self.node = node


class Places(Protocol):
    """Which server a session lives on."""

    @property
    def me(self) -> Node:
        """This server; after a lost lease it has another name."""

    @property
    def is_good(self) -> bool:
        """Whether this server may answer from memory: no other one can have its sessions."""

    async def find(self, session_id: str) -> Node | None:
        """Return the other server that a session lives on.

        None where it lives here, or on none that is alive: then `Sessions.live` takes it.

        Raises:
            Unavailable: the database does not let us look.
        """

    def others(self) -> list[Node]:
        """Return the other servers that had a valid lease a moment ago."""


class Alone:
    """The only server of its database has every session."""

    is_good: Final = True

    def __init__(self) -> None:
        self.me = Node("alone", "")

    async def find(self, session_id: str) -> Node | None:
        """Return None."""
        return None

    def others(self) -> list[Node]:
        """Return nobody."""
        return []
