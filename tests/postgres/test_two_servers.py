"""Two servers on one database behind the HAProxy we ship a configuration for; all of it real."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cluster import Cluster
from cluster_storm import FLAGS, balanced
from real_server import PATIENCE_S

from companion_ws import CompanionClient

SESSIONS = 4


async def until(client: CompanionClient, text: str) -> list[dict[str, Any]]:
    """Return the records up to the one that says this."""
    records = []
    async with asyncio.timeout(PATIENCE_S):
        async for record in client.records():
            records.append(record)
            if record.get("text") == text:
                break
    return records


@pytest.mark.timeout(240)
async def test_behind_haproxy_a_session_goes_on_when_either_server_is_lost_or_stopped(
    tmp_path: Path,
) -> None:
    async with Cluster(tmp_path, 2, *FLAGS) as cluster:
        async with balanced(tmp_path, cluster.nodes) as url:
            await lose_and_stop(cluster, url)
        async with balanced(tmp_path, cluster.nodes, by_session=True) as url:
            await lead_by_session(cluster, url)


async def lose_and_stop(cluster: Cluster, url: str) -> None:
    """An agent and its screen, on different servers, miss nothing."""
    token = cluster.nodes[0].server.token()
    async with (
        CompanionClient(url, token=token) as agent,
        CompanionClient(url, token=token, session_id=agent.session_id, role="ui") as screen,
    ):
        said = ["first"]
        await agent.contextual_update("first")
        for node in cluster.nodes:
            await node.kill()
            said.append(f"{node.name} was killed")
            await agent.contextual_update(said[-1])
            await screen.user_message(f"seen: {said[-1]}")
            await node.start()
        async with aiohttp.ClientSession() as http:
            await cluster.until_ready(http)
        for node in cluster.nodes:
            await node.stop()
            said.append(f"{node.name} was stopped")
            await agent.contextual_update(said[-1])
            await node.start()
        seen = await until(screen, said[-1])
        assert [r["text"] for r in seen if r["type"] == "contextual_update"] == said
        assert [r["seq"] for r in seen] == list(range(1, len(seen) + 1))


async def lead_by_session(cluster: Cluster, url: str) -> None:
    """Where HAProxy hashes by session, everybody in one is led to one server."""
    headers = {"Authorization": f"Bearer {cluster.nodes[0].server.token()}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for _ in range(SESSIONS):
            async with http.post(f"{url}/sessions", json={}) as answer:
                session_id = (await answer.json())["session_id"]
            led_to = set()
            for role in ("agent", "ui", "ui"):
                async with http.ws_connect(
                    f"{url}/ws", params={"session_id": session_id, "role": role}
                ) as ws:
                    joined = await ws.receive_json(timeout=PATIENCE_S)
                    assert joined["session_id"] == session_id
                    led_to.add(ws._response.headers["X-Served-By"])
            async with http.get(f"{url}/sessions/{session_id}/records") as answer:
                assert answer.status == 200
                led_to.add(answer.headers["X-Served-By"])
            assert len(led_to) == 1, f"{session_id} was led to {led_to}"
