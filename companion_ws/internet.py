"""Fetches a file from the internet for somebody who is not to be trusted with this machine's place in it.

An agent names an address, and this machine asks it: without care, whoever writes to a session could
ask what only this machine can reach (SSRF). The care, in the order it is taken:

1. Only http and https, only ports 80 and 443, no name or password in the address.
2. The name is resolved here, once. Every address it has must be a public one (`is_public`); one
   that is not refuses all of them, since only a trap has both.
3. The connection goes to an address that was checked, written as a number. Nothing resolves the
   name a second time, so a name server that answers differently the next time gains nothing.
   The certificate is still checked against the name.
4. A redirect is not followed but begun again with 1, three times at most.
5. Five seconds for all of it, from the first question to the last byte. Bodies end at 2 MiB,
   headers at 16 KiB; what is compressed in transit is refused, not unpacked.
6. No cookies, no referrer, no credentials, no proxy of the environment; every request looks the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

FETCH_S: Final = 5.0
"""From the first question to a name server to the last byte of the body, redirects included."""
MAX_BYTES: Final = 2 * 1024 * 1024
MAX_REDIRECTS: Final = 3
MAX_TRIED: Final = 3
"""Addresses of a name that are tried: the first may be of a network this machine is not in."""
PORTS: Final = frozenset({80, 443})
HEADERS: Final = {
    "User-Agent": "companion-ws (pictures)",
    "Accept": "image/png, image/jpeg, image/webp, image/gif",
    "Accept-Encoding": "identity",
}
MAX_HEADER_BYTES: Final = 4096
MAX_HEADERS: Final = 64
CHUNK_BYTES: Final = 64 * 1024
MAX_ASKING: Final = 8
"""Questions to name servers at once, those included that nobody waits for any more."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SPECIAL: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # private
            "100.64.0.0/10",  # shared by a provider's customers (CGNAT)
            "127.0.0.0/8",  # this machine
            "169.254.0.0/16",  # link-local, and what clouds tell their machines
            "192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # protocols, examples
            "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24",  # anycast of the network itself
            "192.88.99.0/24",  # relays of 6to4
            "198.18.0.0/15",  # measurements
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)  # fmt: skip
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
"""All that has been given out. What wraps another address (v4-mapped, NAT64) lies outside."""
_SPECIAL_6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocols: Teredo, ORCHID, measurements
            "2001:db8::/32", "3fff::/20",  # examples
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # anycast of the network itself
        ),
    )
)  # fmt: skip


class NotFetched(Exception):
    """A file could not be had; the message says why, for whoever named it."""


def is_public(address: Address) -> bool:
    """Whether an address belongs to the internet, and to nobody's own network.

    >>> is_public(ipaddress.ip_address("93.184.215.14")), is_public(ipaddress.ip_address("::1"))
    (True, False)
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL)
    return (
        address.scope_id is None
        and address in _GLOBAL
        and not any(address in network for network in _SPECIAL_6)
    )


class Resolver:
    """Asks this machine's resolver, in threads that nobody waits for.

    A name server may take half a minute, and a thread that asks it cannot be called back. The
    threads everybody shares would soon all be waiting, and so would a stop.
    """

    def __init__(self) -> None:
        self._asking = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a name as they are now.

        Raises:
            OSError: it has none, or too many questions wait for an answer.
        """
        if self._asking >= MAX_ASKING:
            raise OSError("Too many names are being resolved.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def settle(found: list[str] | OSError) -> None:
            self._asking -= 1
            if answer.done():
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def ask() -> None:
            try:
                found: list[str] | OSError = _addresses_of(host, port)
            except (OSError, UnicodeError) as error:
                found = OSError(str(error))
            with contextlib.suppress(RuntimeError):  # The loop may be gone by then.
                loop.call_soon_threadsafe(settle, found)

        self._asking += 1
        threading.Thread(target=ask, name="resolve", daemon=True).start()
        return await answer


def _addresses_of(host: str, port: int) -> list[str]:
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


@dataclass(frozen=True, slots=True)
class Internet:
    """How names become addresses, and how an address that was checked is reached.

    Tests give other ways: nothing that can be configured opens an address that is not public.
    """

    resolve: Callable[[str, int], Awaitable[list[str]]] = field(
        default_factory=lambda: Resolver().resolve
    )
    reach: Callable[[Address, int], tuple[str, int]] = lambda address, port: (str(address), port)
    tls: Callable[[], ssl.SSLContext] = field(
        default_factory=lambda: functools.cache(ssl.create_default_context)
    )

    async def fetch(self, url: str) -> bytes:
        """Return the body that an address leads to.

        Raises:
            NotFetched: it may not be asked, did not answer in time, or not with a file.
        """
        try:
            async with asyncio.timeout(FETCH_S):
                return await self._fetch(url)
        except TimeoutError:
            raise NotFetched(f"It did not come within {FETCH_S:g} seconds.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Not why: that would tell a stranger of the network this machine is in.
            raise NotFetched("Its server cannot be reached, or gives no proper answer.") from error

    async def _fetch(self, url: str) -> bytes:
        connector = aiohttp.TCPConnector(
            use_dns_cache=False, force_close=True, ssl=self.tls(), limit=MAX_TRIED
        )
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
            trust_env=False, timeout=aiohttp.ClientTimeout(total=FETCH_S),
            max_line_size=MAX_HEADER_BYTES, max_field_size=MAX_HEADER_BYTES, max_headers=MAX_HEADERS,
        ) as http:  # fmt: skip
            target = _checked_url(url)
            for _ in range(MAX_REDIRECTS + 1):
                answer = await self._ask(http, target)
                if isinstance(answer, bytes):
                    return answer
                target = answer
        raise NotFetched(f"It leads on to another address more than {MAX_REDIRECTS} times.")

    async def _ask(self, http: aiohttp.ClientSession, url: URL) -> bytes | URL:
        """Return a body, or where it leads on to."""
        host, port = _host_of(url), url.port or 0
        addresses = await self._addresses(host, port)
        trouble: Exception | None = None
        for address in addresses[:MAX_TRIED]:
            to_host, to_port = self.reach(address, port)
            # The address itself stands where the name was: there is nothing left to resolve.
            direct = url.with_host(to_host).with_port(to_port).with_fragment(None)
            try:
                async with http.get(
                    direct,
                    headers={**HEADERS, "Host": _authority_of(url)},
                    server_hostname=host if url.scheme == "https" else None,
                    allow_redirects=False,
                ) as response:
                    return await _read(response, url)
            except aiohttp.ClientConnectorError as error:
                trouble = error
        raise trouble or OSError("The name has no address.")

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            texts = [str(ipaddress.ip_address(host))]
        except ValueError:
            texts = await self.resolve(host, port)
        addresses = [ipaddress.ip_address(text) for text in texts]
        if not addresses or not all(map(is_public, addresses)):
            raise NotFetched("Its address is not a public one.")
        return addresses


async def _read(response: aiohttp.ClientResponse, url: URL) -> bytes | URL:
    if response.status in (301, 302, 303, 307, 308):
        return _checked_url(response.headers.get("Location", ""), url)
    if response.status != 200:
        raise NotFetched(f"Its server answers {response.status}.")
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise NotFetched("It comes compressed.")
    if (response.content_length or 0) > MAX_BYTES:
        raise NotFetched(_TOO_LARGE)
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BYTES:
            raise NotFetched(_TOO_LARGE)
    return bytes(body)


_TOO_LARGE: Final = f"It is larger than {MAX_BYTES // 1024 // 1024} MiB."


def _checked_url(text: str, base: URL | None = None) -> URL:
    """Return an address that may be asked, a relative one taken from `base`.

    Raises:
        NotFetched: it may not.
    """
    try:
        url = URL(text)
        if base is not None:
            url = base.join(url)
        port = url.port
    except ValueError:
        raise NotFetched("Its address is not a valid one.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise NotFetched("Its address is not one of http or https.")
    if port not in PORTS:
        raise NotFetched("Its address has another port than 80 and 443.")
    if url.user is not None or url.password is not None:
        raise NotFetched("Its address has a name or password in it.")
    return url


def _host_of(url: URL) -> str:
    """Return the name to resolve; a dot at its end is the same name."""
    return (url.raw_host or "").rstrip(".")


def _authority_of(url: URL) -> str:
    """Return what the `Host` header says: the port only where it is not the scheme's."""
    host = _host_of(url)
    host = f"[{host}]" if ":" in host else host
    return host if url.is_default_port() else f"{host}:{url.port}"
