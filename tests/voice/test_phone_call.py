"""A telephone call with no SDK anywhere: it rings, tools are called, it ends."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from typing import Any

import aiohttp
import pytest

from companion_ws.core.commands import AnswerCall
from companion_ws.core.session import Sender
from companion_ws.testing.phone import Phone
from companion_ws.testing.phone_call import PhoneCall
from companion_ws.testing.server import CompanionServer
from companion_ws.voice.elevenlabs.telephony import signature_holds

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
CHOICE = {"title": "Which?", "options": OPTIONS}
TOOL_SECRET, WEBHOOK_SECRET = "tool-secret-of-this-test", "webhook-secret-of-this-test"

both = pytest.mark.parametrize("flat", [True, False], ids=["flat", "envelope"])


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {
        "tools": "companion_ws.examples.shipping",
        "elevenlabs_tool_secret": TOOL_SECRET,
        "elevenlabs_webhook_secret": WEBHOOK_SECRET,
    }


def calling(server: CompanionServer, **options: Any) -> PhoneCall:
    return PhoneCall(server.url, tool_secret=TOOL_SECRET, webhook_secret=WEBHOOK_SECRET, **options)


def screen_of(server: CompanionServer, call: PhoneCall) -> Phone:
    session_id = call.variables["companion_session_id"]
    return Phone(server.client("phone", session_id=session_id, role="ui", after=0))


async def test_a_caller_gets_a_session_a_code_and_an_address(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        variables = call.variables
        assert re.fullmatch(r"\d{9}", variables["companion_pairing_code"])
        assert re.fullmatch(r"\d{3} \d{3} \d{3}", variables["companion_pairing_code_spoken"])
        assert variables["companion_pairing_url"] == f"{companion_server.url}/c"
        assert variables["companion_screen_connected"] is False
        assert variables["companion_summary"] == ""
        summary = await companion_server.sessions.find(call_sid=call.call_sid)
        assert summary is not None
        assert (summary.session_id, summary.user) == (variables["companion_session_id"], "phone")


@both
async def test_the_agent_on_the_telephone_asks_and_the_screen_answers(
    flat: bool, companion_server: CompanionServer
) -> None:
    async with calling(companion_server, flat=flat) as call:
        async with screen_of(companion_server, call) as phone:
            asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
            await phone.choose("air")
            reply = await asking
            assert (reply["status"], reply["id"]) == ("chosen", "air")
        found = await companion_server.sessions.find(conversation_id=call.conversation_id)
        assert found is not None
        assert found.session_id == call.variables["companion_session_id"]


@both
async def test_both_ids_of_a_call_find_its_session(
    flat: bool, companion_server: CompanionServer
) -> None:
    async with calling(companion_server, flat=flat) as call, aiohttp.ClientSession() as http:
        await call.tool("wait_for_companion", {"seconds": 0})
        headers = {"Authorization": f"Bearer {companion_server.token('root', 'admin')}"}
        for id in (call.conversation_id, call.call_sid):
            path = f"{companion_server.url}/sessions?conversation_id={id}"
            async with http.get(path, headers=headers) as answer:
                found = (await answer.json())["sessions"]
            assert [each["session_id"] for each in found] == [
                call.variables["companion_session_id"]
            ]


@both
async def test_a_server_tool_answers_the_telephone(
    flat: bool, companion_server: CompanionServer
) -> None:
    async with calling(companion_server, flat=flat) as call:
        parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
        assert "FedEx" in (await call.tool("get_shipping_quotes", parcel))["result"]


async def test_without_a_screen_the_late_answer_comes_with_the_next_reply(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        # The code of the call is a way in, so the agent would wait; nobody comes here.
        asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
        async with screen_of(companion_server, call) as phone:
            asked = await phone.question("companion_choose")
            await companion_server.sessions.submit(
                call.variables["companion_session_id"],
                {"type": "client_tool_cancel", "tool_call_id": asked["tool_call_id"]},
                Sender("agent", "phone"),
            )
            assert (await asking)["status"] == "cancelled"
            await phone.say("I prefer the ground")
            await phone.tap("note", "fragile", "It is fragile")
            parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
            reply = await call.tool("get_shipping_quotes", parcel)
            texts = [event.get("text") for event in reply["companion"]["events"]]
            assert texts == ["I prefer the ground", None, "It is fragile"]
            again = await call.tool("get_shipping_quotes", parcel)
            assert again["companion"]["events"] == [], "each is told once"


async def test_waiting_for_the_screen_ends_with_what_it_does(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        async with screen_of(companion_server, call) as phone:
            waiting = asyncio.create_task(call.tool("wait_for_companion", {"seconds": 20}))
            await phone.shows("two rates")
            await phone.say("I am ready")
            reply = await waiting
            assert reply["status"] == "news"
            assert [event["text"] for event in reply["companion"]["events"]] == ["I am ready"]
            assert reply["companion"]["screens"] == ["two rates"]


async def test_waiting_for_a_screen_that_does_nothing_says_so(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        reply = await call.tool("wait_for_companion", {"seconds": 0.1})
        assert (reply["status"], reply["companion"]["events"]) == ("waiting", [])


async def test_what_happens_after_the_agent_hung_up_on_its_waiting_is_kept(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        async with screen_of(companion_server, call) as phone:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await call.tool("wait_for_companion", {"seconds": 20})
            await phone.say("I am ready")
            reply = await call.tool("wait_for_companion", {"seconds": 5})
            assert [event["text"] for event in reply["companion"]["events"]] == ["I am ready"]


async def test_nobody_waits_long_for_a_card_that_nobody_looks_at(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        began_s = time.monotonic()
        reply = await call.tool("companion_show", {"title": "Rates", "data": '{"Ground": 12}'})
        assert reply["status"] == "no_screen"
        assert "ask" not in reply["say"], "a card asks nothing"
        assert time.monotonic() - began_s < 8
        async with screen_of(companion_server, call) as phone:
            asked = await phone.question("companion_show")
            assert asked["parameters"] == {"title": "Rates", "data": {"Ground": 12}}


async def test_of_a_card_on_a_phone_that_sleeps_the_agent_says_what_is_true(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call, screen_of(companion_server, call):
        reply = await call.tool("companion_show", {"title": "Rates"})
        assert reply["status"] == "no_answer"
        assert "question" not in reply["say"]
        assert "answer" not in reply["say"]
        assert "screen" in reply["say"]


async def test_a_session_that_ended_leaves_nothing_of_its_caller(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        session_id = call.variables["companion_session_id"]
        await companion_server.sessions.end(session_id, "done")
        with sqlite3.connect(companion_server.config.database_path) as database:
            assert database.execute("SELECT count(*) FROM callers").fetchone() == (0,)
            assert database.execute("SELECT count(*) FROM told").fetchone() == (0,)
        database.close()
        await call.ring()
        assert call.variables["companion_session_id"] != session_id


def all_wait(server: CompanionServer, session_id: str, count: int) -> bool:
    """Whether so many requests wait for a result: nobody may answer before the last has come."""
    waiting = server.sessions.waiting._results
    return sum(len(each) for key, each in waiting.items() if key[0] == session_id) == count


async def test_the_same_request_again_joins_the_open_one(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        async with screen_of(companion_server, call) as phone:
            asking = [asyncio.create_task(call.tool("companion_choose", CHOICE)) for _ in range(3)]
            await phone.question()
            async with asyncio.timeout(20):
                while not all_wait(companion_server, phone.client.session_id, len(asking)):
                    await asyncio.sleep(0.01)
            await phone.choose("ground")
            replies = await asyncio.gather(*asking)
            assert {reply["id"] for reply in replies} == {"ground"}
            records = await companion_server.sessions.records(phone.client.session_id, 0, 1000)
            assert [record["type"] for record in records].count("client_tool_call") == 1


async def test_the_same_request_after_no_answer_waits_for_the_question_that_is_still_there(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        async with screen_of(companion_server, call) as phone:
            await released(companion_server, call, phone)
            again = asyncio.create_task(call.tool("companion_choose", CHOICE))
            await phone.choose("ground")
            reply = await again
            assert reply["id"] == "ground"
            assert reply["companion"]["events"] == [], "it is told once"
            records = await companion_server.sessions.records(phone.client.session_id, 0, 1000)
            assert [record["type"] for record in records].count("client_tool_call") == 1


async def test_an_answer_that_came_before_the_same_request_is_its_answer(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        async with screen_of(companion_server, call) as phone:
            await released(companion_server, call, phone)
            await phone.choose("ground")
            reply = await call.tool("companion_choose", CHOICE)
            assert reply["id"] == "ground"
            assert reply["companion"]["events"] == [], "it is told once"


async def released(server: CompanionServer, call: PhoneCall, phone: Phone) -> None:
    """Ask, and let the agent be released with no_answer at once instead of after 18 s."""
    asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
    asked = await phone.question("companion_choose")
    await server.sessions._answer_call(
        phone.client.session_id,
        AnswerCall(tool_call_id=asked["tool_call_id"], result='{"status":"no_answer"}'),
    )
    assert (await asking)["status"] == "no_answer"


async def test_a_question_nobody_saw_is_asked_anew_with_a_code_that_works(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        # Nobody waits long for what is only shown, so this is the quickest question.
        first = await call.tool("companion_show", {"title": "Rates"})
        second = await call.tool("companion_show", {"title": "Rates"})
        assert first["status"] == second["status"] == "no_screen"
        async with await Phone.pair(companion_server.url, second["pairing_code"]) as phone:
            records = await companion_server.sessions.records(phone.client.session_id, 0, 1000)
            withdrawn = [record["type"] for record in records].count("client_tool_cancel")
            assert withdrawn == 1
            await phone.answer("companion_show", {"status": "confirmed"})
            reply = await call.tool("wait_for_companion", {"seconds": 10})
            assert [event["type"] for event in reply["companion"]["events"]] == ["user_message"]


async def test_the_same_question_after_its_answer_is_asked_anew(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        async with screen_of(companion_server, call) as phone:
            for choice in ("air", "ground"):
                asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
                await phone.choose(choice)
                assert (await asking)["id"] == choice


async def test_a_restart_in_between_loses_neither_question_nor_answer(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        async with screen_of(companion_server, call) as phone:
            asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
            await phone.question()
            await companion_server.stop()
            # The agent goes on talking; the question is kept for the server that comes.
            assert (await asking)["status"] == "no_answer"
            await companion_server.start()
            retry = asyncio.create_task(call.tool("companion_choose", CHOICE))
            await phone.choose("air")
            assert (await retry)["id"] == "air"


async def test_who_calls_back_finds_the_session_and_the_agent_what_it_knew(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as first:
        session_id = first.variables["companion_session_id"]
        await companion_server.sessions.update_session_state(session_id, "destination", "Berlin")
    async with calling(companion_server) as second:
        assert second.variables["companion_session_id"] == session_id
        assert "destination" in second.variables["companion_summary"]
    async with calling(companion_server, caller_id="+15550777") as other:
        assert other.variables["companion_session_id"] != session_id


@pytest.mark.parametrize("hidden", ["", "anonymous", "+266696687"])
async def test_callers_without_a_number_are_strangers_each_time(
    hidden: str, companion_server: CompanionServer
) -> None:
    async with calling(companion_server, caller_id=hidden) as first:
        async with calling(companion_server, caller_id=hidden) as second:
            one, two = first.variables, second.variables
            assert one["companion_session_id"] != two["companion_session_id"]


async def test_the_end_of_the_call_is_told_once(companion_server: CompanionServer) -> None:
    async with calling(companion_server) as call:
        await call.tool("wait_for_companion", {"seconds": 0})
        for _ in range(2):
            assert await call.hang_up() == {"status": "received"}
        session_id = call.variables["companion_session_id"]
        records = await companion_server.sessions.records(session_id, 0, 1000)
        ended = [record for record in records if record.get("text") == "call_ended"]
        assert len(ended) == 1
        assert ended[0]["data"]["summary"] == "The caller chose a rate."


async def test_the_transcript_of_a_long_call_is_no_message_too_large(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        assert await call.hang_up(summary="x" * 1_000_000) == {"status": "received"}
        session_id = call.variables["companion_session_id"]
        record = (await companion_server.sessions.records(session_id, 0, 1000))[-1]
        assert record["data"]["summary"] == "x" * 4_000
        with pytest.raises((aiohttp.ClientResponseError, aiohttp.ClientConnectionError)):
            await call.hang_up(summary="x" * 5_000_000)


async def test_an_end_of_a_call_nobody_knows_is_taken_without_a_word(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server, caller_id="") as call:
        session_id = call.variables["companion_session_id"]
        await companion_server.sessions.end(session_id, "done")
        assert await call.hang_up() == {"status": "received"}


async def test_the_end_of_a_call_tells_no_secret(companion_server: CompanionServer) -> None:
    heard: list[bytes] = []

    class Overhearing(PhoneCall):
        async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
            heard.append(body)
            return await super()._post(path, body, headers)

    async with Overhearing(
        companion_server.url, tool_secret=TOOL_SECRET, webhook_secret=WEBHOOK_SECRET
    ) as call:
        await call.hang_up()
        assert call.variables["secret__companion_session"].encode() not in heard[-1]
        assert call.variables["companion_session_id"].encode() in heard[-1]
        session_id = call.variables["companion_session_id"]
        records = await companion_server.sessions.records(session_id, 0, 1000)
        assert [record.get("text") for record in records] == ["call_ended"]


@pytest.mark.parametrize("off_s", [-3600, 3600])
async def test_a_signature_of_another_hour_is_refused(
    off_s: int, companion_server: CompanionServer
) -> None:
    async with calling(companion_server) as call:
        with pytest.raises(aiohttp.ClientResponseError, match="401"):
            await call.hang_up(at_s=time.time() + off_s)


async def test_a_call_goes_on_by_voice_where_no_session_can_be_had() -> None:
    settings = {"elevenlabs_tool_secret": TOOL_SECRET, "limit_calls": 1}
    async with CompanionServer(**settings) as server:
        async with calling(server) as first, screen_of(server, first):
            async with calling(server, caller_id="+15550777") as second:
                assert second.variables.keys() == first.variables.keys()
                assert second.variables["companion_session_id"] == ""
                assert second.variables["companion_status"] == "unavailable"
                reply = await second.tool("companion_choose", CHOICE)
                assert reply["is_error"]
                assert reply["say"]


async def test_a_wrong_secret_changes_nothing(companion_server: CompanionServer) -> None:
    for secret in ("", "wrong", "ü"):
        with pytest.raises(aiohttp.ClientResponseError, match="401"):
            async with PhoneCall(companion_server.url, tool_secret=secret):
                pass
    assert await companion_server.sessions.listed() == []


async def test_without_configured_secrets_nobody_gets_in() -> None:
    async with CompanionServer() as server:
        with pytest.raises(aiohttp.ClientResponseError, match="401"):
            async with PhoneCall(server.url, tool_secret=""):
                pass
        async with aiohttp.ClientSession() as http:
            headers = {"ElevenLabs-Signature": "t=1,v0=00"}
            path = f"{server.url}/elevenlabs/post-call"
            async with http.post(path, json={}, headers=headers) as answer:
                assert answer.status == 401


@both
async def test_an_unknown_tool_gets_a_normal_result(
    flat: bool, companion_server: CompanionServer
) -> None:
    async with calling(companion_server, flat=flat) as call:
        async with screen_of(companion_server, call) as phone:
            asking = asyncio.create_task(call.tool("open_pod_bay_doors", {"now": True}))
            await phone.answer("open_pod_bay_doors", "I am sorry")
            reply = await asking
            assert reply["result"] == "I am sorry"
            assert "is_error" not in reply


async def test_what_the_session_refuses_is_something_to_say(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        reply = await call.tool("x" * 300)
        assert reply["is_error"]
        assert reply["say"]


async def test_a_session_token_leads_to_its_session_whoever_owns_it(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        mine = await companion_server.sessions.create("alice")
        from companion_ws.access.keys import Keys
        from companion_ws.access.tokens import Tokens

        tokens = Tokens(Keys.load(companion_server.config.data, None))
        call.variables["secret__companion_session"] = tokens.issue(
            "session", "alice", 60, session_id=mine.session_id, role="agent"
        )[0]
        await call.tool("wait_for_companion", {"seconds": 0})
        found = await companion_server.sessions.find(conversation_id=call.conversation_id)
        assert found is not None
        assert found.session_id == mine.session_id


async def test_the_id_of_somebody_elses_session_leads_nowhere(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        theirs = await companion_server.sessions.create("alice")
        call.variables["secret__companion_session"] = theirs.session_id
        await call.tool("wait_for_companion", {"seconds": 0})
        found = await companion_server.sessions.find(conversation_id=call.conversation_id)
        assert found is not None
        assert found.session_id == call.variables["companion_session_id"]


BODY = b'{"type": "post_call_transcription"}'


def signed(stamp: str, body: bytes = BODY, secret: str = "s") -> str:
    import hmac

    return hmac.new(secret.encode(), stamp.encode() + b"." + body, "sha256").hexdigest()


@pytest.mark.parametrize(
    ("header", "holds"),
    [
        (f"t=1000,v0={signed('1000')}", True),
        (f" t=1000 , v0={signed('1000').upper()} ", True),
        (f"t=1000,v0=00,v0={signed('1000')}", True),
        (f"t=1000,v0={signed('1000', b'other')}", False),
        (f"t=1001,v0={signed('1000')}", False),
        (f"v0={signed('1000')}", False),
        (f"t=-800,v0={signed('-800')}", False),
        (f"t=2801,v0={signed('2801')}", False),
        (f"t=2799,v0={signed('2799')}", True),
        ("", False),
        ("t=\udcff,v0=\udcff", False),
    ],
)
def test_a_signature_holds_only_if_it_is_ours_and_of_now(header: str, holds: bool) -> None:
    assert signature_holds("s", header, BODY, 1000.0) is holds
