"""The AsyncAPI document against what a server really says: every message has the shape it promises."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from running import Running

from companion_ws.core.commands import COMMANDS, RECORDS, SAID
from companion_ws.web.docs.documents import asyncapi
from companion_ws.web.docs.samples import said_example, sent_example

DOCUMENT = asyncapi("https://example.org")
CHOICE = {"title": "Which?", "options": [{"id": "air", "label": "Air"}]}
SELDOM = {"media", "session_expiring", "pairing_request", "token_expiring", "token_renewed"}
"""What takes a fetched picture or minutes; their examples stand for them."""


def faults(message: dict[str, Any], side: str = "told") -> list[str]:
    payload = DOCUMENT["components"]["messages"][f"{side}_{message['type']}"]["payload"]
    validator = Draft202012Validator({**payload, "components": DOCUMENT["components"]})
    return [
        f"{message['type']}: {fault.json_path} {fault.message}"
        for fault in validator.iter_errors(message)
    ]


async def test_what_a_server_says_is_what_its_document_says(server: Running) -> None:
    agent = await server.join()
    screen = await server.join(session_id=agent.session_id, role="ui")
    watcher = await server.join(session_id=agent.session_id, role="observer")
    for name in COMMANDS:
        # Each as its example has it; whoever may not say it is told an error.
        for one in (agent, screen):
            await one.send(name, **{**sent_example(name), "requestId": f"{id(one)}-{name}"})
    await agent.quiet()
    await agent.call("c1", parameters=CHOICE)
    await agent.call("c2", parameters=CHOICE)  # the same question
    await agent.say("client_tool_cancel", tool_call_id="c2")
    await screen.say(
        "client_tool_result", tool_call_id="c1", result='{"status": "chosen", "id": "air"}'
    )
    await screen.say("user_message", text="Ground", in_reply_to="c1", result='{"status": "chosen"}')
    await agent.say("state_update", key="k", value=1, requestId="same")
    assert (await agent.say("state_update", key="k", value=1, requestId="same"))["duplicate"]
    assert (await agent.say("state_get"))["state"]
    pairing = await server.http(
        "POST", f"/sessions/{agent.session_id}/pairings", token=server.token()
    )
    await server.http(
        "POST", "/pair", {"code": pairing.body["code"], "device": "Pixel"}, token=None
    )
    await agent.call("c3", tool_name="nobody_knows", timeout_ms=1000)
    await agent.result("c3")
    await agent.say("client_tool_cancel", tool_call_id="c3")
    late = await server.join(session_id=agent.session_id, role="ui", after=0)
    await late.quiet()
    await screen.leave()
    await agent.next_of("presence", event="left")
    await server.http("DELETE", f"/sessions/{agent.session_id}")
    for one in (agent, watcher, late):
        await one.end()

    heard = [message for one in (agent, screen, watcher, late) for message in one.heard]
    assert [fault for message in heard for fault in faults(message)] == []
    assert {message["type"] for message in heard} == SAID.keys() - SELDOM


@pytest.mark.parametrize("name", SAID)
def test_the_examples_of_the_pages_are_what_the_document_says(name: str) -> None:
    assert faults(said_example(name, is_record=name in RECORDS)) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_of_the_pages_are_what_the_document_says(name: str) -> None:
    assert faults(sent_example(name), "send") == []
