"""Callers get the link as a message: once they agreed, to their own number, and not too often."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from companion_ws.config import Config
from companion_ws.core.companion_tools import PAIR
from companion_ws.core.phrases import LANGUAGES, phrase
from companion_ws.testing.phone import Phone
from companion_ws.testing.phone_call import PhoneCall
from companion_ws.testing.server import CompanionServer
from companion_ws.voice.elevenlabs.agent_config import agent_config
from companion_ws.voice.offered import definitions
from tests.voice.platform_calls import PLATFORMS, SECRET

CALLER = "+12025550143"
CHOICE = {"title": "Which?", "options": [{"id": "air", "label": "UPS Next Day"}]}
YES = {"consent": True}
PROGRAM = """
import json, os, sys, time
with open(sys.argv[1], "a") as sent:
    secrets = [name for name in os.environ if name.startswith("COMPANION_")]
    sent.write(json.dumps({"argv": sys.argv[2:], "secrets": secrets, "pid": os.getpid()}) + "\\n")
if os.path.exists(sys.argv[1] + ".slow"):
    time.sleep(60)
sys.exit(3 if os.path.exists(sys.argv[1] + ".fails") else 0)
"""

both = pytest.mark.parametrize("name", [*PLATFORMS, "elevenlabs"])


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """What the command of this test wrote down, a line for each time it ran."""
    return tmp_path / "it's sent; $(touch x)"


@pytest.fixture
def companion_settings(tmp_path: Path, sent: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("COMPANION_VAPI_SECRET", SECRET)
    program = tmp_path / "send.py"
    program.write_text(PROGRAM)
    named = str(sent).replace("'", "'\"'\"'")
    command = f"{sys.executable} {program} '{named}' --to {{number}} 'Your screen: {{url}}'"
    return {
        "send_link": command,
        "vapi_secret": SECRET,
        "retell_api_key": SECRET,
        "elevenlabs_tool_secret": SECRET,
    }


class ElevenLabsCall(PhoneCall):
    def __init__(self, url: str, caller: str) -> None:
        super().__init__(url, tool_secret=SECRET, caller_id=caller)

    async def begin(self) -> None:
        """It rang when it was entered."""


def calling(name: str, server: CompanionServer, caller: str = CALLER) -> Any:
    if name == "elevenlabs":
        return ElevenLabsCall(server.url, caller)
    return PLATFORMS[name](server.url, caller=caller)


def messages(sent: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sent.read_text().splitlines()] if sent.exists() else []


@both
async def test_who_agrees_is_texted_a_link_that_opens_the_screen(
    name: str, companion_server: CompanionServer, sent: Path
) -> None:
    async with calling(name, companion_server) as call:
        await call.begin()
        told = await call.tool(PAIR.name, YES)
        assert (told["status"], told["number"]) == ("sent", "+12…43")
        assert told["say"].startswith("I have texted you a link")
        [message] = messages(sent)
        assert message["secrets"] == []
        assert message["argv"][:2] == ["--to", CALLER]
        text, _, link = message["argv"][2].rpartition(" ")
        assert text == "Your screen:"
        async with await Phone.pair(companion_server.url, link) as phone:
            asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
            await phone.choose("air")
            assert (await asking)["id"] == "air"


async def test_no_screen_says_that_a_link_was_sent_where_one_was_and_only_there(
    companion_server: CompanionServer, sent: Path
) -> None:
    async with calling("vapi", companion_server) as one:
        await one.begin()
        told = await one.tool(PAIR.name, YES)
        async with calling("vapi", companion_server, caller="+12025550144") as two:
            await two.begin()
            show = "companion_show", {"title": "Rates"}
            sent_one, asked = await asyncio.gather(one.tool(*show), two.tool(*show))
            assert asked["say"].startswith("Nobody has opened the companion screen yet.")
            assert (sent_one["status"], sent_one["say"]) == ("no_screen", told["say"])
            assert sent_one["pairing_code"], "the code is there for who asks for it"
        link = messages(sent)[0]["argv"][2].rpartition(" ")[2]
        async with await Phone.pair(companion_server.url, link):
            pass
        await asyncio.sleep(0.7)  # a screen that left may be back by then
        asked = await one.tool("companion_show", {"title": "Rates"})
        assert "texted" not in asked["say"], "that link has been used"


async def test_without_consent_nothing_is_sent(
    companion_server: CompanionServer, sent: Path
) -> None:
    ask_first = ("ask_first", "May I text you a link to your screen?")
    async with calling("retell", companion_server) as call:
        await call.begin()
        for consent in (None, False, "no", "false", 0, {}, "maybe"):
            told = await call.tool(PAIR.name, {"consent": consent})
            assert (told["status"], told["say"]) == ask_first, consent
        assert messages(sent) == []


async def test_the_consent_is_in_the_trail_and_in_the_log(
    companion_server: CompanionServer,
) -> None:
    async with calling("vapi", companion_server) as call:
        await call.begin()
        await call.tool(PAIR.name, YES)
        found = await companion_server.sessions.find(conversation_id=call.id)
        assert found is not None
        headers = {"Authorization": f"Bearer {companion_server.token('root', 'admin')}"}
        url = f"{companion_server.url}/sessions/{found.session_id}/trail"
        async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
            trail = (await answer.json())["trail"]
        [entry] = [entry for entry in trail if entry["event"] == "texted"]
        assert entry["reason"] == "a link to +12…43, with the caller’s consent"
        records = await companion_server.sessions.records(found.session_id, 0, 100)
        [asked] = [record for record in records if record["type"] == "client_tool_call"]
        assert asked["client_tool_call"]["parameters"] == YES


async def test_a_caller_who_cannot_be_texted_gets_the_code(
    companion_server: CompanionServer, sent: Path
) -> None:
    costly = ("+19002345678", "+18002345678")
    for caller in ("anonymous", "", *costly, "+15550100", "112", "sip:bob@x.example"):
        async with calling("vapi", companion_server, caller=caller) as call:
            await call.begin()
            told = await call.tool(PAIR.name, YES)
            assert told["status"] == "no_screen", caller
            assert told["pairing_code"]
    assert messages(sent) == []


async def test_no_number_that_the_model_writes_is_texted(
    companion_server: CompanionServer, sent: Path
) -> None:
    written = {**YES, "number": "+12025550166", "caller_id": "+12025550166",
               "system__caller_id": "+12025550166"}  # fmt: skip
    async with calling("elevenlabs", companion_server, caller="anonymous") as call:
        assert (await call.tool(PAIR.name, written))["status"] == "no_screen"
        assert messages(sent) == []
    async with calling("elevenlabs", companion_server) as call:
        await call.tool("companion_show", {"title": "Rates", **written})
        assert (await call.tool(PAIR.name, written))["status"] == "sent"
        assert [message["argv"][1] for message in messages(sent)] == [CALLER]


async def test_a_link_that_is_on_its_way_is_not_sent_again(
    companion_server: CompanionServer, sent: Path
) -> None:
    async with calling("vapi", companion_server) as call:
        await call.begin()
        told = [await call.tool(PAIR.name, YES, "same") for _ in range(2)]
        told += await asyncio.gather(*(call.tool(PAIR.name, YES) for _ in range(3)))
        assert [each["status"] for each in told] == ["sent"] * 5
        assert len(messages(sent)) == 1


async def test_a_number_gets_so_many_and_no_more_whatever_calls_and_restarts(
    companion_server: CompanionServer, sent: Path
) -> None:
    statuses: list[list[str]] = []
    for _ in range(3):
        async with calling("vapi", companion_server) as call:
            await call.begin()
            statuses.append([])
            for _ in range(4):
                statuses[-1].append((await call.tool(PAIR.name, YES))["status"])
                _a_minute_passes(companion_server)
            await call.hang_up()
            found = await companion_server.sessions.find(conversation_id=call.id)
            assert found is not None
            await companion_server.sessions.end(found.session_id, "done")
    code = "no_screen"
    assert statuses == [["sent"] * 3 + [code], ["sent", "sent", code, code], [code] * 4]
    assert len(messages(sent)) == 5


def _a_minute_passes(server: CompanionServer) -> None:
    """For what was sent: it was sent a minute before, in a call that began before that."""
    with sqlite3.connect(server.config.database_path) as database:
        database.execute("UPDATE sent_links SET sent_at_ms = sent_at_ms - 60000")
        database.execute("UPDATE phone_calls SET began_at_ms = began_at_ms - 60000")
    database.close()


@pytest.mark.parametrize("trouble", ["fails", "slow"])
async def test_a_command_that_fails_or_hangs_leaves_the_code_to_say(
    trouble: str, companion_server: CompanionServer, sent: Path
) -> None:
    Path(f"{sent}.{trouble}").touch()
    async with calling("vapi", companion_server) as call:
        await call.begin()
        told = await call.tool(PAIR.name, YES)
        assert (told["status"], told["reason"]) == ("no_screen", "The message could not be sent.")
        [message] = messages(sent)
        async with asyncio.timeout(20):
            while Path(f"/proc/{message['pid']}").exists():
                await asyncio.sleep(0.05)  # what hangs is ended
        if trouble == "fails":
            asked = await call.tool("companion_show", {"title": "Rates"})
            assert "texted" not in asked["say"]


async def test_when_the_call_is_over_its_number_is_nobodys(
    companion_server: CompanionServer, sent: Path
) -> None:
    async with calling("retell", companion_server) as call:
        await call.begin()
        found = await companion_server.sessions.find(conversation_id=call.id)
        await call.hang_up()
        assert found is not None
        async with companion_server.client("phone", session_id=found.session_id) as agent:
            record = await agent.call(PAIR.name, YES)
            assert json.loads(record["result"])["status"] == "no_screen"
        assert messages(sent) == []


async def test_agents_on_the_telephone_are_offered_it_and_no_others() -> None:
    for platform in ("vapi", "retell"):
        offered = definitions(platform, "https://x.example")
        assert PAIR.name in json.dumps(offered["tools"])
        assert f"Call {PAIR.name} " in offered["prompt"]
    assert PAIR.name not in json.dumps(definitions("openai", "https://x.example"))
    config = agent_config("https://x.example", kinds=["webhook"])
    assert PAIR.name in [tool["name"] for tool in config["tools"]]
    assert f"Call {PAIR.name} " in config["prompt"]


def test_both_sentences_are_there_in_every_language() -> None:
    for key in ("link_sent", "may_text"):
        assert len({phrase(language, key) for language in LANGUAGES}) == len(LANGUAGES)


@pytest.mark.parametrize("command", ["", "send", "send {number}", "send {url}", "{number} {url}", "a '{number} {url}"])
def test_a_command_that_sends_no_link_is_refused_at_the_start(command: str) -> None:
    with pytest.raises(ValueError, match=r"is not a command|does not send"):
        Config(send_link=command)
