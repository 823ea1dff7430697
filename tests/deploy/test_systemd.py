"""The systemd unit, and what its server tells systemd."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from companion_ws.cli.systemd import notify, watchdog_s
from tests.cli.programs import PATIENCE_S, Running

UNIT = Path(__file__).parents[2] / "deploy/companion-ws.service"


class Supervisor:
    """A socket as systemd's own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(PATIENCE_S)

    def hears(self) -> str:
        return self._socket.recv(4096).decode()

    def hears_until(self, state: str) -> list[str]:
        heard = [self.hears()]
        while heard[-1] != state:
            heard.append(self.hears())
        return heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["a path", "an abstract name"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supervisor]:
    is_path = request.param == "a path"
    if not is_path and sys.platform != "linux":  # only Linux has such names
        is_path = True
    found = Supervisor(str(tmp_path / "notify") if is_path else f"@companion-test-{os.getpid()}")
    yield found
    found.close()


def test_a_server_says_when_it_is_ready_that_it_lives_and_that_it_stops(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    served = Running(
        "serve", "--port", "0", data=tmp_path / "data", NOTIFY_SOCKET=supervisor.address,
        WATCHDOG_USEC="150000",
    )  # fmt: skip
    try:
        assert supervisor.hears() == "READY=1"
        url = served.until(r"ready at (http://\S+)")[1]
        with urllib.request.urlopen(f"{url}/readyz", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        assert [supervisor.hears() for _ in range(3)] == ["WATCHDOG=1"] * 3
        served.process.send_signal(signal.SIGTERM)
        assert set(supervisor.hears_until("STOPPING=1")[:-1]) <= {"WATCHDOG=1"}
        assert served.ended() == 0
    finally:
        served.close()


async def test_nobody_who_listens_or_nobody_who_reads_is_no_trouble(tmp_path: Path) -> None:
    notify("READY=1", {})
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notify("READY=1", {"NOTIFY_SOCKET": "vsock:2:1"})
    deaf = Supervisor(str(tmp_path / "deaf"))
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(5000):
            notify("WATCHDOG=1", {"NOTIFY_SOCKET": deaf.address})
    assert deaf.hears() == "WATCHDOG=1"
    deaf.close()


def test_only_the_process_that_is_watched_sends_signs_of_life() -> None:
    assert watchdog_s({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}) == 20
    for none in (
        {}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
    ):  # fmt: skip
        assert watchdog_s(none) is None


def test_systemd_reads_the_unit_without_a_word_and_finds_it_closed(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    program = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    assert program is not None
    assert re.search(r"^Type=notify$", text, re.MULTILINE)
    assert re.search(r"^WatchdogSec=\d+$", text, re.MULTILINE)
    analyze = shutil.which("systemd-analyze")
    assert analyze is not None, "README's test command installs systemd"
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(program[1], sys.executable))
    verified = subprocess.run(
        [analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        [analyze, "security", "--offline=yes", "--no-pager", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated.stdout)
    assert exposure is not None
    assert float(exposure[1]) < 2
