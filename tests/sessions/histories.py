"""Random histories of a session on a disk that fails, in virtual time and one thread.

One seed is one history: clients join, send, vanish and come back while commits
are refused (with and without the rows being there), units break constraints,
reads fail, the server is killed and started again. At the end the disk heals,
everybody sends again what was not acknowledged, and `World.check` compares
what was told with what is stored: records, and what conflicts and refusals
over HTTP said of values and calls.

The session code, the outbox, the catching up and SQLite are the real ones; only
time, threads and the disk's moods are simulated, so that a seed replays its
history exactly. A long run: `PYTHONPATH=.:tests python tests/sessions/histories.py 20000`.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
import sqlite3
import sys
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec
from postgres_server import copied, forgotten, place

from companion_ws.clock import Clock
from companion_ws.core import protocol
from companion_ws.core.errors import CompanionError, Unavailable
from companion_ws.core.protocol import error_message
from companion_ws.core.session import SERVER, Event, Limits, Sender, Session, replay
from companion_ws.database import Database, Params, Read, Statement, Unit
from companion_ws.database.engine import Reading
from companion_ws.database.sqlite.engine import SQLite
from companion_ws.database.threads import WriterThread
from companion_ws.files import folder
from companion_ws.nodes.place import Alone
from companion_ws.sessions import live as live_session
from companion_ws.sessions.caller import Caller
from companion_ws.sessions.catch_up import catch_up
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.live import LiveParts, LiveSession
from companion_ws.sessions.outbox import Outbox
from companion_ws.sessions.requests import Requests
from companion_ws.sessions.store import Row, Store

Message = dict[str, Any]
FINAL_ERRORS = {"revision_conflict", "tool_closed", "tool_unknown", "state_too_large"}


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__(_Impatient(self))

    def time(self) -> float:
        return self.now_s


class _Impatient(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen again: somebody waits in vain")
        if not ready and timeout:
            self._loop.now_s += timeout
        return ready


class Later(WriterThread[Unit]):
    """Writes on the loop's own thread, a random while later: what came meanwhile is gathered."""

    def __init__(self, database: MoodyDatabase, rng: random.Random) -> None:
        super().__init__(database._engine.commit, database._hear)
        self._rng = rng
        self._jobs: deque[Any] = deque()
        self.is_dead = False

    def put(self, items: list[Unit]) -> None:
        self._later(items)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def job() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self._later(job)
        return await future

    def stop(self) -> None:
        self.is_dead = True

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        def tell() -> None:
            if not self.is_dead:  # a process that was killed tells nobody
                function(*args)

        self._loop.call_soon(tell)

    def _later(self, job: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs.append(job)
        self._loop.call_later(self._rng.choice((0, 0.001, 0.01)), self._turn)

    def _turn(self) -> None:
        if self.is_dead or not self._jobs:
            return
        job = self._jobs.popleft()
        if callable(job):
            job()
            return
        while self._jobs and not callable(self._jobs[0]):
            job = [*job, *self._jobs.popleft()]
        self._store(job)


class MoodyDatabase(Database):
    """The real database on a disk with moods."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        super().__init__(place(path), folder("migrations"), durability="process")
        self.rng = rng
        self._engine: Any = moody_engine(place(path), rng)
        self._thread = Later(self, rng)
        self._looking: Reading | None = None

    async def open(self) -> None:
        self._engine.open()
        self._looking = self._engine.reading()
        self._is_writable = True

    async def read(self, sql: str, params: Params = ()) -> list[Any]:
        return await self._look(lambda reading: reading.rows(sql, params))

    async def read_with(self, function: Callable[[Read], Any]) -> Any:
        return await self._look(lambda reading: reading.of_one_instant(function))

    async def _look(self, function: Callable[[Reading], Any]) -> Any:
        await asyncio.sleep(self.rng.choice((0, 0, 0.001, 0.02)))
        if self._looking is None or self.rng.random() < self._engine.mood / 4:
            raise Unavailable("The server cannot read at the moment; try again.")
        try:
            return function(self._looking)
        except self._engine.errors as error:
            raise Unavailable("The server cannot read at the moment; try again.") from error

    async def kill(self) -> None:
        """End as a process does that is killed: nothing is flushed, nobody is told."""
        self._thread.stop()
        if self._reopening is not None:
            self._reopening.cancel()
        for connection in (self._engine.connection, self._looking):
            if connection is not None:
                connection.close()
        self._engine.connection = self._looking = None


class Moody:
    """Before a real engine: it fails now and then."""

    faults: Any
    """The module with the engine's exceptions."""

    def __init__(self, where: Path | str, rng: random.Random, *further: Any) -> None:
        super().__init__(where, *further)
        self.rng = rng
        self.mood = 0.0
        """How likely each operation is to fail."""

    def commit_together(self, batch: list[Unit]) -> Any:
        rng, mood = self.rng, self.mood
        if rng.random() < mood / 2:
            raise self.faults.OperationalError("disk I/O error: before")
        if (len(batch) > 1 and rng.random() < mood) or rng.random() < mood / 2:
            raise self.faults.IntegrityError("a unit of this batch is bad")
        fates = super().commit_together(batch)
        if rng.random() < mood / 2:
            raise self.faults.OperationalError("disk I/O error: after")
        return fates

    def reopen(self) -> None:
        if self.rng.random() < 0.3 and self.mood:
            raise self.faults.OperationalError("database or disk is full")
        super().reopen()


def moody_engine(where: Path | str, rng: random.Random) -> Any:
    """Return the engine that stores at a place, with moods."""
    if isinstance(where, Path):
        real: Any = SQLite
        faults: Any = sqlite3
        migrations = folder("migrations")
    else:
        import psycopg

        from companion_ws.database.postgres.engine import Postgres

        real, faults, migrations = Postgres, psycopg, folder("migrations") / "postgres"
    kind = type("MoodyEngine", (Moody, real), {"faults": faults})
    return kind(where, rng, migrations, "process")


class Wire(asyncio.Transport):
    """A socket whose peer reads at once."""

    def __init__(self, received: Callable[[int, bytes], None]) -> None:
        super().__init__()
        self._received = received
        self.is_cut = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        rest = bytes(data)
        while rest:
            size, start = rest[1], 2
            if size == 126:
                size, start = int.from_bytes(rest[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(rest[2:10], "big"), 10
            self._received(rest[0] & 0x0F, rest[start : start + size])
            rest = rest[start + size :]

    def is_closing(self) -> bool:
        return self.is_cut

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.is_cut = True

    def close(self) -> None:
        self.is_cut = True


class Client:
    """Somebody who sends until it is acknowledged, and checks everything it is told."""

    def __init__(self, world: World, session_id: str, role: str, number: int) -> None:
        self.world, self.session_id, self.role = world, session_id, role
        self.user = f"user {number % 2}"
        self.rng = world.rng
        self.pending: dict[str, Message] = {}
        self.acknowledged: dict[str, Message] = {}
        self.seen: dict[int, bytes] = {}
        self.position: int | None = None
        self.joined_seq = 0
        self.state: dict[str, Any] = {}
        self.joins: list[Message] = []
        self.is_on = False
        self._live: LiveSession | None = None
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # The network between.

    async def connect(self) -> None:
        """Join the session, with `after` if this client was there before."""
        live = await self.world.live(self.session_id)
        after = self.position if self.position is not None else self.rng.choice((None, 0))
        self.is_on = True

        def received(opcode: int, payload: bytes) -> None:
            # What reaches a client that has let go of the socket is not read any more.
            if self._connection is connection and self.is_on:
                self._take(opcode, payload)

        outbox = Outbox(Wire(received), 0, lambda why: None)
        connection = Connection(
            str(uuid.UUID(int=self.rng.getrandbits(128))), self.session_id, self.role,  # type: ignore[arg-type]
            self.user, self.user, 0, outbox,
        )
        self._live, self._connection, self.expected = live, connection, None
        self._is_told = False
        self._after = after
        try:
            live.join(connection, after, self.world.store.epoch, {"created": False})
        except CompanionError as error:
            connection.close(error.close_code or 1013, error.message)
            self.leave()
            return
        if after is not None:
            task = asyncio.create_task(self._catch_up(live, connection, after))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _catch_up(self, live: LiveSession, connection: Connection, after: int) -> None:
        while not connection.is_joined and not connection.outbox.is_closed:
            connection.changed.clear()
            await connection.changed.wait()
        if connection.is_subscribed or connection.outbox.is_closed:
            return
        try:
            await catch_up(live, self.world.store, connection, after)
        except CompanionError as error:
            connection.close(1013, error.message)

    def leave(self) -> None:
        """Vanish."""
        self.is_on = False
        if self._live is not None and self._connection is not None:
            self._connection.outbox.abort()
            self._connection.changed.set()
            self._live.leave(self._connection, "dropped")

    def send(self, request_id: str, message: Message) -> None:
        """Send a command as the gateway would take it from a frame."""
        if not self.is_on or self._live is None or self._connection is None:
            return
        if message["type"] != "user_activity":
            self.pending[request_id] = message
        connection, live = self._connection, self._live
        body = json.dumps({**message, "requestId": request_id})
        command, given = protocol.decode(protocol.parse(body))
        try:
            caller = Caller(connection.sender, given, connection, size_bytes=len(body))
            live.submit(command, caller)
        except CompanionError as error:
            live.tell_one(connection, error_message(error, given, live.session_id, self.world.now_ms()))

    # What it is told.

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 8:
            self.leave()
            return
        message = msgspec.json.decode(payload)
        if message["type"] == "session_joined":
            self._joined(message)
            self._is_told = True
            return
        assert self._is_told, "session_joined comes before all else"
        if message["type"] == "state_snapshot":
            self._check_snapshot(message)
        elif message["type"] == "error":
            self.world.told.append((self.session_id, message))
            request_id = message["requestId"]
            if message["code"] in FINAL_ERRORS:
                self.pending.pop(request_id, None)
            else:
                assert message["code"] == "unavailable", message
        elif message.get("duplicate"):
            self._acknowledge(message)
        elif "seq" in message:
            self._record(message, payload)

    def _joined(self, message: Message) -> None:
        assert self.expected is None, "session_joined comes once and first"
        self.joins.append(message)
        self.joined_seq = message["seq"]
        self.state = {key: entry["value"] for key, entry in message["state"].items()}
        if message["recovery"] == "replay":
            self.expected = self._after + 1 if self._after else None
            if self._after == message["seq"]:
                self.position = message["seq"]  # There is nothing to replay.
        else:
            self.expected = message["seq"] + 1
            self.position = message["seq"]

    def _check_snapshot(self, message: Message) -> None:
        self.pending.pop(message["requestId"], None)
        if self._connection is not None and self._connection.is_subscribed:
            shown = {key: entry["value"] for key, entry in message["state"].items()}
            assert shown == self.state, "a snapshot showed another state than the records"

    def _record(self, record: Message, payload: bytes) -> None:
        assert self.joins, "session_joined comes first"
        seq = record["seq"]
        assert self.expected is None or seq == self.expected, f"{seq} instead of {self.expected}"
        assert self.seen.setdefault(seq, payload) == payload, f"{seq} was another record before"
        self.expected = seq + 1
        self.position = seq
        if seq > self.joined_seq:
            if record["type"] == "state_updated":
                self.state[record["key"]] = record["value"]
            elif record["type"] == "state_deleted":
                self.state.pop(record["key"], None)
        sender = record["sender"]
        if sender["role"] == self.role and sender["user"] == self.user:
            self._acknowledge(record)

    def _acknowledge(self, record: Message) -> None:
        request_id = record.get("requestId")
        if request_id in self.pending:
            del self.pending[request_id]
            self.acknowledged[request_id] = record
        elif record.get("duplicate") and record["type"] == "client_tool_call":
            call = record.get("client_tool_call")
            for request_id, message in list(self.pending.items()):
                if message["type"] == "client_tool_call" and (
                    call is None or message["tool_call_id"] == call["tool_call_id"]
                ):
                    del self.pending[request_id]

    # What it does.

    async def play(self, steps: int) -> None:
        """Do a number of random things."""
        for _ in range(steps):
            await asyncio.sleep(self.rng.choice((0, 0, 0, 0.001, 0.005, 0.03, 0.4)))
            dice = self.rng.random()
            if not self.is_on:
                await self._come_back()
            elif dice < 0.06:
                self.leave()
            elif dice < 0.2 and self.pending:
                request_id = self.rng.choice(list(self.pending))
                self.send(request_id, self.pending[request_id])
            elif dice < 0.25 and self.acknowledged:
                request_id = self.rng.choice(list(self.acknowledged))
                first = self.acknowledged[request_id]
                if "text" in first:
                    self.send(request_id, {"type": "contextual_update", "text": "again"})
            else:
                for _ in range(self.rng.choice((1, 1, 2, 8))):
                    self.send(self.world.new_id(), self._anything())

    async def _come_back(self) -> None:
        try:
            await self.connect()
        except Unavailable:
            self.is_on = False

    async def insist(self) -> None:
        """Come back and send again until everything is acknowledged."""
        for _ in range(60):
            if not self.is_on:
                await self._come_back()
            for request_id, message in list(self.pending.items()):
                self.send(request_id, message)
            await asyncio.sleep(0.5)
            if self.is_on and not self.pending and self.position is not None:
                return
        raise AssertionError(f"never acknowledged: {self.pending} {self.is_on}")

    def _anything(self) -> Message:
        rng = self.rng
        key, call = rng.choice("abcd"), f"call {rng.randrange(6)}"
        choices: list[Message] = [
            {"type": "contextual_update", "text": str(rng.random()), "data": [1, {"a": None}]},
            {"type": "contextual_update", "text": "card", "context_id": rng.choice("xy")},
            {"type": "state_update", "key": key, "value": rng.randrange(100)},
            {"type": "state_update", "key": key, "value": None, "if_revision": rng.randrange(30)},
            {"type": "state_delete", "key": key},
            {"type": "state_get"},
        ]
        if self.role == "agent":
            choices.append(
                {"type": "client_tool_call", "tool_name": "ask", "tool_call_id": call,
                 "parameters": {}, "expects_response": rng.random() < 0.8}
            )
            choices.append({"type": "client_tool_cancel", "tool_call_id": call})
        else:
            choices.append({"type": "user_activity"})
            choices.append(
                {"type": "client_tool_result", "tool_call_id": call, "result": '{"id": "a"}'}
            )
        return rng.choice(choices)


class World:
    """One server, its disk, and the clients of two sessions."""

    def __init__(self, seed: int, path: Path) -> None:
        self.rng = random.Random(seed)
        self.path = path
        self.limits = Limits(records=self.rng.choice((1000, 1000, 40, 5)))
        # So that a short history, too, asks the disk of requestIds and folds what it loads.
        Requests.recent = self.rng.choice((64, 4, 1))
        live_session.FOLD_RECORDS = self.rng.choice((128, 7, 1))
        self.session_ids = [str(uuid.UUID(int=n + 1)) for n in range(2)]
        self.asked: dict[str, Message] = {}
        self.told: list[tuple[str, Message]] = []
        """What HTTP callers and sockets heard besides records: the session, and what was said."""
        self.lives: dict[str, LiveSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = 0

    # What LiveSession needs (SessionObserver).

    def recorded(self, live: LiveSession, event: Event, body: bytes, token: object) -> None:
        assert live.delivered_seq >= json.loads(body)["seq"]

    def joined(self, live: LiveSession, connection: Connection) -> None:
        assert connection.is_joined

    def passed(self, live: LiveSession, kind: str, fields: Message, sender: Sender) -> None:
        assert kind == "user_activity"

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except CompanionError:
                return

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            raise AssertionError("a task failed") from task.exception()

    def new_id(self) -> str:
        self._ids += 1
        return f"r{self._ids}"

    def now_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    # Life and death of the server.

    async def boot(self) -> None:
        self.clock = Clock(self.now_ms, self.now_ms)
        self.database = MoodyDatabase(self.path, self.rng)
        await self.database.open()
        self.store = Store(self.database)
        await self.store.open()
        self.database._engine.mood = self.mood

    async def kill(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for client in self.clients:
            if client.is_on:
                client.leave()
        self.lives = {}
        await self.database.kill()
        await self.boot_again()

    async def boot_again(self) -> None:
        mood, self.mood = self.mood, 0.0
        await self.boot()
        self.mood = self.database._engine.mood = mood

    async def live(self, session_id: str) -> LiveSession:
        live = self.lives.get(session_id)
        if live is None:
            database = self.database
            stored = await self.store.load(session_id)
            if database is not self.database:
                raise Unavailable("the server was killed meanwhile")
            assert stored is not None
            parts = LiveParts(
                self.database, self.store, self.limits, lambda name: False,
                self, self.spawn, self.clock, self.new_id,
                Alone(self.database), lambda live, last: None, lambda live: None,
            )
            live = self.lives.setdefault(session_id, LiveSession(stored, parts))
        return live

    async def ask(self, session_id: str) -> None:
        """Send from the server, as HTTP and Python do, until it is stored."""
        request_id = self.new_id()
        message = {"type": "contextual_update", "text": request_id, "requestId": request_id}
        for _ in range(200):
            future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

            def refuse(error: CompanionError, future: asyncio.Future[bytes] = future) -> None:
                if not future.done():
                    future.set_exception(error)

            def answer(body: bytes, future: asyncio.Future[bytes] = future) -> None:
                if not future.done():
                    future.set_result(body)

            command, given = protocol.decode(message)
            try:
                live = await self.live(session_id)
                live.submit(command, Caller(SERVER, given, answer=answer, refuse=refuse))
                async with asyncio.timeout(self.rng.choice((0.0001, 60))):
                    self.asked[request_id] = msgspec.json.decode(await future)
                return
            except (Unavailable, TimeoutError):
                await asyncio.sleep(0.1)
        raise AssertionError("never stored")

    async def knock(self, session_id: str) -> None:
        """Ask once as HTTP does, for something that is likely to be refused."""
        rng = self.rng
        key, call = rng.choice("abcd"), f"call {rng.randrange(6)}"
        message: Message = rng.choice(
            [
                {"type": "state_update", "key": key, "value": "http",
                 "if_revision": rng.randrange(30)},
                {"type": "state_delete", "key": key, "if_revision": rng.randrange(30)},
                {"type": "client_tool_result", "tool_call_id": call, "result": '{"id": "h"}'},
                {"type": "client_tool_cancel", "tool_call_id": call},
                {"type": "state_get"},
            ]
        )
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def refuse(error: CompanionError) -> None:
            future.set_result({"type": "error", "code": error.code, **error.details})

        def answer(body: bytes) -> None:
            future.set_result(msgspec.json.decode(body))

        command, given = protocol.decode({**message, "requestId": self.new_id()})
        try:
            live = await self.live(session_id)
            live.submit(command, Caller(SERVER, given, answer=answer, refuse=refuse))
            async with asyncio.timeout(60):
                self.told.append((session_id, await future))
        except TimeoutError:
            return  # The server was killed meanwhile.
        except CompanionError as error:
            refuse(error)
            self.told.append((session_id, future.result()))

    async def _knock_often(self) -> None:
        for _ in range(self.rng.randrange(12)):
            await asyncio.sleep(self.rng.choice((0, 0.001, 0.05)))
            await self.knock(self.rng.choice(self.session_ids))

    async def run(self) -> None:
        """One history, from the first join to the check."""
        self.mood = 0.0
        await self.boot()
        for session_id in self.session_ids:
            await self.store.create(Row(session_id, "user 0", None, "", None, 0, 0, None, 0, None))
        self.mood = self.database._engine.mood = self.rng.choice((0.02, 0.1, 0.3))
        self.clients = [
            Client(self, self.rng.choice(self.session_ids), self.rng.choice(("agent", "ui")), n)
            for n in range(self.rng.randrange(2, 6))
        ]
        steps = self.rng.randrange(5, 40)
        async with asyncio.TaskGroup() as tasks:
            for client in self.clients:
                tasks.create_task(client.play(steps))
            for _ in range(3):
                tasks.create_task(self.ask(self.rng.choice(self.session_ids)))
            for _ in range(2):
                tasks.create_task(self._knock_often())
            tasks.create_task(self._disturb())
        self.mood = self.database._engine.mood = 0.0
        # Twice: a reload may send somebody away who had everything acknowledged by then.
        for _ in range(2):
            async with asyncio.TaskGroup() as tasks:
                for client in self.clients:
                    tasks.create_task(client.insist())
            await asyncio.sleep(5)
        await self.check()
        for client in self.clients:
            client.leave()
        await self.database.kill()

    async def _disturb(self) -> None:
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            await asyncio.sleep(self.rng.random())
            await self.kill()
        if self.rng.random() < 0.3:
            # A service renames a session in its own transaction while records are written.
            statement = Statement("UPDATE sessions SET title = 'x'", ())
            try:
                await self.database.transact([statement])
            except (Unavailable, self.database._engine.faults.IntegrityError):
                return

    # The verdict.

    async def check(self) -> None:
        for session_id in self.session_ids:
            clients = [client for client in self.clients if client.session_id == session_id]
            await self._check_session(session_id, clients)

    async def _check_session(self, session_id: str, clients: list[Client]) -> None:
        rows = await self.store.records(session_id, 0, 2**62, 2**31)
        stored = dict(rows)
        fresh = await self.store.load(session_id)
        assert fresh is not None
        first, last = fresh.session.first_seq, fresh.session.seq
        assert list(stored) == list(range(first, last + 1)), "the log has a hole"
        records = {seq: msgspec.json.decode(body) for seq, body in rows}
        made = [record["requestId"] for record in records.values()]
        assert len(made) == len(set(made)), "a requestId made two records"

        live = self.lives.get(session_id)
        if live is not None:
            assert not live._line, "somebody still waits"
            assert live.delivered_seq == live.session.seq == last
            same(live.session, fresh.session, "memory and disk")
        if first == 1:
            folded = replay(Session(session_id, "user 0"), list(stored.values()))
            folded.first_seq = fresh.session.first_seq
            same(folded, fresh.session, "the fold and the disk")

        state = {k: json.loads(entry.value) for k, entry in fresh.session.state.items()}
        for client in clients:
            assert client.position == last, "a listener misses the end"
            assert client.state == state, "a listener's state is not the fold"
            for seq, body in client.seen.items():
                assert seq <= last, "a phantom was told"
                assert seq < first or stored[seq] == body, "told and stored differ"
            for request_id, record in client.acknowledged.items():
                seq = record["seq"]
                assert seq <= last, "acknowledged and lost"
                assert seq < first or records[seq]["requestId"] == request_id
            assert client._connection is not None
            assert client._connection.ahead == 0
            assert client._connection.ahead_bytes == 0
            self._check_joins(client, stored, first)
        for request_id, record in self.asked.items():
            if record["session_id"] == session_id and record["seq"] >= first:
                assert records[record["seq"]]["requestId"] == request_id
        assert self.database._waiting_bytes == 0
        for heard_in, told in self.told:
            if heard_in == session_id:
                self._check_told(told, records, first, fresh.session)

    def _check_told(
        self, told: Message, records: Mapping[int, Message], first: int, session: Session
    ) -> None:
        """What a refusal or a snapshot said is what was stored then: nothing that was lost."""
        if told["type"] == "state_snapshot":
            for key, entry in told["state"].items():
                self._check_value(key, entry["value"], entry["revision"], records, first)
        elif told["type"] != "error":
            assert told["seq"] < first or records[told["seq"]]["requestId"] == told["requestId"]
        elif told["code"] == "revision_conflict" and told["revision"]:
            value = json.loads(msgspec.json.encode(told["value"]))
            self._check_value(told["key"], value, told["revision"], records, first)
        elif told["code"] == "tool_closed":
            assert session.calls[told["tool_call_id"]].status == "closed", "closed, and open again"

    def _check_value(
        self, key: str, value: Any, revision: int, records: Mapping[int, Message], first: int
    ) -> None:
        if revision >= first:
            record = records.get(revision)
            assert record is not None, "a value was told that is not stored"
            assert (record.get("key"), record.get("value")) == (key, value), "another value stands"

    def _check_joins(self, client: Client, stored: Mapping[int, bytes], first: int) -> None:
        """What every join showed is the fold of the records up to its seq."""
        if first != 1:
            return
        for joined in client.joins:
            known = [body for seq, body in stored.items() if seq <= joined["seq"]]
            assert len(known) == joined["seq"], "a join promised records that are not there"
            folded = replay(Session(client.session_id, "user 0"), known)
            shown = msgspec.json.decode(protocol.encode(folded.snapshot()))
            assert joined["state"] == shown, "a join showed another state"
            assert [card["seq"] for card in joined["cards"]] == list(folded.cards)
            open_ids = [call.tool_call_id for call in folded.open_calls(joined["timestamp"])]
            shown_ids = [
                call["client_tool_call"]["tool_call_id"] for call in joined["open_calls"]
            ]
            assert shown_ids == open_ids


def same(one: Session, other: Session, what: str) -> None:
    """Both sessions must be equal in everything that is told or decided on."""
    for name in ("seq", "first_seq", "log_bytes", "state", "state_bytes", "calls", "cards_bytes",
                 "sizes", "conversation_id"):
        assert getattr(one, name) == getattr(other, name), (
            f"{what}: {name}\n{getattr(one, name)}\n{getattr(other, name)}"
        )
    assert list(one.cards) == list(other.cards), f"{what}: cards"


def live_through(seed: int, path: Path) -> None:
    """Run one history in a loop of its own.

    Raises:
        AssertionError: naming the seed, which replays it.
    """
    loop = VirtualLoop()
    faults: list[BaseException] = []

    def noted(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        faults.append(context.get("exception") or AssertionError(context["message"]))

    loop.set_exception_handler(noted)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(World(seed, path).run())
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        first = faults[0] if faults else error
        raise AssertionError(f"history {seed} failed; replay it with this seed") from first
    if faults:
        raise AssertionError(f"history {seed} failed; replay it with this seed") from faults[0]


def histories(seeds: range, scratch: Path) -> None:
    """Run a history for each seed, on copies of one migrated file."""
    blank = scratch / "blank.db"
    database = Database(place(blank), folder("migrations"), "process")
    database._engine.open()
    database._engine.close()
    for seed in seeds:
        path = scratch / f"history-{seed}.db"
        copied(blank, path)
        live_through(seed, path)
        forgotten(path)


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    first_seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as scratch_name:
        histories(range(first_seed, first_seed + wanted), Path(scratch_name))
    print(f"{wanted} histories, none failed")
