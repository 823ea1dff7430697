"""Servers of one PostgreSQL database that has a synchronous standby, and the roads between them.

Everything is real: `python run.py serve` for each node, PostgreSQL's own programs for the primary
and for its standby. Each node has a road of its own to either (`rough_proxy.py`), and others reach
a node by a road before it, so that any of them can be cut or fall silent. What Patroni does is done
here by hand: a primary that is lost is not started again, its standby is promoted, and a new standby
takes the empty place. Until that one is there nothing waits for a standby (Patroni's
`synchronous_mode`); a cluster that has one waits for it in each commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
from real_server import PATIENCE_S, Server
from rough_proxy import RoughProxy

from tests.replicated import Replicated

PORTS: Final = range(20_000, 32_000)
"""Below those that outgoing connections use: a node has its port again after a kill."""


class Node:
    """A server, its two roads to the database, and the road on which other servers reach it."""

    def __init__(self, name: str, server: Server, door: RoughProxy, roads: list[RoughProxy]) -> None:
        self.name, self.server, self.door, self.roads = name, server, door, roads

    async def start(self) -> None:
        await self.server.start()

    async def kill(self) -> None:
        await self.server.kill()

    async def stop(self) -> None:
        """End it as a service manager does."""
        code = await self.server.end()
        assert code == 0, (code, self.server.output[-20:])

    def stand_still(self) -> None:
        os.kill(self.server.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.server.pid, signal.SIGCONT)

    def told(self, word: str) -> list[str]:
        """Return the lines of its log that have a word."""
        return [line for line in self.server.output if word in line]


class Cluster:
    """`count` nodes on one database; inside the block all of them run."""

    def __init__(self, scratch: Path, count: int, *flags: str, waits: bool = True) -> None:
        """Without `waits` no commit waits for the standby, and acknowledged records are lost."""
        self._scratch, self._count, self._flags, self._waits = scratch, count, flags, waits
        self.nodes: list[Node] = []

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        self._wire = await self._stack.enter_async_context(RoughProxy())
        self.database = await asyncio.to_thread(Replicated, self._wire, waits=self._waits)
        self._stack.push_async_callback(asyncio.to_thread, self.database.close)
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _start(self) -> None:
        for number, port in enumerate(free_ports(self._count)):
            self.nodes.append(await self._node(f"n{number}", port))
        self._point_roads()
        for node in self.nodes:
            self._stack.push_async_callback(node.kill)
            await node.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()
        await self._stack.aclose()

    async def _node(self, name: str, port: int) -> Node:
        data = self._scratch / name
        if self.nodes:
            # All of them sign with one key.
            data.mkdir(mode=0o700)
            shutil.copy(self.nodes[0].server.data / "secret.key", data / "secret.key")
        roads = [await self._stack.enter_async_context(RoughProxy()) for _ in range(2)]
        door = await self._stack.enter_async_context(
            RoughProxy(target=f"http://127.0.0.1:{port}")
        )
        hosts = ",".join(f"127.0.0.1:{road.port}" for road in roads)
        url = f"postgresql://companion@{hosts}/{self.database.database}"
        flags = [f"--database={url}", f"--port={port}", "--admin-port=0", f"--node-url={door.url}"]
        server = Server(data, *flags, *self._flags)
        return Node(name, server, door, roads)

    def _point_roads(self) -> None:
        for node in self.nodes:
            first, second = node.roads
            first.target = self.database.primary.socket
            second.target = self.database.standby.socket

    def heal(self) -> None:
        for node in self.nodes:
            for road in (node.door, *node.roads):
                road.heal()

    async def fail_over(self, behind_s: float, after_s: float) -> None:
        """Kill the primary, and promote its standby after a while.

        For `behind_s` before that the standby hears nothing: nothing is acknowledged then, but the
        lost primary has it on its disk.
        """
        if behind_s:
            self._wire.silence()
            await asyncio.sleep(behind_s)
        await asyncio.to_thread(self.database.lose_primary)
        self._wire.cut_all()
        self._wire.heal()
        await asyncio.sleep(after_s)
        await asyncio.to_thread(self.database.promote)

    async def restore_standby(self) -> None:
        await asyncio.to_thread(self.database.restore_standby)
        for node in self.nodes:
            # Where the lost primary was is the new standby now.
            lost, taken = node.roads
            lost.target, taken.target = self.database.standby.socket, self.database.primary.socket
            node.roads = [taken, lost]

    async def texts(self, session_id: str) -> list[str]:
        """Return the texts of a log as they are stored."""
        rows = await asyncio.to_thread(
            self.database.query,
            "SELECT body FROM records JOIN sessions USING (number)"
            " WHERE session_id = %s ORDER BY seq",
            session_id,
        )
        return [bytes(body).decode() for (body,) in rows]

    async def until_ready(self, http: aiohttp.ClientSession, *, is_so: bool = True) -> None:
        """Wait until every node says that it can store, or that it cannot."""
        async with asyncio.timeout(PATIENCE_S):
            for node in self.nodes:
                while await is_ready(http, node.server.url) is not is_so:
                    await asyncio.sleep(0.05)


async def is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(2)) as answer:
            return answer.status == 200
    except (OSError, aiohttp.ClientError, TimeoutError):
        return False


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on and no outgoing connection takes."""
    found: list[int] = []
    first = os.getpid() * 7919 % (len(PORTS) - 1000)  # Others who run this look elsewhere.
    for port in PORTS[first:]:
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} ports are free in {PORTS}")
