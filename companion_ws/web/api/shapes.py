"""Bodies, queries and answers of HTTP: the types that validate, and that describe.

Times are milliseconds since 1970 (UTC), lifetimes seconds.
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
Acts = Annotated[Role, Meta(description="the role it is sent in; absent: the token's own")]
TicketTtl = Annotated[float, Meta(ge=1, le=900, description="seconds; 60 where absent")]
SessionTokenTtl = Annotated[
    float, Meta(ge=1, le=30 * 86400, description="seconds; 3600 where absent")
]
SessionTokenLife = Annotated[
    float, Meta(ge=1, le=30 * 86400, description="seconds; 12 hours where absent")
]
TokenTtl = Annotated[float, Meta(ge=1, le=366 * 86400, description="seconds; 30 days where absent")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


# Sessions.


class SessionRequest(Struct, kw_only=True):
    """A session to open; only a service names the user it is for."""

    user: User | None = None
    title: Title | None = None
    language: Language | None = None


class SessionUpdate(Struct, kw_only=True):
    """What to call a session, and the language it speaks; null for none in particular."""

    title: Title | None = None
    language: Language | UnsetType | None = UNSET


class SessionQuery(Struct, kw_only=True):
    """Which part of a list; `cursor` is the `next` of the answer before."""

    limit: Annotated[int, Meta(ge=1)] = 50
    cursor: Cursor = ""
    conversation_id: Annotated[str, Meta(description="of ElevenLabs; only its session")] = ""
    find: Annotated[
        str,
        Meta(
            max_length=200,
            description="words; each begins the id, or is part of the title, the user,"
            " a conversation, or a telephone call",
        ),
    ] = ""
    trouble: Annotated[
        Literal["failed", "slow", "no_screen"] | UnsetType, Meta(description="only with such")
    ] = UNSET
    brief: Annotated[
        Literal["0", "1"], Meta(description="1: `state` is left empty, for lists that do not show it")
    ] = "0"


class AllSessionsQuery(SessionQuery, kw_only=True):
    """Which part of the list of all sessions."""

    user: Annotated[str, Meta(description="whose sessions; absent: everybody's")] = ""


class MessageQuery(Struct, kw_only=True):
    """The role in which a command is sent, and how long to wait for a tool's result, in seconds."""

    role: Acts | UnsetType = UNSET
    wait: Annotated[
        float, Meta(ge=0, description="seconds to wait for the result of a tool call")
    ] = 0.0


class EndQuery(Struct, kw_only=True):
    """Whether ending a session also erases what it holds."""

    erase: Annotated[
        Literal["0", "1"],
        Meta(description="1: delete everything of it at once, also once it has ended"),
    ] = "0"


class RoleQuery(Struct, kw_only=True):
    """The role in which a change is made."""

    role: Acts | UnsetType = UNSET


class RecordQuery(Struct, kw_only=True):
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
    device: Annotated[str, Meta(description="of a stream: a label for people to read")] = ""
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


class ConnectionCounts(Struct):
    """Connections by role."""

    agent: int
    ui: int
    observer: int


class TroubleCounts(Struct):
    """How much went wrong: a tool or screen failed, was slow, or there was no screen to ask."""

    failed: Annotated[
        int, Meta(description="errors, questions nobody answered in time, what could not be shown")
    ]
    slow: Annotated[
        int, Meta(description="server tools of 3 s or more, questions that late on a screen")
    ]
    no_screen: int


class StateEntry(Struct):
    """A state value and the seq that set it."""

    value: Any
    revision: Annotated[int, Meta(description="the `seq` of the record that set it")]


class Session(Struct):
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
    connections: ConnectionCounts
    troubles: Annotated[TroubleCounts, Meta(description="of the records kept")]
    state: dict[str, StateEntry]
    node: Annotated[
        str | None,
        Meta(description="for admins, where several servers share the database: whose memory it is in"),
    ] | UnsetType = UNSET


class SessionList(Struct):
    """One page of sessions, newest first."""

    sessions: list[Session]
    next: str | None


class ToolFigures(Struct):
    """How often a tool was called, and how long until it was answered."""

    tool_name: str
    calls: int
    troubles: TroubleCounts
    p50_ms: Annotated[int, Meta(description="half the answers took no longer")] | None
    p95_ms: Annotated[int, Meta(description="19 of 20 answers took no longer")] | None


class Overview(Struct):
    """All sessions that are kept, ended ones too."""

    sessions: Annotated[TroubleCounts, Meta(description="sessions with such trouble")]
    tools: Annotated[list[ToolFigures], Meta(description="at most 200, most called first")]
    keep_ended_s: Annotated[float, Meta(description="how long ended sessions are kept")]


class Rendering(Struct):
    """That a screen has shown a record, or what of it could not be shown."""

    of_seq: int
    device_id: Annotated[str, Meta(description="of a paired phone")] | None
    at: int
    problem: Annotated[str, Meta(description="in words")] | None


class RecordList(Struct):
    """One page of records, oldest first; `next` is the `after` of the next page."""

    records: list[dict[str, Any]]
    first_seq: Annotated[int, Meta(description="the oldest record kept")] | None
    epoch: Annotated[str, Meta(description="of this log; a restored backup has another")]
    recovery: Annotated[
        Literal["replay", "snapshot"],
        Meta(description="`snapshot`: records after `after` are missing, or it was seen in another log"),
    ]
    next: int | None
    rendered: list[Rendering]


class Trail(Struct):
    """List joins, departures, drops and refusals, oldest first."""

    trail: list[dict[str, Any]]


# Pairing, tokens and people.


class PairRequest(Struct, kw_only=True):
    """A device asking to join: by the ticket of a link, a code, or the claim it waits with."""

    ticket: Annotated[str, Meta(description="the fragment of a pairing's link")] | None = None
    code: Annotated[str, Meta(description="nine digits; blanks and hyphens are fine")] | None = None
    claim: Annotated[str, Meta(description="of a 202, to ask again with")] | None = None
    device: Annotated[str, Meta(description="what the owner sees it as")] | None = None


class PairResponse(Struct):
    """A device that was let in."""

    token: str
    session_id: str
    device_id: str
    expires_at: Time
    is_asking: Annotated[bool, Meta(description="whether a question waits for an answer")]


class PairingRequest(Struct):
    """How long a link that is sent lives; without `ttl_s` it is drawn, and has a code."""

    ttl_s: TicketTtl | None = None


class Pairing(Struct):
    """A pairing: a link to draw and a code to speak, or a link to send and no code."""

    pairing_id: str
    url: str
    url_expires_at: Time
    code: str | None
    code_expires_at: Time | None
    code_url: str
    other_code_urls: list[str]
    lan_command: Annotated[
        str | None,
        Meta(
            description="to an admin, what starts the server so that phones reach it; null where"
            " they do, or where it was not started by a command"
        ),
    ]


class WaitingDevice(Struct):
    """A device that waits for the owner's approval; it shows the same `verification`."""

    pairing_id: str
    device: str
    verification: str
    expires_at: Time


class WaitingDeviceList(Struct):
    """Devices that wait for the owner's approval, the first to expire first."""

    requests: list[WaitingDevice]


class PairingDecision(Struct):
    """Whether the owner lets a device in."""

    allow: bool


class QrQuery(Struct, kw_only=True):
    """What a QR code says: a pairing's link, or the session's address for people already signed in."""

    pairing: str | None = None
    content: Literal["session"] | None = None


class Device(Struct):
    """A paired device."""

    device_id: str
    session_id: str
    device: str
    created_at: Time
    last_active_at: Time


class DeviceList(Struct):
    """Paired devices, newest first."""

    devices: list[Device]


class SessionTokenRequest(Struct, kw_only=True):
    """A token for one session; each renewal gives it `ttl_s` more, until `max_life_s` is over."""

    role: Role = "ui"
    ttl_s: SessionTokenTtl | None = None
    max_life_s: SessionTokenLife | None = None


class TokenRequest(Struct, kw_only=True):
    """A token for a person, a backend, an operator or a reader of metrics."""

    user: Name
    role: Literal["user", "service", "admin", "metrics"] = "user"
    ttl_s: TokenTtl | None = None


class IssuedToken(Struct):
    """A token; its text is told this once."""

    token: str
    id: str
    user: str
    role: str
    session_id: str | None
    expires_at: Time


class Token(Struct):
    """An issued token without its text."""

    id: str
    kind: str
    user: str
    session_id: str | None
    role: str | None
    issued_at: Time
    expires_at: Time


class TokenList(Struct):
    """Issued tokens that live, newest first."""

    tokens: list[Token]


class TokenQuery(Struct, kw_only=True):
    """The user whose tokens to list; everybody's if absent."""

    user: str | None = None


class RevocationQuery(Struct, kw_only=True):
    """Whether session tokens made by the revoked one stay valid."""

    keep_sessions: bool = False


class SignOutQuery(Struct):
    """The user to sign out everywhere."""

    user: Name


class SignInRequest(Struct):
    """The ticket of a sign-in link."""

    ticket: str


class SignInLink(Struct):
    """A link that signs in once, within ten minutes."""

    url: str
    ticket: str


class KeyRotation(Struct):
    """Whether older keys are dropped at once, which makes every token invalid."""

    compromise: bool = False


class KeyCount(Struct):
    """How many keys are accepted now."""

    keys: int


class UserExport(Struct):
    """Everything stored about a person."""

    user: str
    tokens: list[Token]
    devices: list[Device]
    sessions: list[dict[str, Any]]


# The server, and what it refuses.


class HealthStatus(Struct):
    """The state of the process."""

    status: str


class Problem(Struct):
    """RFC 9457 problem details, with our code."""

    type: str
    title: str
    status: int
    detail: str
    code: str
