"""Where a session lives: on this server, or on another one that shares its database."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from companion_ws.database import Database, Read

R = TypeVar("R")
T = TypeVar("T", covariant=True)


UNSEEN_S: Final = 2.5
"""How long a server may have a lease before all others know: they look each second."""


class Node(Struct, frozen=True):
    """A server; `url` is where the other servers reach it, without a slash at its end."""

    name: str
    url: str


class Elsewhere(Exception):
    """The session lives on another server, whose lease is valid."""

    def __init__(self, node: Node) -> None:
        super().__init__(f"the session lives at {node.url}")
        self.node = node


class Load(Protocol[T]):
    """Reads a session that was taken."""

    def __call__(self, read: Read, last: str | None) -> T:
        """Return what is read.

        `last` is None where this server goes on with what it had; else the server that had
        the session last, empty where it was free.
        """


class Places(Protocol):
    """Which server a session lives on."""

    @property
    def is_shared(self) -> bool:
        """Whether there may be other servers."""

    @property
    def me(self) -> Node:
        """This server; after a lost lease it has another name."""

    @property
    def is_good(self) -> bool:
        """Whether this server may answer from memory: no other one can have its sessions."""

    def others(self) -> list[Node]:
        """Return the other servers that had a valid lease a moment ago."""

    def on_lost(self, act: Callable[[], None]) -> None:
        """Call `act` when this server has to drop all that it has, in one step of the event loop."""

    async def start(self) -> None:
        """Begin to be one of the servers, once the database is open.

        Raises:
            CannotOpen: it cannot be one of them.
        """

    async def check(self, marks: Collection[str]) -> None:
        """See that this server goes together with the others; `marks` are those of its keys.

        Raises:
            StartRefused: one of them signs with another key, or says it is where this one is.
        """

    async def stop(self) -> None:
        """Be none of them any more."""

    async def find(self, session_id: str) -> Node | None:
        """Return the other server that a session lives on.

        None where it lives here, or on none that is alive: then `Sessions.live` takes it.

        Raises:
            Unavailable: the database does not let us look.
        """

    async def taken(self, session_id: str, load: Load[R]) -> R:
        """Return what `load` reads of a session that is this server's from now on.

        Raises:
            Elsewhere: another server that is alive has it.
            Unavailable: the database does not let us, or this server may have nothing.
        """

    def release(self, number: int, generation: int) -> None:
        """Let anybody have a session that memory has forgotten, by the number of its row."""

    async def give_away(self) -> None:
        """Let others have everything; from here on nothing is answered from memory.

        Raises:
            Unavailable: not known to be stored; then the lease runs out.
        """


class Alone:
    """The only server of its database has every session."""

    is_shared: Final = False
    is_good: Final = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self.me = Node("alone", "")

    def others(self) -> list[Node]:
        """Return nobody."""
        return []

    def on_lost(self, act: Callable[[], None]) -> None:
        """Nothing is ever lost."""

    async def start(self) -> None:
        """There is nobody to tell."""

    async def check(self, marks: Collection[str]) -> None:
        """There are no others."""

    async def stop(self) -> None:
        """There is nobody to tell."""

    async def find(self, session_id: str) -> Node | None:
        """Return None."""
        return None

    async def taken(self, session_id: str, load: Load[R]) -> R:
        """Return what `load` reads of a session, at one instant."""
        return await self._database.read_with(lambda read: load(read, None))

    def release(self, number: int, generation: int) -> None:
        """It stays here."""

    async def give_away(self) -> None:
        """There is nobody to give it to."""


class Vigil:
    """Watches whether a server that something is awaited of is still alive.

    `others` lags a moment behind, so one that has just begun gets the time to be seen.
    """

    __slots__ = ("_began_s", "_name", "_was_seen")

    def __init__(self, node: Node, now_s: float) -> None:
        self._name = node.name
        self._began_s = now_s
        self._was_seen = False

    def is_dead(self, others: list[Node], now_s: float) -> bool:
        """Whether its lease has run out."""
        if any(node.name == self._name for node in others):
            self._was_seen = True
            return False
        return self._was_seen or now_s - self._began_s > UNSEEN_S
