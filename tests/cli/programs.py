"""The program as its users start it: processes, their output and their signals."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import forked

from companion_ws.testing.server import CompanionServer

RUN = Path(__file__).parents[2] / "run.py"
PATIENCE_S = 60.0


def clean_environment(**extra: str) -> dict[str, str]:
    """Return the environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMPANION_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


def run_to_its_end(
    *arguments: str, stdin: str | None = None, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program with these arguments, in `folder`, and say what it printed."""
    variables = clean_environment(**environment)
    if forked.fits(variables):
        program = forked.Forked(arguments, variables, has_stdin=stdin is not None, folder=folder)
        return program.run(stdin, PATIENCE_S)
    return subprocess.run(
        [sys.executable, str(RUN), *arguments],
        env=variables,
        cwd=folder,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


class Program:
    """Verbs run on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def run(
        self, *arguments: str, stdin: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        environment.setdefault("COMPANION_DATA", str(self.data))
        return run_to_its_end(*arguments, stdin=stdin, **environment)

    def lines(self, *arguments: str, stdin: str | None = None) -> list[str]:
        """Run a verb that has to succeed; return what it printed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


class Running:
    """A program that stays: its output line by line, as it comes."""

    command: tuple[str, ...] = (sys.executable, str(RUN))

    def __init__(self, *arguments: str, data: Path, **environment: str) -> None:
        environment.setdefault("COMPANION_DATA", str(data))
        variables = clean_environment(**environment)
        self.process: subprocess.Popen[str] | forked.Forked
        if self.command is Running.command and forked.fits(variables):
            self.process = forked.Forked(arguments, variables, has_stdin=True)
        else:
            self.process = subprocess.Popen(
                [*self.command, *arguments],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        self.seen: list[str] = []
        self.errors: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._complaints: queue.Queue[str | None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)
            self._complaints.put(line.rstrip("\n"))
        self._complaints.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line; return its match."""
        return self._wait(self._lines, self.seen, pattern)

    def complains(self, pattern: str) -> re.Match[str]:
        """Wait for a line on stderr; return its match."""
        return self._wait(self._complaints, [], pattern)

    def _wait(self, lines: queue.Queue[str | None], seen: list[str], pattern: str) -> re.Match[str]:
        while True:
            line = lines.get(timeout=PATIENCE_S)
            assert line is not None, f"{pattern!r} never came: {self.seen} {self.errors}"
            seen.append(line)
            match = re.search(pattern, line)
            if match is not None:
                return match

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        code = self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Served(Running):
    """A server that is ready."""

    def __init__(self, *arguments: str, data: Path, **environment: str) -> None:
        port = [] if "--port" in arguments else ["--port", "0"]
        super().__init__("serve", *port, *arguments, data=data, **environment)
        self.url = self.until(r"ready at (https?://\S+)")[1]
        self.sign_in = self.until(r"Sign in .*: (\S+)$")[1]


def prepare(data: Path) -> None:
    """Make a data folder as a server that ran and stopped leaves it."""

    async def run() -> None:
        async with CompanionServer(data=data):
            pass

    asyncio.run(run())
