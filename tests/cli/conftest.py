"""Programs for tests: ended when the test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import forked
import pytest
from programs import Program, Running, Served


@pytest.fixture
def really_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of the test are started by an interpreter of their own, as everybody starts them."""
    monkeypatch.setattr(forked, "is_off", True)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "data")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start programs that stay; what still runs afterwards is ended."""
    started: list[Running] = []

    def begin(*arguments: str, kind: type[Running] = Served, **options: str) -> Running:
        data = Path(options.pop("data", str(tmp_path / "data")))
        running = kind(*arguments, data=data, **options)
        started.append(running)
        return running

    yield begin
    for running in started:
        running.close()


@pytest.fixture
def server(start: Callable[..., Served]) -> Served:
    return start("--tools", "companion_ws.examples.shipping")
