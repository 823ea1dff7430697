"""What the sessions of this process are made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from companion_ws.clock import Clock
from companion_ws.core.session import Limits
from companion_ws.database import Database, Statement
from companion_ws.nodes.news import News
from companion_ws.nodes.place import Places
from companion_ws.nodes.verbs import Verbs
from companion_ws.sessions.answer_times import Step
from companion_ws.sessions.connections import Connections
from companion_ws.sessions.phone_calls import Calls
from companion_ws.sessions.questions import PairingAccess
from companion_ws.sessions.store import Store
from companion_ws.sessions.tools import ServerTool

if TYPE_CHECKING:
    from companion_ws.sessions.call_traces import CallTraces


class SessionAccess(Protocol):
    """What else is known of a session, and goes with it."""

    async def has_device(self, session_id: str) -> bool: ...

    def forget_session(self, session_id: str) -> list[Statement]: ...


class Counted(Protocol):
    """Figures of what happens to sessions; see metrics.py."""

    def recorded(self, kind: str) -> None: ...

    def expired(self) -> None: ...

    def joined(self, role: str, recovery: str) -> None: ...

    def rendered(self, latency_s: float) -> None: ...

    def question(self, step: Step, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What a session may hold, and how long it lives."""

    ttl_s: float
    keep_ended_s: float
    sessions_per_user: int
    limits: Limits
    is_development: bool = False
    """Whether errors of server tools name file and line to the agent."""
    made_bytes: int = 0
    """The most that a tool or an embedding program may say at once; 0 means no limit."""


@dataclass(frozen=True, slots=True)
class SessionParts:
    """Made once, in app.py."""

    database: Database
    store: Store
    rules: Rules
    connections: Connections
    tools: dict[str, ServerTool]
    pairing: PairingAccess
    access: SessionAccess
    counted: Counted
    calls: Calls
    clock: Clock
    new_id: Callable[[], str]
    is_link_out: Callable[[str], Awaitable[bool]]
    """Whether a caller has been sent a link to this session that still opens it."""
    fetch: Callable[[str], Awaitable[bytes]] | None
    """Fetches a picture by its address, or raises NotFetched; None where none are fetched."""
    places: Places
    news: News
    verbs: Verbs
    traces: CallTraces | None = None
    """Told of tool calls where somebody wants spans."""
