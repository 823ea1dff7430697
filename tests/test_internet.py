"""What an address that somebody else wrote can make this machine ask, and what it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from companion_ws import internet
from companion_ws.internet import MAX_BYTES, Address, Internet, NotFetched, Resolver, is_public

PUBLIC = "93.184.215.14"
OTHER = "203.0.114.9"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

NOT_PUBLIC = ["0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:93.184.215.14", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::93.184.215.14", "64:ff9b:1::a00:1", "100::1", "100:0:0:1::1", "2001::1", "2001:0:53aa:64c:0:0:8000:0", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:5db8:d70e::", "2620:4f:8000::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "2606:2800::1%eth0", "fec0::1", "ff02::1", "ff0e::1"]


@pytest.mark.parametrize("text", NOT_PUBLIC)
async def test_no_address_of_anybodys_own_network_is_asked(text: str) -> None:
    asked: list[Address] = []
    net = Internet(resolve=answering(text), reach=lambda address, port: _note(asked, address))

    assert not is_public(ipaddress.ip_address(text))
    # As the answer of a name server, and where it can be written so as a number in the address.
    with pytest.raises(NotFetched, match="public"):
        await net.fetch("http://pictures.example/a.png")
    shown = f"[{text.replace('%', '%25')}]" if ":" in text else text
    with pytest.raises(NotFetched):
        await net.fetch(f"http://{shown}/a.png")
    assert asked == []


@pytest.mark.parametrize("text", [PUBLIC, "1.1.1.1", "100.128.0.1", "172.32.0.1", PUBLIC_6])
def test_addresses_of_the_internet_may_be_asked(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "http://0x7f000001/", "http://2130706433/", "http://127.1/", "http://0177.0.0.1/",
        "http://localhost/", "http://①②⑦.⓪.⓪.①/", "http://127.0.0.1./",
    ],
)  # fmt: skip
async def test_no_other_way_of_writing_this_machine_is_asked(url: str) -> None:
    asked: list[Address] = []
    net = Internet(reach=lambda address, port: _note(asked, address))  # this machine's own resolver

    with pytest.raises(NotFetched):
        await net.fetch(url)
    assert asked == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://pictures.example/a", "file:///etc/passwd", "gopher://pictures.example/", "//pictures.example/a",
        "/a.png", "", "http:///a", "http://pictures.example:8080/", "http://pictures.example:0/",
        "https://pictures.example:22/", "http://pictures.example:99999/", "http://a:b@pictures.example/",
        "http://a@pictures.example/", "http://pictures.example\\@127.0.0.1/", "http://[::1/",
        "http://exa mple/", "data:image/png;base64,AAAA", "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_no_other_scheme_port_or_credential_is_taken(url: str) -> None:
    asked: list[Address] = []
    net = Internet(resolve=failing, reach=lambda address, port: _note(asked, address))

    with pytest.raises(NotFetched):
        await net.fetch(url)
    assert asked == []


async def test_a_file_is_fetched_from_the_address_that_was_checked() -> None:
    async with site(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as at:
        assert await at.net.fetch("http://Pictures.example/a%20b.png?x=1#part") == b"hello"

    assert at.asked == [(PUBLIC, 80)]
    [head] = at.heads
    lines = head.split("\r\n")
    assert lines[0] == "GET /a%20b.png?x=1 HTTP/1.1"
    assert "Host: pictures.example" in lines
    assert "User-Agent: companion-ws (pictures)" in lines
    assert not any(line.lower().startswith(("cookie", "referer", "authorization")) for line in lines)


async def test_a_name_is_resolved_once_whatever_it_would_be_later() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    async with site(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", rebinding) as at:
        assert await at.net.fetch("http://pictures.example/") == b"ok"
        with pytest.raises(NotFetched, match="public"):
            await at.net.fetch("http://pictures.example/")

    assert at.asked == [(PUBLIC, 80)]


async def test_one_private_address_among_public_ones_refuses_them_all() -> None:
    async with site(b"", answering(PUBLIC, "10.0.0.1")) as at:
        with pytest.raises(NotFetched, match="public"):
            await at.net.fetch("http://pictures.example/")
    assert at.asked == []


async def test_the_next_address_is_tried_where_the_first_is_away() -> None:
    async with site(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", answering(PUBLIC_6, PUBLIC)) as at:
        at.away.add(PUBLIC_6)
        assert await at.net.fetch("http://pictures.example/") == b"ok"
    assert [address for address, _ in at.asked] == [PUBLIC_6, PUBLIC]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/a", "http://[::1]/a", "http://169.254.169.254/latest/meta-data", "http://inside.example/",
        "ftp://pictures.example/", "file:///etc/passwd", "http://pictures.example:6379/", "//10.0.0.1/a",
        "http://u:p@pictures.example/", "http://[::ffff:10.0.0.1]/", "", "http://2002:7f00:1::/",
    ],
)  # fmt: skip
async def test_a_redirect_is_checked_as_the_first_address_was(location: str) -> None:
    async def names(host: str, port: int) -> list[str]:
        return ["10.0.0.7"] if host == "inside.example" else [PUBLIC]

    async with site(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode(), names) as at:
        with pytest.raises(NotFetched):
            await at.net.fetch("http://pictures.example/")
    assert {address for address, _ in at.asked} == {PUBLIC}


async def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    def hops(count: int) -> Callable[[str], bytes]:
        def answer(head: str) -> bytes:
            step = int(head.split(" ")[1].strip("/") or 0)
            if step == count:
                return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            return f"HTTP/1.1 307 On\r\nLocation: /{step + 1}\r\n\r\n".encode()

        return answer

    async with site(hops(3)) as at:
        assert await at.net.fetch("http://pictures.example/0") == b"ok"
    async with site(hops(4)) as at:
        with pytest.raises(NotFetched, match="more than 3 times"):
            await at.net.fetch("http://pictures.example/0")
    assert len(at.heads) == 4


async def test_a_file_at_the_limit_is_fetched_and_one_byte_more_is_not() -> None:
    for more, is_declared in ((0, True), (1, True), (0, False), (1, False)):
        body = b"x" * (MAX_BYTES + more)
        length = b"Content-Length: %d\r\n" % len(body) if is_declared else b""
        async with site(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + body) as at:
            if more:
                with pytest.raises(NotFetched, match="2 MiB"):
                    await at.net.fetch("http://pictures.example/")
            else:
                assert len(await at.net.fetch("http://pictures.example/")) == MAX_BYTES


async def test_a_body_without_an_end_ends_at_the_limit() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
            await writer.drain()

    async with site(endless) as at:
        with pytest.raises(NotFetched, match="2 MiB"):
            await at.net.fetch("http://pictures.example/")


async def test_a_server_that_drips_is_left_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internet, "FETCH_S", 0.3)

    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for at in range(10_000):
            writer.write(b"X-%d: drip\r\n" % at)
            await writer.drain()
            await asyncio.sleep(0.02)

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    for answer in (dripping, early, silent):
        async with site(answer) as at:
            with pytest.raises(NotFetched):
                await at.net.fetch("http://pictures.example/")


async def test_a_name_server_that_never_answers_is_left_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internet, "FETCH_S", 0.1)

    async def never(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(NotFetched, match="within"):
        await Internet(resolve=never).fetch("http://pictures.example/")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut off",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nxx",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x01\x02",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 10_000_000),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nxx",
    ],
)
async def test_what_is_no_plain_file_is_refused(answer: bytes) -> None:
    async with site(answer) as at:
        with pytest.raises(NotFetched):
            await at.net.fetch("http://pictures.example/")


async def test_what_is_compressed_under_no_name_is_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with site(head + packed) as at:
        assert await at.net.fetch("http://pictures.example/") == packed


async def test_a_refusal_does_not_tell_what_the_network_said() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError("connect to 10.0.0.1 refused")

    with pytest.raises(NotFetched) as refused:
        await Internet(resolve=nowhere).fetch("http://pictures.example/")
    assert "10.0.0.1" not in str(refused.value)


async def test_a_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=pictures.example",
         "-addext", "subjectAltName=DNS:pictures.example"],
        check=True, capture_output=True,
    )  # fmt: skip
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async with site(ok, serving=serving, trusting=trusting) as at:
        assert await at.net.fetch("https://pictures.example/") == b"ok"
        with pytest.raises(NotFetched):
            await at.net.fetch("https://other.example/")
        assert {port for _, port in at.asked} == {443}
    async with site(ok, serving=serving) as at:
        with pytest.raises(NotFetched):
            await at.net.fetch("https://pictures.example/")


async def test_names_that_nobody_resolves_hold_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(host: str, port: int) -> list[str]:
        asyncio.run_coroutine_threadsafe(hold.wait(), loop).result()
        return [PUBLIC]

    monkeypatch.setattr(internet, "_addresses_of", slow)
    resolver = Resolver()
    asking = [asyncio.create_task(resolver.resolve("a.example", 80)) for _ in range(internet.MAX_ASKING)]
    await asyncio.sleep(0)

    with pytest.raises(OSError, match="Too many"):
        await resolver.resolve("b.example", 80)
    hold.set()
    assert await asyncio.gather(*asking) == [[PUBLIC]] * internet.MAX_ASKING
    assert await resolver.resolve("b.example", 80) == [PUBLIC]


# A site of the internet, on this machine.

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Site:
    """What was asked of a site, and a way to it that leads to a port of this machine."""

    def __init__(self, net: Internet) -> None:
        self.net = net
        self.asked: list[tuple[str, int]] = []
        self.heads: list[str] = []
        self.away: set[str] = set()


@contextlib.asynccontextmanager
async def site(
    answer: bytes | Callable[[str], bytes] | Serve,
    names: Callable[[str, int], Awaitable[list[str]]] | None = None,
    *,
    serving: ssl.SSLContext | None = None,
    trusting: ssl.SSLContext | None = None,
) -> AsyncIterator[Site]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving_now[asyncio.current_task()] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            at.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if asyncio.iscoroutinefunction(answer):
                await answer(reader, writer)
            else:
                writer.write(answer if isinstance(answer, bytes) else answer(at.heads[-1]))  # type: ignore[operator, arg-type]
                await writer.drain()
        writer.close()

    serving_now: dict[Any, asyncio.StreamWriter] = {}
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]

    def reach(address: Address, asked_port: int) -> tuple[str, int]:
        at.asked.append((str(address), asked_port))
        return ("127.0.0.1", 1 if str(address) in at.away else port)

    tls = (lambda: trusting) if trusting is not None else ssl.create_default_context
    at = Site(Internet(names or answering(PUBLIC), reach, tls))
    try:
        yield at
    finally:
        server.close()
        for task, writer in serving_now.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*serving_now, return_exceptions=True)


def answering(*addresses: str) -> Callable[[str, int], Awaitable[list[str]]]:
    async def resolve(host: str, port: int) -> list[str]:
        return [*addresses]

    return resolve


async def failing(host: str, port: int) -> list[str]:
    raise OSError("no such name")


def _note(asked: list[Address], address: Address) -> tuple[str, int]:
    asked.append(address)
    return ("127.0.0.1", 1)
