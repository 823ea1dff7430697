"""Settings: one frozen value, read once; each field is a flag and a COMPANION_* variable."""

from __future__ import annotations

import ipaddress
import math
import re
import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from yarl import URL

MAX_DURATION_S: Final = 36_525 * 86_400.0
"""A hundred years; what is longer is a slip, and beyond what times on the wire can say."""
_HOST: Final = r"(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)"
_AUTHORITY: Final = rf"{_HOST}(?::(?P<port>\d{{1,5}}))?"
_HOST_NAME: Final = re.compile(_AUTHORITY, re.IGNORECASE)
_ORIGIN: Final = re.compile(rf"https?://{_AUTHORITY}/?", re.IGNORECASE)
_PUBLIC_URL: Final = re.compile(rf"https?://{_AUTHORITY}(?:/[^?#\s]*)?", re.IGNORECASE)
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_DATABASE_SCHEMES: Final = ("postgresql://", "postgres://")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def duration_s(text: str | float) -> float:
    """Return seconds for `90`, `90s`, `15m`, `1h`, `30d` or `500ms`.

    Raises:
        ValueError: for anything else, and for more than a hundred years.

    >>> [duration_s(x) for x in ("1h", "90", "500ms", 2)]
    [3600.0, 90.0, 0.5, 2.0]
    """
    if isinstance(text, int | float):
        seconds = float(text)
    else:
        match = _DURATION.fullmatch(text.strip())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else math.nan
    if not 0 <= seconds <= MAX_DURATION_S:  # not a number is neither
        raise ValueError(f"{text!r} is not a valid duration; use for example 90s, 15m, 1h or 30d")
    return seconds


def public_url_of(text: str, what: str = "public URL") -> str:
    """Return the URL phones, or other servers, are given, without a slash at its end; a path before it may stay.

    Raises:
        ValueError: it has no scheme or another than http and https, no host, or a query or
            a fragment, to which no path can be added.

    >>> public_url_of("https://shop.example/companion/")
    'https://shop.example/companion'
    >>> public_url_of("https://bücher.example")
    'https://xn--bcher-kva.example'
    """
    text = in_ascii(text)
    if not _matches(_PUBLIC_URL, text):
        raise ValueError(
            f"{text!r} is not a valid {what}; use for example https://companion.example.org,"
            " without ? and #"
        )
    return text.rstrip("/")


def in_ascii(text: str) -> str:
    """Return a URL or host with its name as networks know it: `bücher.example` in punycode.

    What is no name of that kind comes back as it was.
    """
    scheme, separator, rest = text.rpartition("://")
    name = re.split(r"[/?#:@]", rest, maxsplit=1)[0]
    if name.isascii():
        return text
    try:
        raw = URL.build(scheme="http", host=name).raw_host or name
    except ValueError:
        return text
    return f"{scheme}{separator}{raw}{rest[len(name) :]}"


def _matches(form: re.Pattern[str], text: str) -> bool:
    match = form.fullmatch(text)
    return match is not None and int(match["port"] or 0) <= 65_535


def _setting(default: Any, text: str, *, flag: str | None = None) -> Any:
    return field(default=default, metadata={"help": text, "flag": flag})


def has_password(url: str) -> bool:
    """Whether the URL of a database holds a password.

    >>> has_password("postgresql://me@host/name"), has_password("postgresql://me:pw@host/name")
    (False, True)
    """
    return bool(re.search(r"//[^/?#@]*:[^/?#]*@|[?&]\w*password=", url, re.IGNORECASE))


def _secret(text: str, default: str | None = None) -> Any:
    """A setting that is never a flag: process lists are public."""
    return field(default=default, repr=False, metadata={"help": text, "secret": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a server can be told. Source: docs/operations.md.

    Raises:
        ValueError: a value makes no sense; the sentence says which and what would.
    """

    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8000, "Port to listen on.")
    lan: bool = _setting(False, "Listen on all interfaces; links carry this machine's address.")
    public_url: str | None = _setting(
        None, "The URL phones reach this server by; believed as given."
    )
    data: Path = _setting(Path("data"), "Folder of database and key.")
    database: str | None = field(
        default=None,
        repr=False,
        metadata={
            "help": "Database of PostgreSQL, as postgresql://host/name, instead of a file in the data"
            " folder. A password is never part of the flag."
        },
    )
    node_url: str | None = _setting(
        None, "URL at which other servers of the same PostgreSQL reach this one."
    )
    tools: str | None = _setting(
        None, "Python module with server tools, or its file: my_shop.tools, ./my_tools.py."
    )
    allow_origin: tuple[str, ...] = _setting(
        (), "Origin whose pages may use /ws and the API and embed /ui?embed=1; repeatable."
    )
    allow_host: tuple[str, ...] = _setting((), "Further host name to answer to; repeatable.")
    trust_proxy: tuple[str, ...] = _setting(
        (), "Address or network of a proxy that says who asks; repeatable."
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded", "none"] = _setting(
        "x-forwarded-for", "Header in which --trust-proxy says who asks; any other is ignored."
    )
    admin_port: int = _setting(
        8001, "Loopback port of the admin routes when a proxy or tunnel serves the main one."
    )
    log_format: Literal["text", "json"] = _setting("text", "How log lines look.")
    session_ttl: float | str = _setting(
        "1h", "A session expires this long after its last activity: a duration."
    )
    keep_ended: float | str = _setting(
        "24h", "Keep ended sessions readable for inspector and export this long: a duration."
    )
    durability: Literal["power", "process"] = _setting(
        "power",
        "What an acknowledgement survives: the loss of power, or only the loss of the process.",
    )
    pairing: Literal["open", "confirm"] = _setting(
        "open", "Whether the owner must allow each device that pairs."
    )
    transcripts: bool = _setting(
        True, "Pass transcripts on without recording them.", flag="--no-transcripts"
    )
    images: Literal["fetch", "off"] | None = _setting(
        None,
        "Whether pictures that cards name by address are fetched and shown."
        " Default: fetch with --public-url, else off.",
    )
    reload: bool = _setting(False, "Restart when a Python file changes (development).")
    tls_cert: Path | None = _setting(None, "Certificate chain (PEM); needs --tls-key.")
    tls_key: Path | None = _setting(None, "Private key of the certificate (PEM).")
    tunnel: str | None = _setting(
        None, 'Command that opens a tunnel to {url}, for example "cloudflared tunnel --url {url}".'
    )

    send_link: str | None = _setting(
        None,
        "Command that texts {url} to {number}, the caller of a telephone call, for companion_pair.",
    )

    traces_to: str | None = _setting(
        None,
        "Collector that spans are sent to, by OTLP over HTTP: http://127.0.0.1:4318."
        " Needs companion-ws[otel].",
    )

    brand_accent: str | None = _setting(None, "Accent colour of the pages, as #rrggbb.")
    brand_radius: int | None = _setting(None, "Corner radius of the pages' cards in px.")
    brand_font: str | None = _setting(None, "Font of the pages, a CSS list of families.")
    brand_logo: Path | None = _setting(None, "Logo of the pages, a PNG, SVG or WebP file.")

    limit_message_bytes: int = _setting(65_536, "Bytes of a WebSocket message or HTTP body.")
    limit_messages_per_s: float = _setting(50, "Messages per second of a connection.")
    limit_burst: int = _setting(100, "Messages a connection may send at once.")
    limit_connections_per_session: int = _setting(16, "Connections of a session.")
    limit_connections_per_user: int = _setting(32, "Connections of a user.")
    limit_sessions_per_user: int = _setting(50, "Sessions of a user.")
    limit_state_bytes: int = _setting(
        256 * 1024, "Bytes of a session's state, keys and values as compact JSON."
    )
    limit_value_bytes: int = _setting(32 * 1024, "Bytes of one state value as compact JSON.")
    limit_state_keys: int = _setting(1024, "Keys of a session's state.")
    limit_records: int = _setting(1000, "Records a session's log keeps.")
    limit_log_bytes: int = _setting(
        8 * 1024 * 1024, "Bytes a session's log keeps, with what repeats are answered from."
    )
    limit_calls: int = _setting(1000, "Telephone calls at once.")
    limit_open_calls: int = _setting(64, "Open tool calls of a session.")
    limit_open_calls_bytes: int = _setting(256 * 1024, "Bytes of a session's open tool calls.")
    limit_outbox_bytes: int = _setting(512 * 1024, "Unsent bytes of a connection.")

    secret_key: str | None = _secret("Signing key instead of data/secret.key; 32 bytes or more.")
    elevenlabs_api_key: str | None = _secret("API key, for signed URLs.")
    elevenlabs_agent_id: str | None = _secret("Agent for signed URLs.")
    elevenlabs_tool_secret: str | None = _secret("Secret that webhook tools send.")
    elevenlabs_webhook_secret: str | None = _secret("Secret of post-call signatures.")
    elevenlabs_base_url: str = _secret("Where the ElevenLabs API is.", "https://api.elevenlabs.io")
    elevenlabs_user: str = _secret("Owner of phone sessions.", "phone")
    vapi_secret: str | None = _secret("Secret that Vapi sends, or signs with.")
    retell_api_key: str | None = _secret("API key that Retell signs with.")

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", Path(self.data))
        for name in ("session_ttl", "keep_ended"):
            object.__setattr__(self, name, duration_s(getattr(self, name)))
        if self.public_url is not None:
            object.__setattr__(self, "public_url", public_url_of(self.public_url))
        if self.node_url is not None:
            object.__setattr__(self, "node_url", public_url_of(self.node_url, "URL of a server"))
        for name in ("allow_origin", "allow_host"):
            object.__setattr__(self, name, tuple(map(in_ascii, getattr(self, name))))
        self._check()
        if self.lan and self.host == "127.0.0.1":
            object.__setattr__(self, "host", "0.0.0.0")  # noqa: S104 - what --lan asks for

    def _check(self) -> None:
        """Refuse what would be believed at first and help nobody later."""
        if self.session_ttl_s < 0.001:
            raise ValueError(
                "A session_ttl of 0 ends every session at once; use for example 15m, 1h or 30d"
            )
        for origin in self.allow_origin:
            if not _matches(_ORIGIN, origin):
                raise ValueError(
                    f"{origin!r} is not a valid origin; give only scheme, host and port, for example"
                    " https://shop.example"
                )
        if self.database is not None and not self.database.startswith(_DATABASE_SCHEMES):
            # What was given may hold a password, so it is not repeated.
            raise ValueError(
                "The database is not a URL of PostgreSQL; use for example"
                " postgresql://db.example/companion"
            )
        for host in self.allow_host:
            if not _matches(_HOST_NAME, host):
                raise ValueError(f"{host!r} is not a valid host name; use for example shop.example")
        if self.send_link is not None:
            _check_send_link(self.send_link)
        if self.traces_to is not None and not _matches(_PUBLIC_URL, self.traces_to):
            # What was given may hold a password, so it is not repeated.
            raise ValueError(
                "The address for traces is not a valid URL; use for example http://127.0.0.1:4318,"
                " and OTEL_EXPORTER_OTLP_HEADERS for what only the collector may know"
            )
        for address in self.trust_proxy:
            ipaddress.ip_network(address, strict=False)
        for setting in fields(self):
            limit = getattr(self, setting.name)
            if setting.name.startswith("limit_") and not 0 <= limit < math.inf:
                raise ValueError(f"{setting.name} is {limit}; it must be 0 (no limit) or more")

    @property
    def session_ttl_s(self) -> float:
        return float(self.session_ttl)

    @property
    def keep_ended_s(self) -> float:
        return float(self.keep_ended)

    @property
    def fetches_images(self) -> bool:
        """Whether pictures are fetched; by default where this server is one of the internet."""
        return (self.images or ("off" if self.public_url is None else "fetch")) == "fetch"

    @property
    def rated_messages_per_s(self) -> float:
        """The rate of messages, 0 for none: a burst without a limit is no limit at all."""
        return self.limit_messages_per_s if self.limit_burst else 0

    @property
    def database_path(self) -> Path:
        return self.data / "companion.db"

    @property
    def is_proxied(self) -> bool:
        """Whether a proxy or tunnel makes every caller look local. Source: docs/http.md."""
        return bool(self.trust_proxy or self.tunnel)


def _check_send_link(command: str) -> None:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"{command!r} is not a command: {error}") from None
    rest = " ".join(words[1:])
    if "{number}" not in rest or "{url}" not in rest:
        raise ValueError(
            f"{command!r} does not send a link; write a command with {{number}} and {{url}}, for"
            " example: send-sms {number} {url}"
        )
