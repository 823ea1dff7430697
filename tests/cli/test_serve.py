"""Starting and stopping the server, as the operator sees it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shlex
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from programs import Program, Running, Served

from companion_ws.client import CompanionClient
from companion_ws.config import Config

pytestmark = pytest.mark.usefixtures("really_started")

Start = Callable[..., Served]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def post(url: str, body: object, **headers: str) -> tuple[int, object]:
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_first_start_makes_a_private_folder_whatever_the_umask(
    start: Start, program: Program
) -> None:
    before = os.umask(0)
    try:
        start()
    finally:
        os.umask(before)

    assert mode(program.data) == 0o700
    files = {path.name: mode(path) for path in program.data.iterdir()}
    assert set(files) >= {"companion.db", "secret.key", "lock", "server.json"}
    assert set(files.values()) == {0o600}, files


def test_the_pairing_page_is_told_the_very_command_that_lets_phones_in(
    start: Start, program: Program
) -> None:
    served = start("--tools", "companion_ws.examples.shipping")
    ticket = served.sign_in.partition("/#signin=")[2]
    _, signed_in = post(f"{served.url}/sign-in", {"ticket": ticket})
    assert isinstance(signed_in, dict)
    admin = {"Authorization": f"Bearer {signed_in['token']}"}
    [user] = program.lines("token", "create", "--user", "local")
    _, session = post(f"{served.url}/sessions", {}, **admin)
    assert isinstance(session, dict)
    pairings = f"{served.url}/sessions/{session['session_id']}/pairings"
    _, told = post(pairings, {}, **admin)
    _, told_others = post(pairings, {}, Authorization=f"Bearer {user}")

    assert isinstance(told, dict)
    assert isinstance(told_others, dict)
    again = shlex.split(told["lan_command"])
    given = [part for part in served.process.args if part not in (sys.executable, "-u")]
    assert again[-1] == "--lan"
    assert again[-len(given) : -1] == given[1:]
    assert told_others["lan_command"] is None


def test_the_sign_in_link_signs_in_once_as_admin(start: Start) -> None:
    served = start()
    address, _, ticket = served.sign_in.partition("/#signin=")
    assert address == served.url

    status, answer = post(f"{served.url}/sign-in", {"ticket": ticket})
    assert status in (200, 201)
    assert isinstance(answer, dict)
    request = urllib.request.Request(
        f"{served.url}/sessions", headers={"Authorization": f"Bearer {answer['token']}"}
    )
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["sessions"] == []
    assert post(f"{served.url}/sign-in", {"ticket": ticket})[0] >= 400


def test_a_flag_wins_over_the_environment_and_that_over_the_default(
    start: Start, program: Program
) -> None:
    served = start(
        "--public-url", "http://flag.example",
        COMPANION_PUBLIC_URL="http://env.example", COMPANION_ADMIN_PORT="0",
    )  # fmt: skip
    assert served.until(r"Phones open (\S+)")[1] == "http://flag.example/c"
    served.stop()

    served = start(COMPANION_PUBLIC_URL="http://env.example/", COMPANION_ADMIN_PORT="0")
    assert served.until(r"Phones open (\S+)")[1] == "http://env.example/c"


def test_help_names_every_setting_its_variable_and_default_and_no_secret(
    program: Program,
) -> None:
    for arguments in (["--help"], ["serve", "--help"]):
        shown = " ".join(program.run(*arguments).stdout.split())
        for field in dataclasses.fields(Config):
            flag = field.metadata.get("flag") or "--" + field.name.replace("_", "-")
            if field.metadata.get("secret"):
                assert flag not in shown
                continue
            variable = "COMPANION_" + flag[2:].replace("-", "_").upper()
            assert flag in shown
            assert f"env var: {variable}" in shown
        assert "default: 65536" in shown
        assert "default: 1h" in shown


def test_run_py_without_a_verb_and_with_serve_are_the_same_program(
    start: Start, program: Program
) -> None:
    served = start("--port", "0", kind=Running)
    served.until("ready at")
    assert served.stop() == 0
    assert program.run("--version").stdout.startswith("companion-ws, version ")


def test_a_second_server_on_the_same_folder_is_refused(start: Start, program: Program) -> None:
    served = start()
    refused = program.run("serve", "--port", "0")

    assert refused.returncode != 0
    assert refused.stderr.startswith("Error: Another server works on")
    assert str(served.process.pid) in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "{taken}"], "is in use"),
        (["--port", "0", "--host", "203.0.113.9"], "is not an address of this machine"),
        (["--port", "0", "--host", "no.such.host.invalid"], "is not an address of this machine"),
        (["--port", "0", "--tls-cert", "no.pem", "--tls-key", "no.pem"], "cannot be used"),
        (["--port", "0", "--tls-cert", "no.pem"], "go together"),
        (["--port", "0", "--tools", "no_such_module"], "no_such_module"),
        (["--port", "0", "--tools", "json"], "no function marked @tool"),
        (["--port", "0", "--session-ttl", "soon"], "is not a valid duration"),
        (["--port", "0", "--session-ttl", "0"], "ends every session at once"),
        (["--port", "0", "--public-url", "example.com"], "'example.com' is not a valid public URL"),
        (["--port", "0", "--allow-origin", "*"], "'*' is not a valid origin"),
        (["--port", "0", "--limit-messages-per-s", "nan"], "limit_messages_per_s is nan"),
        (["--port", "0", "--data", "/dev/null/data"], "cannot be used"),
        (["--port", "0", "--tunnel", "no-such-program {url}"], "tunnel"),
        (["--port", "0", "--tunnel", "true {url}"], "no https URL"),
        (["--port", "70000"], "70000"),
        (["--brand-logo", "nope.svg"], "nope.svg cannot be read: No such file"),
        (["--brand-logo", "/dev/null"], "is not a PNG, SVG or WebP"),
        (["--brand-logo", "{text}.png"], "is not a picture of its kind (PNG)"),
        (["--brand-accent", "red"], "'red' is not a valid colour"),
        (["--brand-font", "x;}}"], "is not a list of fonts"),
        (["--brand-radius", "-1"], "-1"),
        (["--admin-port", "8123", "--port", "8123", "--trust-proxy", "10.0.0.1"], "--admin-port"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_a_failed_start_says_why_in_one_sentence(
    arguments: list[str], sentence: str, program: Program, taken_port: int, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.with_suffix(".png").write_text("no picture")
    given = [a.format(taken=taken_port, url="{url}", text=text) for a in arguments]
    failed = program.run("serve", *given)
    if "brand" in arguments[0]:
        assert failed.returncode == 2

    assert failed.returncode != 0
    *_, last = failed.stderr.splitlines()
    assert last.startswith("Error: ")
    assert sentence in last
    assert "Traceback" not in failed.stderr


def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    program: Program, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with closing(sqlite3.connect(data / "companion.db")) as newer:
        newer.execute("PRAGMA user_version = 99")
    (data / "companion.db").chmod(0o600)
    failed = program.run("serve", "--port", "0", "--data", str(data))

    assert failed.returncode == 2
    assert "was written by a newer version" in failed.stderr
    assert "Traceback" not in failed.stderr
    with closing(sqlite3.connect(data / "companion.db")) as same:
        assert same.execute("PRAGMA user_version").fetchone() == (99,)
        assert same.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize("name", ["secret.key", "companion.db"])
def test_a_file_others_can_read_refuses_to_start(name: str, start: Start, program: Program) -> None:
    start().stop()
    (program.data / name).chmod(0o644)
    refused = program.run("serve", "--port", "0")

    assert refused.returncode != 0
    assert f"chmod 600 {program.data / name}" in refused.stderr


def test_a_database_that_is_none_refuses_to_start(start: Start, program: Program) -> None:
    start().stop()
    (program.data / "companion.db").write_bytes(b"this is no database" * 500)
    refused = program.run("serve", "--port", "0")

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("Error: The database cannot be used")


def test_a_looser_folder_of_ours_is_tightened(start: Start, program: Program) -> None:
    program.data.mkdir(mode=0o755)
    start()

    assert mode(program.data) == 0o700


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_tells_everybody_to_come_back_and_leaves_with_zero(
    number: int, start: Start, program: Program
) -> None:
    served = start()
    token = (await asyncio.to_thread(program.lines, "token", "create", "--user", "alice"))[0]
    silent = socket.create_connection(served.url.removeprefix("http://").split(":"))
    silent.sendall(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
    )
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(
            served.url + "/ws", headers={"Authorization": f"Bearer {token}"}
        ) as ws:
            await ws.receive_json()
            began_s = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(served.stop, number))
            message = await ws.receive(timeout=10)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
        assert await stopping == 0
    assert time.monotonic() - began_s < 10
    assert not (program.data / "server.json").exists()
    assert "Traceback" not in "".join(served.errors)
    silent.close()


def test_after_a_kill_the_next_server_starts_and_verbs_find_it(
    start: Start, program: Program
) -> None:
    start().stop(signal.SIGKILL)
    assert program.run("token", "list").returncode == 0

    served = start()
    assert program.run("open", "--print").stdout.startswith(served.url)


def test_without_a_way_for_phones_the_command_that_makes_one_is_printed(start: Start) -> None:
    served = start("--limit-burst", "7")
    served.until("Phones cannot reach")

    assert served.until(r"run\.py serve .*")[0].endswith("serve --port 0 --limit-burst 7 --lan")


def test_a_server_on_the_network_still_has_a_door_for_this_machine(
    start: Start, program: Program
) -> None:
    # What was said of phones' address is believed, and nothing else is said of it.
    served = start("--lan", "--public-url", "http://127.0.0.1:9")
    assert served.until(r"Phones cannot reach (.*?):? ")[1] == "http://127.0.0.1:9"
    served.stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"  # no network here: nothing to check beyond loopback
    served = start("--host", address)
    assert address in served.url
    running = json.loads((program.data / "server.json").read_text())
    assert running["admin_url"].startswith("http://127.0.0.1:")
    assert program.run("token", "list").returncode == 0


def self_signed(folder: Path) -> list[str]:
    """Return the flags of a certificate no authority knows."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(cert), "-subj", "/CN=companion.test"),
        ],
        check=True,
        capture_output=True,
    )
    return ["--tls-cert", str(cert), "--tls-key", str(key)]


async def test_verbs_reach_a_server_with_tls_and_say_why_when_it_is_gone(
    start: Start, program: Program, tmp_path: Path
) -> None:
    tls = self_signed(tmp_path)
    served = await asyncio.to_thread(start, *tls)
    assert served.url.startswith("https://")
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    by_name = served.url.replace("127.0.0.1", "localhost")
    connected = await asyncio.to_thread(
        program.lines, "connect", "--url", by_name, "--token", token, stdin='{"type": "ping"}'
    )
    session_id = json.loads(connected[0])["session_id"]
    watching = await asyncio.to_thread(start, "watch", session_id, kind=Running)

    # With the certificate that the server left beside its address, and no other.
    running = json.loads((program.data / "server.json").read_text())
    proof = aiohttp.Fingerprint(bytes.fromhex(running["fingerprint"]))
    joining = {"token": token, "session_id": session_id, "ssl": proof}
    async with CompanionClient(served.url, **joining) as agent:
        answering = ("screen", session_id, "--answer", "yes")
        screen = await asyncio.to_thread(start, *answering, kind=Running)
        await agent.wait_for_screen(20)
        assert await agent.call_tool("companion_confirm") == {"status": "confirmed"}
        assert await asyncio.to_thread(screen.ended) == 0
        assert (await agent.pair()).url.startswith(f"{served.url}/p#")
    await asyncio.to_thread(watching.until, "client_tool_result")
    strange = ("connect", "--url", served.url, "--token", token, "--data", str(tmp_path))
    refused = await asyncio.to_thread(program.run, *strange)
    assert refused.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr

    await asyncio.to_thread(served.stop)
    await asyncio.to_thread(watching.complains, "cannot be reached")
    port = served.url.rpartition(":")[2]
    await asyncio.to_thread(start, *tls, "--port", port)
    await asyncio.to_thread(watching.complains, "Connected")
    assert len(set(watching.errors)) == len(watching.errors), "each reason once"


def test_a_changed_file_restarts_the_server(start: Start, tmp_path: Path) -> None:
    module = tmp_path / "my_tools.py"
    module.write_text("from companion_ws import tool\n\n@tool\ndef weigh() -> int:\n    return 1\n")
    served = start("--reload", "--tools", "my_tools", PYTHONPATH=str(tmp_path))
    served.until("Phones cannot")
    module.write_text(module.read_text() + "\n# changed\n")

    served.until("ready at")
    served.until("Phones cannot")
    assert served.stop() == 0


async def test_a_tool_that_hangs_and_a_stream_that_is_not_read_delay_no_stop(
    start: Start, program: Program, tmp_path: Path
) -> None:
    (tmp_path / "slow_tools.py").write_text(
        "import time\nfrom companion_ws import tool\n\n"
        "@tool\ndef hang() -> int:\n    time.sleep(100)\n    return 1\n"
    )
    served = start("--tools", "slow_tools", PYTHONPATH=str(tmp_path))
    token = (await asyncio.to_thread(program.lines, "token", "create", "--user", "alice"))[0]
    headers = {"Authorization": f"Bearer {token}"}
    call = {"tool_name": "hang", "tool_call_id": "c1", "parameters": {}, "timeout_ms": 100_000}
    async with aiohttp.ClientSession(served.url, headers=headers) as http:
        async with http.post("/sessions") as response:
            session = f"/sessions/{(await response.json())['session_id']}"
        stream = await http.get(f"{session}/records", headers={"Accept": "text/event-stream"})
        body = {"type": "client_tool_call", "client_tool_call": call}
        hanging = asyncio.ensure_future(http.post(f"{session}/messages?wait=100", json=body))
        await stream.content.readuntil(b"client_tool_call")
        began_s = time.monotonic()
        assert await asyncio.to_thread(served.stop) == 0
        assert time.monotonic() - began_s < 10
        assert (await hanging).status == 202, "the call is stored, its result takes longer"
        stream.close()
    assert "Traceback" not in "".join(served.errors)
