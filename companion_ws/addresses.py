"""Which URL reaches this server, and whom it answers: hosts, origins, who counts as local."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Collection
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

from companion_ws.config import Config

SIOCGIFADDR: Final = 0x8915
PROBE: Final = ("192.0.2.1", 9)
"""An address of documentation: connecting a UDP socket to it sends nothing."""


def default_route_address() -> str | None:
    """Return this machine's address on the default route, None without one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(PROBE)
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if is_loopback(address) or address == "0.0.0.0" else address  # noqa: S104


def own_addresses() -> list[str]:
    """Return this machine's IPv4 addresses, loopback left out."""
    found = [*_interface_addresses(), *_name_addresses()]
    return [address for address in dict.fromkeys(found) if not is_loopback(address)]


def _interface_addresses() -> list[str]:
    """Ask the kernel for each interface's address; only Linux answers in this way."""
    if not sys.platform.startswith("linux"):
        return []
    import fcntl

    addresses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue  # An interface without an IPv4 address.
            addresses.append(socket.inet_ntoa(answer[20:24]))
    return addresses


def _name_addresses() -> list[str]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(entry[4][0]) for entry in found]


def own_names() -> frozenset[str]:
    """Return the names this machine calls itself, in small letters."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return frozenset({name, short, f"{short}.local"})


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine and nobody else.

    >>> [is_loopback(x) for x in ("localhost", "127.0.0.9", "::1", "10.0.0.1", "localhost.evil.com")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    ip = _ip(host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip is not None and ip.is_loopback


def host_name(host: str) -> str | None:
    """Return the name or address in a `Host` header in its one form, None if it is malformed.

    >>> [host_name(x) for x in ("LocalHost.:80", "[::1]:80", "a b", "", "evil@good", "127.0.0.1%.evil")]
    ['localhost', '::1', None, None, None, None]
    """
    if not host or any(
        not (c.isascii() and c.isprintable()) or c in " %/\\@?#,;'\"<>" for c in host
    ):
        return None
    try:
        split = urlsplit(f"//{host}")
        name, _ = split.hostname, split.port
    except ValueError:
        return None
    if not name:
        return None
    return name.removesuffix(".").lower() or None


class Addresses:
    """Answers where this server is, from settings and what start-up found out.

    `port` is the one really listened on, `tunnel_url` what the tunnel
    printed, `lan_command` the command that was run, changed so that phones reach the
    server; start-up sets them. Lookups of names and routes come in as
    arguments.

    Raises:
        ValueError: a `--trust-proxy` is no address or network.
    """

    def __init__(
        self,
        config: Config,
        *,
        route_address: Callable[[], str | None] = default_route_address,
        machine_addresses: Callable[[], list[str]] = own_addresses,
        machine_names: Callable[[], Collection[str]] = own_names,
    ) -> None:
        self._config = config
        self.port = config.port
        self._prefix = ""
        self.tunnel_url: str | None = None
        self.lan_command: str | None = None
        self._route_address = route_address
        self._machine_addresses = machine_addresses
        self._names = frozenset(machine_names())
        self._allowed_hosts = frozenset(
            name for name in map(host_name, config.allow_host) if name is not None
        )
        self._allowed_origins = frozenset(
            origin for origin in map(origin_of, config.allow_origin) if origin is not None
        )
        self._proxies = [ipaddress.ip_network(text, strict=False) for text in config.trust_proxy]

    # Where we are.

    def learn(self, port: int, prefix: str) -> None:
        """Take over where a request came in: an embedding program chose the port and the mount.

        What a person set, a tunnel said or a proxy hides is believed instead.
        """
        if self._config.public_url is None and not (self.tunnel_url or self.needs_admin_port):
            self.port, self._prefix = port, prefix

    @property
    def is_bound_to_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self._config.host)

    @property
    def scheme(self) -> str:
        """`https` when this server ends TLS itself, else `http`."""
        return "https" if self._config.tls_cert else "http"

    @property
    def local_url(self) -> str:
        """The URL that reaches us from this machine."""
        host = self._config.host
        return self._url("127.0.0.1" if _is_any(host) else host)

    @property
    def public_url(self) -> str:
        """The URL links and QR codes carry, without a slash at its end.

        `--public-url` as given, else the tunnel's, else the address of the
        default route if we listen there, else where we listen.
        """
        if self._config.public_url is not None:
            return self._config.public_url
        if self.tunnel_url is not None:
            return self.tunnel_url.rstrip("/")
        if _is_any(self._config.host):
            address = self._route_address()
            return self._url(address) if address else self.local_url
        return self.local_url

    @property
    def node_url(self) -> str:
        """The URL that other servers of the same database reach this one by, if nobody says another.

        The address of the default route if we listen there, else where we listen.
        """
        if _is_any(self._config.host):
            return self._url(self._route_address() or "127.0.0.1")
        return self._url(self._config.host)

    @property
    def alternative_urls(self) -> list[str]:
        """Further URLs that may reach us: this machine's other addresses, when we listen there."""
        if not _is_any(self._config.host):
            return []
        urls = dict.fromkeys(self._url(address) for address in self._machine_addresses())
        urls.pop(self.public_url, None)
        return list(urls)

    @property
    def is_reachable_by_phone(self) -> bool:
        """Whether the public URL can mean us to another device; a tunnel's was tried."""
        if self._config.public_url is None and self.tunnel_url is not None:
            return True
        return not is_loopback(urlsplit(self.public_url).hostname or "")

    def _url(self, host: str) -> str:
        shown = f"[{host}]" if ":" in host else host
        usual = 443 if self.scheme == "https" else 80
        port = "" if self.port == usual else f":{self.port}"
        return f"{self.scheme}://{shown}{port}{self._prefix}"

    # Whom we answer.

    @cached_property
    def needs_admin_port(self) -> bool:
        """Whether a proxy or tunnel may make every caller of the main port look local."""
        return self._config.is_proxied or (
            self._config.public_url is not None
            and not self._is_this_machine(urlsplit(self._config.public_url).hostname or "")
        )

    def _is_this_machine(self, host: str) -> bool:
        name = host.removesuffix(".").lower()
        if is_loopback(name) or name in self._names:
            return True
        return name in self._machine_addresses() or name == self._route_address()

    def answers_host(self, host: str) -> bool:
        """Return whether a `Host` header names us. Source: docs/protocol.md."""
        name = host_name(host)
        if name is None:
            return False
        if is_loopback(name) or name in self._allowed_hosts or name in self._url_hosts():
            return True
        if self.is_bound_to_loopback:
            return False
        return _ip(name) is not None or name in self._names

    def answers_origin(self, origin: str, scheme: str, host: str) -> bool:
        """Return whether a page of `origin` may talk to us at `scheme://host`.

        Its own page, the public URL's, or one of `--allow-origin`; compared
        whole, so that no look-alike passes, and never `null`.
        """
        asked = origin_of(origin)
        if asked is None:
            return False
        public = [self._config.public_url, self.tunnel_url]
        own = {origin_of(f"{scheme}://{host}"), *(origin_of(url) for url in public if url)}
        return asked in own or asked in self._allowed_origins

    def allows_cors(self, origin: str) -> bool:
        """Return whether `origin` is one of `--allow-origin`."""
        return origin_of(origin) in self._allowed_origins

    @property
    def embedders(self) -> list[str]:
        """Origins that may frame `/ui?embed=1`."""
        return sorted(self._allowed_origins)

    def trusts(self, peer: str) -> bool:
        """Return whether `peer` is a proxy whose forwarded addresses count."""
        ip = _ip(peer)
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return ip is not None and any(ip in network for network in self._proxies)

    def _url_hosts(self) -> set[str | None]:
        urls = (self._config.public_url, self.tunnel_url)
        named = {host_name(urlsplit(url).netloc) for url in urls if url}
        return named | {host_name(self._config.host)}


def origin_of(text: str) -> str | None:
    """Return `scheme://host[:port]` of an origin or URL in its one form, None for `null` and worse.

    >>> [origin_of(x) for x in ("HTTP://A.b:80/x", "https://a.b:8443", "null", "http://a:b")]
    ['http://a.b', 'https://a.b:8443', None, None]
    """
    try:
        split = urlsplit(text)
        name, port = split.hostname, split.port
    except ValueError:
        return None
    if split.scheme not in ("http", "https") or not name or split.username is not None:
        return None
    shown = f"[{name}]" if ":" in name else name.lower()
    if port is None or port == (443 if split.scheme == "https" else 80):
        return f"{split.scheme}://{shown}"
    return f"{split.scheme}://{shown}:{port}"


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - the names of "all interfaces"


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)  # only IPv6 has a zone after a percent sign
    except ValueError:
        return None
