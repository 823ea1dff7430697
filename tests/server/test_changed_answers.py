"""A person changes their mind: the agent hears the new answer, and the recorded result stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from running import Message, Running, Socket

AIR = json.dumps({"status": "chosen", "id": "air", "label": "Air"})
GROUND = json.dumps({"status": "chosen", "id": "ground", "label": "Ground"})
OPTIONS = {"title": "Which?", "options": ["air", "ground"]}


async def asked(agent: Socket, tool_name: str = "companion_choose", parameters: Any = OPTIONS, **more: Any) -> Message:
    call = {"tool_name": tool_name, "tool_call_id": "c1", "parameters": parameters, **more}
    return await agent.say("client_tool_call", client_tool_call=call)


async def changed(screen: Socket, result: str = GROUND, **more: Any) -> Message:
    return await screen.say("user_message", text="Ground instead", in_reply_to="c1", result=result, **more)


async def test_the_agent_hears_the_new_answer_and_the_result_stays(server: Running) -> None:
    agent, screen = await server.pair_of()
    await asked(agent)
    first = await screen.say("client_tool_result", tool_call_id="c1", result=AIR)
    for _ in ("at once", "after a restart"):
        record = await changed(screen)
        assert (record["type"], record["text"], record["in_reply_to"]) == ("user_message", "Ground instead", "c1")
        assert (record["result"], record["is_change"]) == (GROUND, True)
        assert await agent.next_of("user_message") == record
        kept = (await server.http("GET", f"/sessions/{agent.session_id}/records")).body["records"]
        assert [each for each in kept if each["type"] == "client_tool_result"] == [first]
        await server.restart()
        agent = await server.join(session_id=agent.session_id)
        screen = await server.join(session_id=agent.session_id, role="ui")


async def test_nothing_is_changed_once_the_agent_has_closed_it(server: Running) -> None:
    agent, screen = await server.pair_of()
    await asked(agent)
    await screen.say("client_tool_result", tool_call_id="c1", result=AIR)
    await agent.say("contextual_update", text="Label made", context_id="c1", locked=True)
    for _ in ("at once", "after a restart"):
        more = {"text": "x", "in_reply_to": "c1", "result": GROUND}
        assert await screen.refused("user_message", **more) == "forbidden"
        assert await screen.refused("contextual_update", text="open again", context_id="c1") == "forbidden"
        assert (await screen.say("user_message", text="but please", in_reply_to="c1"))["type"] == "user_message"
        await server.restart()
        agent = await server.join(session_id=agent.session_id)
        screen = await server.join(session_id=agent.session_id, role="ui")
    await agent.say("contextual_update", text="Choose again", context_id="c1")
    assert (await changed(screen))["is_change"] is True


async def test_an_open_question_is_answered_and_not_changed(server: Running) -> None:
    agent, screen = await server.pair_of()
    await asked(agent, expects_response=False)
    assert await screen.refused("user_message", text="x", in_reply_to="c1", result=AIR) == "invalid_message"
    late = await screen.say("client_tool_result", tool_call_id="c1", result=AIR)
    assert (late["type"], "is_change" in late) == ("user_message", False)
    assert (await changed(screen))["is_change"] is True


@pytest.mark.parametrize(
    ("tool_name", "answer", "new", "code"),
    [
        ("companion_confirm", '{"status":"confirmed"}', '{"status":"declined"}', "forbidden"),
        ("mine", "yes", "no", "forbidden"),
        ("companion_choose", AIR, '{"status":"submitted","values":{}}', "invalid_message"),
        ("companion_choose", AIR, "no JSON", "invalid_message"),
    ],
)
async def test_what_cannot_be_changed_is_refused(server: Running, tool_name: str, answer: str, new: str, code: str) -> None:
    agent, screen = await server.pair_of()
    await asked(agent, tool_name, OPTIONS if tool_name == "companion_choose" else {"title": "Sure?"})
    await screen.say("client_tool_result", tool_call_id="c1", result=answer)
    assert await screen.refused("user_message", text="x", in_reply_to="c1", result=new) == code
    assert await screen.refused("user_message", text="x", result=new) == "invalid_message"
    assert await screen.refused("user_message", text="x", in_reply_to="nobody", result=new) == "tool_unknown"
    assert await agent.refused("user_message", text="x", in_reply_to="c1", result=new) == "forbidden"
