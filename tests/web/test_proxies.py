"""The proxies of docs/proxy.md, really running, in front of a real server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from companion_ws.testing.server import free_port
from tests.running import WAIT_S, Running

DEPLOY = Path(__file__).parents[2] / "deploy"
PROXIES = ("caddy", "nginx", "haproxy", "haproxy before two")
FORGED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via")


@dataclass(frozen=True)
class Certificate:
    chain: Path
    key: Path
    both: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    found = Certificate(folder / "chain.pem", folder / "key.pem", folder / "both.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", found.key, "-out", found.chain],
        check=True, capture_output=True,
    )  # fmt: skip
    found.both.write_text(found.chain.read_text() + found.key.read_text())
    return found


def changed(name: str, changes: dict[str, str]) -> str:
    """Return a file of deploy/ with addresses and paths of this test."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    for ours, theirs in changes.items():
        assert ours in text, f"{name} says {ours}"
        text = text.replace(ours, theirs)
    return text


def caddy(folder: Path, port: int, server: str, tls: Certificate) -> list[str]:
    site = f"https://localhost:{port} {{\n\ttls {tls.chain} {tls.key}"
    text = changed(
        "Caddyfile", {"companion.example.org {": site, "127.0.0.1:8000": server}
    )
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(options + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def nginx(folder: Path, port: int, server: str, tls: Certificate) -> list[str]:
    text = changed(
        "nginx.conf",
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/companion.pem": str(tls.chain),
            "/etc/ssl/companion.key": str(tls.key),
            "127.0.0.1:8000": server,
        },
    )
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}\n{text}\n}}\n"
    )
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def haproxy(
    folder: Path, port: int, server: str, tls: Certificate,
    name: str = "haproxy.cfg", addresses: Sequence[str] = ("127.0.0.1:8000",),
) -> list[str]:  # fmt: skip
    bind = f"bind 127.0.0.1:{port} ssl crt {tls.both}"
    text = changed(
        name,
        {
            "bind :443 ssl crt /etc/ssl/companion-with-key.pem": bind,
            **dict.fromkeys(addresses, server),
        },
    )
    (folder / name).write_text(text)
    return ["haproxy", "-db", "-q", "-f", str(folder / name)]


def haproxy_before_two(folder: Path, port: int, server: str, tls: Certificate) -> list[str]:
    """Tests of two servers are in tests/postgres; who asks is told as by one, so one is both."""
    addresses = ("172.30.75.11:8000", "172.30.75.12:8000")
    return haproxy(folder, port, server, tls, "haproxy-two.cfg", addresses)


class Front:
    """A proxy and the server behind it."""

    def __init__(self, url: str, server: Running, tls: ssl.SSLContext) -> None:
        self.url, self.server, self.tls = url, server, tls

    @asynccontextmanager
    async def from_address(self, address: str) -> AsyncIterator[aiohttp.ClientSession]:
        """Ask from an address of this machine's own."""
        connector = aiohttp.TCPConnector(local_addr=(address, 0), ssl=self.tls)
        async with aiohttp.ClientSession(connector=connector) as http:
            yield http


@pytest.fixture(params=PROXIES)
async def front(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate
) -> AsyncIterator[Front]:
    command_of: dict[str, Callable[[Path, int, str, Certificate], list[str]]] = {
        "caddy": caddy, "nginx": nginx, "haproxy": haproxy,
        "haproxy before two": haproxy_before_two,
    }  # fmt: skip
    search = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    port = free_port()
    url = f"https://localhost:{port}"
    async with Running(trust_proxy=("127.0.0.1",), public_url=url) as server:
        command = command_of[request.param](
            tmp_path, port, f"127.0.0.1:{server.config.port}", certificate
        )
        program = shutil.which(command[0], path=search)
        assert program is not None, f"README's test command installs {command[0]}"
        process = await asyncio.create_subprocess_exec(
            program,
            *command[1:],
            env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
            stderr=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            await until_it_listens(port, process)
            yield Front(url, server, ssl.create_default_context(cafile=certificate.chain))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def until_it_listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            assert process.returncode is None, "the proxy refused its configuration"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


async def guess(http: aiohttp.ClientSession, front: Front, forged: str) -> int:
    said = f"for={forged}" if forged else ""
    headers = {name: said if name == "Forwarded" else forged for name in FORGED if forged}
    async with http.post(
        f"{front.url}/pair", json={"code": "123456789", "device": "x"}, headers=headers
    ) as answer:
        return answer.status


async def test_behind_a_proxy_callers_are_told_apart_and_cannot_forge_who_they_are(
    front: Front,
) -> None:
    async with front.from_address("127.0.0.2") as http:
        statuses = [await guess(http, front, f"203.0.113.{n}") for n in range(7)]
        assert statuses == [404] * 5 + [429] * 2
    async with front.from_address("127.0.0.3") as http:
        assert await guess(http, front, "") == 404, "somebody else's guesses are not ours"
        assert await guess(http, front, "127.0.0.2") == 404

    # A page of the proxy's own origin talks over a socket.
    token = front.server.token()
    async with front.from_address("127.0.0.4") as http:
        async with http.ws_connect(
            f"{front.url}/ws?role=agent&token={token}", headers={"Origin": front.url}
        ) as ws:
            joined = await ws.receive_json(timeout=WAIT_S)
            assert joined["type"] == "session_joined"

            await follow(http, front, joined["session_id"], token, ws.send_json)

        async with http.get(f"{front.url}/healthz") as answer:
            assert "max-age" in answer.headers["Strict-Transport-Security"]
        async with http.get(f"{front.url}/tokens", headers=bearer(token)) as answer:
            assert answer.status == 404, "admin routes are not for who comes through a proxy"


async def follow(
    http: aiohttp.ClientSession,
    front: Front,
    session_id: str,
    token: str,
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """An event stream arrives event by event."""
    headers = {**bearer(token), "Accept": "text/event-stream"}
    async with http.get(
        f"{front.url}/sessions/{session_id}/records", headers=headers
    ) as stream, asyncio.timeout(WAIT_S):
        assert await kind(stream) == "session_joined"
        await send({"type": "contextual_update", "text": "through"})
        assert await kind(stream) == "contextual_update"


async def kind(stream: aiohttp.ClientResponse) -> str:
    async for line in stream.content:
        if line.startswith(b"data: "):
            return str(json.loads(line[6:])["type"])
    raise AssertionError("the stream ended")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("name", "page"),
    [("Caddyfile", "proxy"), ("nginx.conf", "proxy"), ("haproxy.cfg", "proxy"),
     ("haproxy-two.cfg", "scaling")],
)  # fmt: skip
def test_the_documentation_shows_what_is_tested(name: str, page: str) -> None:
    page = (DEPLOY.parent / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert (DEPLOY / name).read_text(encoding="utf-8") in page
