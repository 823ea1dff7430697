"""A server that is told to stop does, whoever is silent."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from real_server import joined, running, silent_peer

SILENT, LIVE = 30, 10


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
async def test_a_stop_with_silent_peers_is_quick_tells_everybody_and_stores_what_was_accepted(
    signal_name: str, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    async with running(tmp_path / "data") as server:
        async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
            agent = await stack.enter_async_context(joined(http, server))
            session_id = agent.joined["session_id"]
            screens = [
                await stack.enter_async_context(
                    joined(http, server, session_id=session_id, role="ui")
                )
                for _ in range(LIVE)
            ]
            silent = [await silent_peer(server, session_id) for _ in range(SILENT)]
            sent = [
                await agent.send({"type": "contextual_update", "text": str(number)})
                for number in range(50)
            ]
            reading = [asyncio.create_task(screen.to_the_end()) for screen in (agent, *screens)]
            while not agent.records:
                await asyncio.sleep(0)
            began_s = loop.time()
            code = await server.end(signal.Signals[signal_name])
            took_s = loop.time() - began_s
            await asyncio.gather(*reading)

            assert code == 0
            assert took_s < 8
            for screen in (agent, *screens):
                assert screen.ws.close_code == 1012
            for writer in silent:
                writer.transport.abort()
        await server.start()
        async with aiohttp.ClientSession() as http:
            async with joined(http, server, session_id=session_id, after=0) as screen:
                last = screen.joined["seq"]
                while not screen.records or screen.records[-1]["seq"] < last:
                    await screen.receive()
                stored = [record["requestId"] for record in screen.records]
        acknowledged = [record["requestId"] for record in agent.records]
        assert stored[: len(acknowledged)] == acknowledged
        assert stored == sent[: len(stored)]
