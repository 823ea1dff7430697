"""When descriptors run out: newcomers wait, one line says so, and nobody inside notices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
from real_server import PATIENCE_S, Server, joined, running

FEW = 120


def limited(soft: int, hard: int) -> tuple[str, ...]:
    """A shell that runs a command with these limits of descriptors."""
    return ("sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh")


async def test_the_server_takes_as_many_descriptors_as_it_is_allowed(tmp_path: Path) -> None:
    async with running(tmp_path / "data", under=limited(256, 1234)) as server:
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3:5] == ["1234", "1234"]


async def test_without_descriptors_newcomers_wait_and_nobody_inside_notices(
    tmp_path: Path,
) -> None:
    few = limited(FEW, FEW)
    async with running(tmp_path / "data", under=few) as server, aiohttp.ClientSession() as http:
        async with (
            joined(http, server) as agent,
            joined(http, server, session_id=agent.joined["session_id"], role="ui") as screen,
        ):
            # Idle ones would be let go of after ten seconds, and make room.
            crowd = [await idle(server) for _ in range(2 * FEW)]
            await until_the_log_says(server, "newcomers_wait")
            for number in range(50):
                sent = await agent.send({"type": "contextual_update", "text": str(number)})
                await agent.until(requestId=sent)
                await screen.until(requestId=sent)
            for writer in crowd:
                writer.transport.abort()
            async with joined(http, server) as newcomer:
                assert newcomer.joined["created"]
        said = "".join(server.output)
        assert said.count("newcomers_wait") == 1
        assert "Traceback" not in said
        assert len(said) < 50_000


async def idle(server: Server) -> asyncio.StreamWriter:
    host, _, port = server.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    return writer


async def until_the_log_says(server: Server, what: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not any(what in line for line in server.output):
            await asyncio.sleep(0.01)

