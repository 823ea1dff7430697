"""The example for ConversationRelay, called by a strict Twilio, over a kill of the server."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import aiohttp
import pytest
from aiohttp import web

from companion_ws.testing.phone import Phone
from companion_ws.testing.server import free_port
from tests.voice.killable import KillableServer

EXAMPLES = Path(__file__).parents[2] / "examples"
ACCOUNT, SECRET = "AC0123456789abcdef0123456789abcdef", "auth token of this test"
CALLER, CALLED = "+12025550143", "+12025550199"


class FakeTwilio:
    """Takes messages as the Messages resource does, and calls a number's webhook as a call does."""

    def __init__(self) -> None:
        self.texted: list[dict[str, str]] = []

    async def message(self, request: web.Request) -> web.Response:
        basic = "Basic " + base64.b64encode(f"{ACCOUNT}:{SECRET}".encode()).decode()
        if request.headers.get("Authorization") != basic:
            return web.json_response({"code": 20003, "message": "Authenticate"}, status=401)
        form = {name: str(value) for name, value in (await request.post()).items()}
        if set(form) != {"To", "From", "Body"} or len(form["Body"]) > 1600:
            return web.json_response({"code": 21604, "status": 400}, status=400)
        self.texted.append(form)
        return web.json_response({"sid": "SM1", "status": "queued", "error_code": None}, status=201)

    def sign(self, url: str, fields: dict[str, str]) -> dict[str, str]:
        signed = url + "".join(f"{name}{fields[name]}" for name in sorted(fields))
        digest = hmac.digest(SECRET.encode(), signed.encode(), "sha1")
        return {"X-Twilio-Signature": base64.b64encode(digest).decode()}


@pytest.fixture
async def twilio() -> AsyncIterator[tuple[FakeTwilio, str]]:
    fake, app = FakeTwilio(), web.Application()
    app.add_routes([web.post(f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json", fake.message)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield fake, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KillableServer]:
    killable = KillableServer(tmp_path / "data")
    await killable.start()
    yield killable
    await killable.kill()


async def test_the_caller_is_texted_a_link_and_the_late_tap_is_spoken_once(
    twilio: tuple[FakeTwilio, str], server: KillableServer
) -> None:
    fake, api = twilio
    here = f"http://127.0.0.1:{(port := free_port())}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "twilio_relay.py"),
        env={
            **os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PORT": str(port), "PUBLIC_URL": here,
            "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": SECRET, "TWILIO_BASE_URL": api,
            "COMPANION_URL": server.url, "COMPANION_TOKEN": server.token(),
        },
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(60):
            relay = await _connected(http, fake, here)
            async with relay:
                await relay.send_json(
                    {"type": "setup", "sessionId": "VX1", "callSid": "CA1", "from": CALLER, "to": CALLED,
                     "direction": "inbound", "callType": "PSTN", "customParameters": {}}
                )  # fmt: skip
                await _says(relay, "Yes, ple", last=False)
                await _says(relay, "Yes, please.")
                assert await _heard(relay) == "I have texted you a link."
                [message] = fake.texted
                assert (message["To"], message["From"]) == (CALLER, CALLED)
                await server.kill()
                await server.start()
                link = message["Body"].rpartition(" ")[2]
                async with await Phone.pair(server.url, link, timeout_s=20) as phone:
                    await phone.choose("air")
                    assert await _heard(relay) == "About “Which?”: Next day. Thank you, goodbye."
                    await _says(relay, "Bye.")
                    assert await _heard(relay) == "Bye. Thank you, goodbye."
    finally:
        process.kill()
        await process.wait()


async def _connected(http: aiohttp.ClientSession, fake: FakeTwilio, here: str) -> Any:
    """Ring, and open the socket that the answer names; nobody else may do either."""
    form = {"CallSid": "CA1", "From": CALLER, "To": CALLED, "CallStatus": "ringing"}
    while True:
        try:
            async with http.post(f"{here}/call", data=form) as answer:
                assert answer.status == 403
                break
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0.1)
    async with http.post(f"{here}/call", data=form, headers=fake.sign(f"{here}/call", form)) as answer:
        assert (answer.status, answer.content_type) == (200, "text/xml")
        response = ElementTree.fromstring(await answer.text())
    relay = response.find("./Connect/ConversationRelay")
    assert response.tag == "Response"
    assert relay is not None
    assert relay.attrib["welcomeGreeting"]
    url = relay.attrib["url"]
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect(url)
    return await http.ws_connect(url, headers=fake.sign(url, {}))


async def _says(relay: aiohttp.ClientWebSocketResponse, text: str, *, last: bool = True) -> None:
    await relay.send_json({"type": "prompt", "voicePrompt": text, "lang": "en-US", "last": last})


async def _heard(relay: aiohttp.ClientWebSocketResponse) -> str:
    """Return what the caller hears next; Twilio refuses what it does not know."""
    said = ""
    while True:
        message = await relay.receive_json()
        assert message["type"] == "text"
        assert set(message) <= {"type", "token", "last", "lang", "interruptible", "preemptible"}
        said += message["token"]
        if message.get("last"):
            return said
