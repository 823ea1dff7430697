"""Bodies, queries and answers of the routes about who may: the types that validate and describe.

Times are milliseconds since 1970 (UTC), lifetimes seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from companion_ws.web.api.shapes import Role, Time

TicketTtl = Annotated[float, Meta(ge=1, le=900, description="seconds; 60 where absent")]
SessionTokenTtl = Annotated[
    float, Meta(ge=1, le=30 * 86400, description="seconds; 3600 where absent")
]
SessionTokenLife = Annotated[
    float, Meta(ge=1, le=30 * 86400, description="seconds; 12 hours where absent")
]
TokenTtl = Annotated[float, Meta(ge=1, le=366 * 86400, description="seconds; 30 days where absent")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Entering(Struct, kw_only=True):
    """A device that wants in: by the ticket of a link, a code, or the claim it waits with."""

    ticket: Annotated[str, Meta(description="the fragment of a pairing's link")] | None = None
    code: Annotated[str, Meta(description="nine digits; blanks and hyphens are fine")] | None = None
    claim: Annotated[str, Meta(description="of a 202, to ask again with")] | None = None
    device: Annotated[str, Meta(description="what the owner sees it as")] | None = None


class Entered(Struct):
    """A device that got in."""

    token: str
    session_id: str
    device_id: str
    expires_at: Time


class PairingWish(Struct):
    """How long a link that is sent lives; without `ttl_s` it is drawn, and has a code."""

    ttl_s: TicketTtl | None = None


class PairingShown(Struct):
    """A pairing: a link to draw and a code to speak, or a link to send and no code."""

    pairing_id: str
    url: str
    url_expires_at: Time
    code: str | None
    code_expires_at: Time | None
    code_url: str
    other_code_urls: list[str]


class WaitingDevice(Struct):
    """A device that waits for the owner's yes; it shows the same `verification`."""

    pairing_id: str
    device: str
    verification: str
    expires_at: Time


class WaitingDevices(Struct):
    """Devices that wait for the owner's yes, soonest over first."""

    requests: list[WaitingDevice]


class Verdict(Struct):
    """The owner's yes or no."""

    allow: bool


class Drawing(Struct, kw_only=True):
    """What a QR code says: a pairing's link, or where the session is for who is signed in."""

    pairing: str | None = None
    content: Literal["session"] | None = None


class DeviceShown(Struct):
    """A paired device."""

    device_id: str
    session_id: str
    device: str
    created_at: Time
    last_active_at: Time


class DeviceList(Struct):
    """Paired devices, newest first."""

    devices: list[DeviceShown]


class SessionTokenWish(Struct, kw_only=True):
    """A token for one session; each renewal gives it `ttl_s` more, until `max_life_s` is over."""

    role: Role = "ui"
    ttl_s: SessionTokenTtl | None = None
    max_life_s: SessionTokenLife | None = None


class TokenWish(Struct, kw_only=True):
    """A token for a person, a backend, an operator or who reads the figures."""

    user: Name
    role: Literal["user", "service", "admin", "metrics"] = "user"
    ttl_s: TokenTtl | None = None


class TokenIssued(Struct):
    """A token; its text is told this once."""

    token: str
    id: str
    user: str
    role: str
    session_id: str | None
    expires_at: Time


class TokenShown(Struct):
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

    tokens: list[TokenShown]


class WhoseTokens(Struct, kw_only=True):
    """Whose tokens to list; nobody named: everybody's."""

    user: str | None = None


class Revoking(Struct, kw_only=True):
    """Whether the session tokens it made live on."""

    keep_sessions: bool = False


class SigningOut(Struct):
    """Who is signed out everywhere."""

    user: Name


class SignIn(Struct):
    """The ticket of a sign-in link."""

    ticket: str


class SignInLink(Struct):
    """A link that signs in once, within ten minutes."""

    url: str
    ticket: str


class Rotation(Struct):
    """Whether older keys are dropped at once, and everybody's tokens with them."""

    compromise: bool = False


class KeysKept(Struct):
    """How many keys verify now."""

    keys: int


class Export(Struct):
    """Everything stored of a person."""

    user: str
    tokens: list[TokenShown]
    devices: list[DeviceShown]
    sessions: list[dict[str, Any]]
