"""The disk is full under the running server."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import aiohttp
import pytest
from real_server import Screen, joined, running
from small_disk import SmallDisk

from companion_ws.client import CompanionClient


async def answer_to(screen: Screen, request_id: str) -> str:
    """Return `stored`, or the code of the error."""
    message = await screen.until(requestId=request_id)
    return str(message["code"]) if message["type"] == "error" else "stored"


async def ready(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(f"{url}/readyz") as answer:
        return answer.status


@pytest.mark.parametrize("kind", ["tmpfs", "limit"])
async def test_on_a_full_disk_reading_goes_on_and_writing_resumes_without_a_restart(
    kind: str, tmp_path: Path
) -> None:
    with SmallDisk(kind, tmp_path) as disk:
        async with running(disk.folder / "data") as server, aiohttp.ClientSession() as http:
            disk.pid = server.pid
            async with (
                joined(http, server) as agent,
                joined(
                    http, server, session_id=agent.joined["session_id"], role="ui"
                ) as screen,
            ):
                session_id = agent.joined["session_id"]
                first = await agent.send({"type": "state_update", "key": "step", "value": 1})
                assert await answer_to(agent, first) == "stored"
                assert await ready(http, server.url) == 200

                disk.fill()
                text = "x" * 5000
                for _ in range(1000):
                    refused = await agent.send({"type": "contextual_update", "text": text})
                    if await answer_to(agent, refused) == "unavailable":
                        break
                else:
                    raise AssertionError("the disk never refused")
                stored = agent.records[-1]["seq"]

                # Reading and joining go on; whoever asks is told.
                assert await ready(http, server.url) == 503
                asked = await screen.send({"type": "state_get"})
                state = (await screen.until(requestId=asked))["state"]
                assert state["step"]["value"] == 1
                async with joined(http, server, session_id=session_id, after=0) as late:
                    assert late.joined["seq"] == stored
                    await late.until(seq=stored)
                async with http.put(
                    f"{server.url}/sessions/{session_id}/state/step", json=2,
                    headers={"Authorization": f"Bearer {server.token()}"},
                ) as answer:
                    assert answer.status == 503
                    assert int(answer.headers["Retry-After"]) >= 1
                    assert (await answer.json())["code"] == "unavailable"
                again = await screen.send({"type": "user_message", "text": "hello"})
                assert await answer_to(screen, again) == "unavailable"

                disk.free()
                async with asyncio.timeout(10):
                    while await ready(http, server.url) != 200:
                        await asyncio.sleep(0.05)
                # The same requestId settles it, on the same connection.
                await agent.send(
                    {"type": "contextual_update", "text": text, "requestId": refused}
                )
                assert await answer_to(agent, refused) == "stored"
                last = await screen.send({"type": "user_message", "text": "hello"})
                assert await answer_to(screen, last) == "stored"
                assert [record["seq"] for record in screen.records] == list(range(1, stored + 3))
            assert await server.end() == 0


async def test_what_a_client_says_in_order_is_stored_in_order_although_the_disk_refused_some(
    tmp_path: Path,
) -> None:
    with SmallDisk("limit", tmp_path) as disk:
        flags = ("--limit-messages-per-s", "0", "--limit-records", "0")
        async with running(disk.folder / "data", *flags) as server:
            disk.pid = server.pid
            async with CompanionClient(server.url, token=server.token()) as companion:
                text = "x" * 5000
                saying = [
                    asyncio.ensure_future(companion.contextual_update(text, n)) for n in range(300)
                ]
                await saying[50]
                disk.fill()
                async with asyncio.timeout(30):
                    while await ready_of(server.url) != 503:
                        await asyncio.sleep(0.02)
                disk.free()
                async with asyncio.timeout(60):
                    records = await asyncio.gather(*saying)

            by_place = sorted(records, key=lambda record: record["seq"])
            assert [record["data"] for record in by_place] == list(range(300))
            assert await server.end() == 0


async def ready_of(url: str) -> int:
    async with aiohttp.ClientSession() as http:
        return await ready(http, url)


async def test_an_http_caller_that_hangs_up_takes_nothing_from_others(tmp_path: Path) -> None:
    """Cancelling a caller never cancels its unit, nor anybody else's."""
    async with running(tmp_path / "data") as server, aiohttp.ClientSession() as http:
        async with joined(http, server) as agent:
            session_id = agent.joined["session_id"]
            headers = {"Authorization": f"Bearer {server.token()}"}
            url = f"{server.url}/sessions/{session_id}/messages"

            async def call(number: int, *, hangs_up: bool) -> None:
                body = {"type": "contextual_update", "text": f"http {number}",
                        "requestId": str(uuid.uuid4())}
                timeout = aiohttp.ClientTimeout(total=0.003 if hangs_up else 30)
                try:
                    async with http.post(url, json=body, headers=headers, timeout=timeout) as done:
                        assert done.status == 200, await done.text()
                except TimeoutError:
                    assert hangs_up

            async def vanish(number: int) -> None:
                async with joined(http, server, session_id=session_id, role="ui") as screen:
                    for _ in range(20):
                        await screen.send({"type": "user_message", "text": f"ws {number}"})
                    transport = screen.ws._response.connection
                    assert transport is not None
                    assert transport.transport is not None
                    transport.transport.abort()

            callers = [call(number, hangs_up=number % 2 == 0) for number in range(100)]
            await asyncio.gather(*callers, *(vanish(number) for number in range(10)))
            last = await agent.send({"type": "contextual_update", "text": "the end"})
            await agent.until(requestId=last)

            seqs = [record["seq"] for record in agent.records]
            assert seqs == list(range(1, len(seqs) + 1))
            texts = [record["text"] for record in agent.records]
            assert {f"http {n}" for n in range(1, 100, 2)} <= set(texts)
            assert await ready(http, server.url) == 200
