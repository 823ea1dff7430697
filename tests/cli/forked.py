"""Starts the program in a fork of one that has imported it: in milliseconds instead of a second.

How it works. The first start of a run of tests begins a process that imports the whole program,
does nothing with it, and waits at a socket. A start sends it the arguments, the environment, the
folder and three descriptors; it forks, and in the fork `run.py` runs as the interpreter would have
run it: with those arguments and streams, signals as they are at a start, and an end of its own. Each
program has a keeper, which tells its pid and how it ended. Tests use what they get as they would
use `subprocess.Popen`.

What only a new interpreter would take up (`PYTHON…`, the locale, where certificates are) makes
`fits` false, and such a program is started as everybody starts it. So are those of tests
that are about starting (the fixture `really_started`).
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

RUN = Path(__file__).parents[2] / "run.py"
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "SSL_", "TZ")
HEADER_BYTES = 8

is_off = False
"""Whether every program is started as everybody starts it."""


class Forked:
    """A program that was forked, as `subprocess.Popen` shows it; streams are text."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        has_stdin: bool,
        folder: Path | None = None,
    ) -> None:
        self.args = [sys.executable, str(RUN), *arguments]
        self.returncode: int | None = None
        stdin, ours_in = os.pipe() if has_stdin else (os.open(os.devnull, os.O_RDONLY), None)
        ours_out, stdout = os.pipe()
        ours_err, stderr = os.pipe()
        wish = json.dumps({"argv": self.args[1:], "env": dict(environment), "cwd": str(folder or Path.cwd())}).encode()
        self._keeper = socket.socket(socket.AF_UNIX)
        self._keeper.connect(_socket_of_parent())
        socket.send_fds(self._keeper, [len(wish).to_bytes(HEADER_BYTES)], [stdin, stdout, stderr])
        self._keeper.sendall(wish)
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        self.stdin = os.fdopen(ours_in, "w", encoding="utf-8") if ours_in is not None else None
        self.stdout: TextIO = os.fdopen(ours_out, encoding="utf-8")
        self.stderr: TextIO = os.fdopen(ours_err, encoding="utf-8")
        self._told = self._keeper.makefile("r")
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        return self._code(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _code(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._keeper], [], [], timeout)[0]:
            self.returncode = int(self._told.readline())
            self._told.close()
            self._keeper.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def run(self, given: str | None, timeout: float) -> subprocess.CompletedProcess[str]:
        """Write what is given, read all that is said, and wait for the end."""
        said: dict[str, str] = {}
        streams = {"out": self.stdout, "err": self.stderr}

        def read(name: str, stream: TextIO) -> None:
            said[name] = stream.read()

        readers = [threading.Thread(target=read, args=pair, daemon=True) for pair in streams.items()]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(given or "")
                self.stdin.close()
        try:
            code = self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        for reader in readers:
            reader.join(timeout)
        for stream in streams.values():
            stream.close()
        return subprocess.CompletedProcess(self.args, code, said["out"], said["err"])


def fits(environment: Mapping[str, str]) -> bool:
    """Whether a fork takes up all of an environment that a new interpreter would."""
    return not is_off and _at_start(environment) == _at_start(os.environ)


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(AT_START) and name != "PYTHONUNBUFFERED"
    }


_parent: str | None = None


def _socket_of_parent() -> str:
    """Return where the process that has imported everything listens; the first call begins it."""
    global _parent
    if _parent is None:
        folder = tempfile.TemporaryDirectory(prefix="forked-")
        path = f"{folder.name}/socket"
        process = subprocess.Popen(
            [sys.executable, __file__, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdout.close()
        atexit.register(folder.cleanup)
        atexit.register(process.wait)
        atexit.register(process.stdin.close)  # Runs first; it ends when nobody can ask any more.
        _parent = path
    return _parent


# In the process that has imported everything.


def listen(path: str) -> None:
    """Fork a keeper for each program that is asked for, until whoever began this has ended."""
    _import_all()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    os.write(1, b"ready\n")
    while True:
        readable, _, _ = select.select([listener, 0], [], [])
        if 0 in readable:
            return
        asking, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _keep(asking)
            return
        asking.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _import_all() -> None:
    sys.path[0] = str(RUN.parent)
    import companion_ws.app
    from companion_ws.cli import main

    assert companion_ws.app
    for name in main.commands:
        assert main.commands[name]
    with contextlib.suppress(ImportError):
        import uvloop

        assert uvloop


def _keep(asking: socket.socket) -> None:
    """Run what is asked for in a process of its own, and tell its pid and how it ended."""
    header, descriptors, _, _ = socket.recv_fds(asking, HEADER_BYTES, 3)
    wish = b""
    while len(wish) < int.from_bytes(header):
        wish += asking.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        asking.close()
        _become(json.loads(wish), descriptors)
        return
    for descriptor in (0, 1, *descriptors):
        os.close(descriptor)
    with contextlib.suppress(OSError):  # whoever asked has gone
        asking.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        asking.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(wish: dict[str, Any], descriptors: list[int]) -> None:
    """Be the program that is wished for; it leaves as it would by itself."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(wish["env"])
    os.chdir(wish["cwd"])
    sys.argv, sys.orig_argv = wish["argv"], [sys.executable, *wish["argv"]]
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    out, errors = (os.fdopen(number, "wb", buffering=0, closefd=False) for number in (1, 2))
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(out, write_through=True)
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(
        errors, errors="backslashreplace", write_through=True
    )
    runpy.run_path(wish["argv"][0], run_name="__main__")


if __name__ == "__main__":
    listen(sys.argv[1])
