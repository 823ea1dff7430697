"""Replays are paced by whoever receives them; who takes nothing is let go. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from histories import VirtualLoop, Wire, World
from postgres_server import place

from companion_ws.core import commands
from companion_ws.core.session import SERVER, Limits
from companion_ws.database import Database
from companion_ws.files import folder
from companion_ws.sessions.caller import Caller
from companion_ws.sessions.catch_up import catch_up
from companion_ws.sessions.connections import Connection, Connections
from companion_ws.sessions.outbox import Outbox
from companion_ws.sessions.store import Row, Store

RECORDS, TEXT_BYTES = 60, 60_000
"""More than any buffer holds."""


class SlowWire(Wire):
    """A socket whose peer takes what is written a piece at a time."""

    def __init__(self, received: Callable[[int, bytes], None]) -> None:
        super().__init__(received)
        self._buffer_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self._buffer_bytes += len(data)

    def get_write_buffer_size(self) -> int:
        return self._buffer_bytes

    async def take(self, size_bytes: int, every_s: float) -> None:
        """Take so many bytes each time, until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            self._buffer_bytes = max(0, self._buffer_bytes - size_bytes)


class SlowStore(Store):
    """A log on a disk that takes its time."""

    async def records(self, *page: Any) -> list[tuple[int, bytes]]:
        await asyncio.sleep(20)
        return await super().records(*page)


class Replay:
    """A receiver that comes back to a long log, and what became of it."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.close: tuple[int, str] | None = None
        self.slow: list[Connection] = []
        self.wire = SlowWire(self._received)
        self.lasted_s = 0.0

    def _received(self, opcode: int, payload: bytes) -> None:
        if opcode == 8:
            self.close = (int.from_bytes(payload[:2], "big"), payload[2:].decode())
        elif "seq" in (message := msgspec.json.decode(payload)) and "state" not in message:
            self.seqs.append(message["seq"])

    async def run(self, world: World, taking: Coroutine[Any, Any, None]) -> None:
        """Catch up from the beginning while `taking` empties the wire."""
        connections = Connections(self.slow.append)
        outbox = Outbox(
            self.wire, 512 * 1024, lambda why: connections.slow(connection, why)
        )
        session_id = world.session_ids[0]
        connection = Connection("c", session_id, "observer", "user 0", "user 0", 0, outbox)
        connections.add(connection)
        live = await world.live(session_id)
        beside = [asyncio.create_task(connections.watch()), asyncio.create_task(taking)]
        began_s = asyncio.get_running_loop().time()
        live.join(connection, 0, None, {})
        await catch_up(live, world.store, connection, 0)
        self.lasted_s = asyncio.get_running_loop().time() - began_s
        await asyncio.sleep(1)
        for task in beside:
            task.cancel()


def replayed(path: Path, follow: Callable[[World, Replay], Coroutine[Any, Any, None]]) -> Replay:
    """Fill a log, let it be replayed, and return what the receiver saw."""
    replay = Replay()

    async def work() -> None:
        world = World(1, path)
        world.mood, world.clients, world.limits = 0.0, [], Limits()
        await world.boot()
        session_id = world.session_ids[0]
        await world.store.create(Row(session_id, "user 0", None, "", None, 0, 0, None, 0, None))
        live = await world.live(session_id)
        for _ in range(RECORDS):
            live.submit(
                commands.ContextualUpdate(text="x" * TEXT_BYTES, context_id="c"), Caller(SERVER)
            )
        while live.delivered_seq < RECORDS:
            await asyncio.sleep(0.01)
        await follow(world, replay)
        await world.database.kill()

    database = Database(place(path), folder("migrations"), "process")
    database._engine.open()
    database._engine.close()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work())
    return replay


def test_a_receiver_that_takes_nothing_of_its_replay_is_closed_4408_within_seconds(
    tmp_path: Path,
) -> None:
    replay = replayed(
        tmp_path / "c.db", lambda world, replay: replay.run(world, replay.wire.take(0, 1))
    )

    assert replay.close is not None
    assert replay.close[0] == 4408
    assert "resume with after" in replay.close[1]
    assert replay.slow, "it is counted as a slow consumer"
    assert 4 < replay.lasted_s < 8
    assert replay.seqs == list(range(1, len(replay.seqs) + 1)), "what it got is whole"


def test_a_receiver_that_stops_in_the_middle_of_its_replay_is_closed_4408(
    tmp_path: Path,
) -> None:
    async def stops(replay: Replay) -> None:
        for _ in range(10):
            await asyncio.sleep(0.1)
            replay.wire._buffer_bytes = 0

    replay = replayed(tmp_path / "c.db", lambda world, replay: replay.run(world, stops(replay)))

    assert replay.close is not None
    assert replay.close[0] == 4408
    assert replay.lasted_s < 10
    assert len(replay.seqs) > 10


@pytest.mark.parametrize(("size_bytes", "every_s"), [(85_000, 4.0), (1_000, 0.1)])
def test_a_slow_receiver_that_reads_on_gets_its_whole_replay(
    tmp_path: Path, size_bytes: int, every_s: float
) -> None:
    replay = replayed(
        tmp_path / "c.db",
        lambda world, replay: replay.run(world, replay.wire.take(size_bytes, every_s)),
    )

    assert replay.close is None
    assert replay.seqs == list(range(1, RECORDS + 1))
    assert replay.lasted_s > 100, "it took its time"


def test_a_slow_disk_is_not_held_against_the_receiver(tmp_path: Path) -> None:
    async def follow(world: World, replay: Replay) -> None:
        world.store = SlowStore(world.database)
        await world.store.open()
        await replay.run(world, replay.wire.take(10_000_000, 0.1))

    replay = replayed(tmp_path / "c.db", follow)

    assert replay.close is None
    assert replay.seqs == list(range(1, RECORDS + 1))
