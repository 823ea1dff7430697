"""`--tunnel`: the address phones really reach, whatever else the command prints."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from programs import Program, Running, Served

from companion_ws.testing.server import free_port

TUNNEL = '''\
"""A tunnel as the common ones are: talks much, forwards TLS from somewhere to us."""
import asyncio, json, os, ssl, sys
from pathlib import Path

local, port, decoy, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
(folder / "environment.json").write_text(json.dumps(dict(os.environ)))
(folder / "pids").open("a").write(f"{os.getpid()}\\n")


async def pipe(reader, writer):
    try:
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def forward(reader, writer):
    to_reader, to_writer = await asyncio.open_connection("127.0.0.1", int(local.rsplit(":", 1)[1]))
    await asyncio.gather(pipe(reader, to_writer), pipe(to_reader, writer))


async def advertise(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nBuy!")
    writer.close()


async def main():
    await asyncio.start_server(advertise, "127.0.0.1", decoy, ssl=context)
    print("Terms of use: https://terms.invalid/tunnels. Upgrade: https://127.0.0.1:%d" % decoy)
    print("Forwarding to", local, flush=True)
    await asyncio.start_server(forward, "127.0.0.1", port, ssl=context)
    print("Your tunnel is https://127.0.0.1:%d/ (see https://docs.invalid/)" % port, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
'''


class Tunnelling:
    """The command, the certificate it shows, and where it leads from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "tunnel.py").write_text(TUNNEL)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-days", "2", "-subj", "/CN=tunnel", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        self.command = f"python3 {folder}/tunnel.py {{url}} {self.port} {free_port()} {folder}"
        self.url = f"https://127.0.0.1:{self.port}"
        self.trust = {"SSL_CERT_FILE": str(folder / "cert.pem")}

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in (self.folder / "pids").read_text().split()]


@pytest.fixture
def tunnel(tmp_path: Path) -> Tunnelling:
    folder = tmp_path / "tunnel"
    folder.mkdir()
    return Tunnelling(folder)


async def test_links_carry_the_address_that_leads_here_and_no_advertisement(
    tunnel: Tunnelling, start: Callable[..., Served], program: Program
) -> None:
    served = await asyncio.to_thread(
        start, "--tunnel", tunnel.command, "--admin-port", "0",
        COMPANION_ELEVENLABS_API_KEY="a-secret", **tunnel.trust,
    )  # fmt: skip
    assert served.until(r"Phones open (\S+)")[1] == f"{tunnel.url}/c"
    assert "COMPANION_" not in (tunnel.folder / "environment.json").read_text()
    context = ssl.create_default_context(cafile=tunnel.trust["SSL_CERT_FILE"])
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{tunnel.url}/c", ssl=context) as page:
            assert page.status == 200
        async with http.get(f"{tunnel.url}/sessions", ssl=context) as admin:
            assert admin.status == 404

    os.kill(tunnel.pids[0], signal.SIGKILL)
    await asyncio.to_thread(served.until, "The tunnel has ended")
    again = await asyncio.to_thread(served.until, r"Phones now open (\S+)/c")
    assert again[1] == tunnel.url
    assert await asyncio.to_thread(served.stop) == 0
    log = "".join(served.errors)
    assert "tunnel_ended" in log
    assert "code=-9" in log
    assert "tunnel_started_again" in log
    for pid in tunnel.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_behind_a_tunnel_admin_has_its_own_port_and_callers_their_own_addresses(
    tunnel: Tunnelling, start: Callable[..., Served], program: Program
) -> None:
    served = start(
        "--tunnel", tunnel.command, "--admin-port", "0", "--trust-proxy", "127.0.0.1",
        **tunnel.trust,
    )  # fmt: skip
    assert served.until(r"Phones open (\S+)")[1] == f"{tunnel.url}/c"
    admin = json.loads((program.data / "server.json").read_text())["admin_url"]
    assert admin != served.url
    assert served.sign_in.startswith(admin)
    assert program.run("token", "list").returncode == 0
    asking = urllib.request.Request(
        f"{served.url}/healthz", headers={"X-Forwarded-For": "203.0.113.9"}
    )
    urllib.request.urlopen(asking).close()
    assert "path=/healthz" in served.complains(r"peer=203\.0\.113\.9").string
    assert served.stop() == 0


def test_who_stops_a_server_that_waits_for_its_tunnel_leaves_nothing_behind(
    tunnel: Tunnelling, start: Callable[..., Running], program: Program
) -> None:
    # Nobody trusts its certificate, so its address never leads here.
    waiting = start(
        "serve", "--port", "0", "--admin-port", "0", "--tunnel", tunnel.command, kind=Running
    )
    while not (tunnel.folder / "pids").exists() or not (program.data / "server.json").exists():
        assert waiting.process.poll() is None
    assert waiting.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(tunnel.pids[0], 0)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("no-such-program {url}", "The tunnel cannot be started"),
        ("true {url}", "The tunnel printed no https URL"),
        ("sh -c 'echo authtoken missing; exit 3' {url}", "Its last line: authtoken missing"),
        ("'", "No closing quotation"),
    ],
)
def test_a_tunnel_that_never_comes_up_is_named(
    command: str, sentence: str, program: Program
) -> None:
    failed = program.run("serve", "--port", "0", "--admin-port", "0", "--tunnel", command)

    assert failed.returncode in (1, 2)
    assert sentence in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
