"""Bodies, queries and answers of HTTP: the types that validate, and that describe.

Times are milliseconds since 1970 (UTC).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Seq = Annotated[int, Meta(ge=0, le=10**15)]
Title = Annotated[str, Meta(description="beyond 200 characters it is cut")]
User = Annotated[str, Meta(min_length=1, max_length=200)]
Language = Annotated[
    str, Meta(max_length=35, pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", description="BCP 47")
]
Role = Literal["agent", "ui", "observer"]
Time = Annotated[int, Meta(description="milliseconds since 1970 (UTC)")]
Cursor = Annotated[str, Meta(description="`next` of the answer before")]
Acts = Annotated[Role, Meta(description="whom it comes from; absent: what the token is for")]


class NewSession(Struct, kw_only=True):
    """A session to open; only a service names the user it is for."""

    user: User | None = None
    title: Title | None = None
    language: Language | None = None


class Naming(Struct, kw_only=True):
    """What to call a session, and the language it speaks; null for none in particular."""

    title: Title | None = None
    language: Language | UnsetType | None = UNSET


class Page(Struct, kw_only=True):
    """Which part of a list; `cursor` is the `next` of the answer before."""

    limit: Annotated[int, Meta(ge=1)] = 50
    cursor: Cursor = ""
    conversation_id: Annotated[str, Meta(description="of ElevenLabs; only its session")] = ""


class UserPage(Page, kw_only=True):
    """Which part of the list of all sessions."""

    user: Annotated[str, Meta(description="whose sessions; absent: everybody's")] = ""


class Sending(Struct, kw_only=True):
    """Whom a command comes from, and how long to wait for a tool's result, in seconds."""

    role: Acts | UnsetType = UNSET
    wait: Annotated[
        float, Meta(ge=0, description="seconds to wait for the result of a tool call")
    ] = 0.0


class Ending(Struct, kw_only=True):
    """Whether a session's end is also that of what it holds."""

    erase: Annotated[
        Literal["0", "1"],
        Meta(description="1: delete everything of it at once, also once it has ended"),
    ] = "0"


class Acting(Struct, kw_only=True):
    """Whom a change comes from."""

    role: Acts | UnsetType = UNSET


class Reading(Struct, kw_only=True):
    """Records after a seq."""

    after: Annotated[Seq, Meta(description="the `seq` before the first")] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1)] = 100
    epoch: Annotated[
        str, Meta(description="the log `after` was seen in; another one begins with a snapshot")
    ] = ""
    role: Annotated[
        Literal["agent", "ui", "observer"],
        Meta(description="of a stream: `ui` makes it a screen, there for all as a socket would be"),
    ] = "observer"
    device: Annotated[str, Meta(description="of a stream: a label for people")] = ""
    tools: Annotated[str, Meta(description="of a stream: tools it answers, with commas")] = ""
    ticket: Annotated[
        str, Meta(description="of a stream, once, instead of a token: see stream-tickets")
    ] = ""


class StreamTicket(Struct):
    """Opens one event stream, within a minute."""

    ticket: str
    expires_at: int


class Message(Struct, kw_only=True):
    """Any command of the protocol; see the AsyncAPI document."""

    type: Annotated[str, Meta(description="which command; its fields stand beside it")]


class Counts(Struct):
    """Connections by role."""

    agent: int
    ui: int
    observer: int


class Entry(Struct):
    """A state value and the seq that set it."""

    value: Any
    revision: Annotated[int, Meta(description="the `seq` of the record that set it")]


class SessionShown(Struct):
    """A session without its log."""

    session_id: str
    user: str
    title: str
    language: str | None
    created_at: Time
    last_active_at: Time
    expires_at: Time
    ended_at: Time | None
    seq: int
    conversation_id: str | None
    connections: Counts
    state: dict[str, Entry]


class SessionList(Struct):
    """One page of sessions, newest first."""

    sessions: list[SessionShown]
    next: str | None


class RenderedShown(Struct):
    """That a screen has shown a record, or what of it could not be shown."""

    of_seq: int
    device_id: Annotated[str, Meta(description="of a paired phone")] | None
    at: int
    problem: Annotated[str, Meta(description="in words")] | None


class Records(Struct):
    """One page of records, oldest first; `next` is the `after` of the next page."""

    records: list[dict[str, Any]]
    first_seq: Annotated[int, Meta(description="the oldest record kept")] | None
    epoch: Annotated[str, Meta(description="of this log; a restored backup has another")]
    recovery: Annotated[
        Literal["replay", "snapshot"],
        Meta(description="`snapshot`: `after` was seen in another log, nothing is replayed"),
    ]
    next: int | None
    rendered: list[RenderedShown]


class Trail(Struct):
    """List joins, departures, drops and refusals, oldest first."""

    trail: list[dict[str, Any]]


class Status(Struct):
    """How the process is."""

    status: str


class Problem(Struct):
    """RFC 9457 problem details, with our code."""

    type: str
    title: str
    status: int
    detail: str
    code: str
