"""What Vapi's and Retell's own SDKs make of our answers, and of what our fakes of them send."""

from __future__ import annotations

import json

from retell.lib import verify
from retell.types import PhoneCallResponse
from vapi import ServerMessageResponseToolCalls, ServerMessageToolCalls

from companion_ws.voice.platform_call import Asked
from companion_ws.voice.retell import RETELL
from companion_ws.voice.vapi import VAPI
from tests.voice.platform_calls import SECRET, RetellCall, VapiCall


def test_retell_signs_as_the_fake_does() -> None:
    raw = json.dumps({"event": "call_started"}).encode()
    headers = RetellCall("").headers(raw)
    assert verify(raw.decode(), SECRET, headers["X-Retell-Signature"])
    assert RETELL.holds(headers, SECRET, raw)


def test_the_call_of_the_fake_is_one_of_retell() -> None:
    call = PhoneCallResponse(**RetellCall("").call())
    assert call.telephony_identifier is not None
    assert call.to_number == "+12025550199"


def test_vapi_reads_the_results_of_tools() -> None:
    asked = Asked("companion_choose", {}, "tool_1", "tool_1")
    answer = VAPI.answer([(asked, {"status": "chosen", "id": "air"})])
    read = ServerMessageResponseToolCalls.model_validate(answer)
    assert read.results is not None
    [result] = read.results
    assert (result.tool_call_id, result.name) == ("tool_1", "companion_choose")
    assert json.loads(result.result or "")["id"] == "air"


def test_the_message_of_the_fake_is_one_of_vapi() -> None:
    function = {"name": "companion_choose", "arguments": "{}"}
    listed = [{"id": "tool_1", "type": "function", "function": function}]
    message = VapiCall("").message("tool-calls", toolCallList=listed, toolWithToolCallList=[])
    read = ServerMessageToolCalls.model_validate(message["message"])
    assert read.tool_call_list[0].function.name == "companion_choose"
    [asked] = VAPI.read(message).asked or []
    assert (asked.tool_name, asked.answers_to) == ("companion_choose", "tool_1")
