"""The demo, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from programs import Running, clean_environment

from companion_ws.client import CompanionClient, CompanionClosed

Start = Callable[..., Running]


@dataclass
class Invited:
    """What the terminal shows to somebody who wants to join."""

    demo: Running
    url: str
    code: str
    code_url: str


@pytest.fixture
async def invited(start: Start) -> Invited:
    demo = await asyncio.to_thread(
        start, "demo", "--port", "0", "--pace", "0.01", "--once", kind=Running
    )
    link = await asyncio.to_thread(demo.until, r"open\s+(http://\S+/p#\S+)")
    code = await asyncio.to_thread(demo.until, r"type\s+(\d{3} \d{3} \d{3})\s+at (\S+/c)")
    return Invited(demo, link[1], code[1], code[2])


async def pair(invited: Invited, body: dict[str, str]) -> dict[str, Any]:
    base = invited.code_url.removesuffix("/c")
    async with aiohttp.ClientSession() as http:
        async with http.post(base + "/pair", json={**body, "device": "Pixel 7"}) as response:
            assert response.status == 201
            answer: dict[str, Any] = await response.json()
    return answer


@asynccontextmanager
async def phone(invited: Invited, body: dict[str, str]) -> AsyncIterator[CompanionClient]:
    paired = await pair(invited, body)
    base = invited.code_url.removesuffix("/c")
    async with CompanionClient(base, token=paired["token"], role=None, after=0) as companion:
        assert companion.session_id == paired["session_id"]
        yield companion


async def said(companion: CompanionClient, kind: str, **fields: Any) -> dict[str, Any]:
    async for record in companion.records():
        if record["type"] == kind and fields.items() <= record.items():
            return record
    raise AssertionError


async def test_a_phone_taps_a_quote_confirms_and_gets_its_label(invited: Invited) -> None:
    async with phone(invited, {"ticket": invited.url.partition("#")[2]}) as companion:
        quoted = await said(companion, "contextual_update", text="quote_ready")
        assert quoted["data"]["select"] == "selected_shipping_option"
        (air,) = (quote for quote in quoted["data"]["quotes"] if quote["id"] == "air")
        await companion.set_state("selected_shipping_option", air)

        call = (await said(companion, "client_tool_call", handled_by="screens"))["client_tool_call"]
        assert call["tool_name"] == "companion_confirm"
        assert air["carrier"] in call["parameters"]["title"]
        assert call["parameters"]["amount"] == air["cost"]
        await companion.answer_tool(call["tool_call_id"], {"status": "confirmed"})
        label = await said(companion, "contextual_update", text="label_created")

        assert label["data"]["service"] == "Next Day"
        locked = await said(
            companion, "contextual_update", context_id="shipping_quotes", locked=True
        )
        assert locked["seq"] > label["seq"]
        await asyncio.to_thread(
            invited.demo.until, r"Agent: Done\. .*" + label["data"]["tracking_number"][-4:]
        )
        # The agent hangs up, and the phone keeps what was agreed.
        with pytest.raises(CompanionClosed):
            await said(companion, "nothing more")
    assert await asyncio.to_thread(invited.demo.ended) == 0


async def test_who_says_not_yet_chooses_again_and_may_use_words(invited: Invited) -> None:
    async with phone(invited, {"code": invited.code}) as companion:
        await said(companion, "contextual_update", text="quote_ready")
        await companion.user_message("Ground, please")
        first = (await said(companion, "client_tool_call", handled_by="screens"))[
            "client_tool_call"
        ]
        await companion.answer_tool(first["tool_call_id"], {"status": "declined"})
        nothing = re.compile(r"Agent: Nothing is booked")
        await asyncio.to_thread(invited.demo.until, nothing.pattern)
        await companion.user_message("then the 2nd Day Air")
        async for record in companion.records():
            if record["type"] != "client_tool_call" or record["handled_by"] != "screens":
                continue
            call = record["client_tool_call"]
            if call["tool_call_id"] != first["tool_call_id"]:
                assert "2nd Day Air" in call["parameters"]["title"]
                await companion.answer_tool(call["tool_call_id"], {"status": "confirmed"})
                break
        await said(companion, "contextual_update", text="label_created")


async def test_it_waits_politely_and_leaves_on_ctrl_c_with_nothing_left(invited: Invited) -> None:
    assert invited.demo.process.poll() is None
    code = await asyncio.to_thread(invited.demo.stop, signal.SIGINT)

    assert code == 0
    assert "Traceback" not in "".join(invited.demo.errors)


async def test_open_finds_the_demo_from_any_folder(invited: Invited, tmp_path: Path) -> None:
    def open_(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*Running.command, "open", "--print", *arguments],
            env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    base = invited.url.partition("/p#")[0]
    opened = await asyncio.to_thread(open_)
    if opened.returncode:  # other servers of this account run here, which it lists with the demo
        assert "Several servers run here" in opened.stderr
        named = re.search(rf"--data (\S+) for {re.escape(base)}\b", opened.stderr)
        assert named is not None
        opened = await asyncio.to_thread(open_, "--data", named[1])
    assert opened.stdout.startswith(f"{base}/#signin=")
    assert not (tmp_path / "data").exists()


async def test_a_demo_of_a_telephone_call_prints_the_message_and_its_link_opens_the_screen(
    start: Start,
) -> None:
    demo = await asyncio.to_thread(
        start, "demo", "--phone", "--port", "0", "--pace", "0.01", "--once", kind=Running
    )
    command = r"^send-sms \+12025550143 '?(http://\S+?/p#[^\s']+)'?$"
    link = await asyncio.to_thread(demo.until, command)
    code = await asyncio.to_thread(demo.until, r"the code: (\d{3} \d{3} \d{3}) at (\S+/c)")
    ticket = link[1].partition("#")[2].partition("&")[0]
    async with phone(Invited(demo, link[1], code[1], code[2]), {"ticket": ticket}):
        await asyncio.to_thread(demo.until, "I see your screen")
