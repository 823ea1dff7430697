"""Vapi and Retell as a server sees them: what they send, and what they make of the answers.

Strict where they are: what they would not read is an error here. Source: their documentation of
server messages and custom functions, and the types of their SDKs.
"""

from __future__ import annotations

import hmac
import io
import json
import secrets
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import aiohttp

Body = dict[str, Any]

SECRET = "the secret of this test"


class PlatformCall(ABC):
    """One call at a platform, of `caller`."""

    path: str

    def __init__(self, url: str, *, caller: str = "+12025550143", secret: str = SECRET) -> None:
        self.url = url
        self.id = secrets.token_hex(16)
        self.caller = caller
        self._secret = secret

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def post(self, raw: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Send a body as the platform does; return status and body of the answer."""
        headers = self.headers(raw) if headers is None else headers
        headers = {"Content-Type": "application/json", **headers}
        url = f"{self.url}/{self.path}"
        async with self._http.post(url, data=io.BytesIO(raw), headers=headers) as answer:
            text = await answer.text()
            assert self.path != "retell" or len(text) <= 15_000, "Retell cuts what is longer"
            return answer.status, json.loads(text)

    async def send(self, body: Any) -> Any:
        """Send a body that must be taken; return the answer."""
        status, answer = await self.post(json.dumps(body).encode())
        assert 200 <= status <= 299, (status, answer)
        return answer

    @abstractmethod
    def headers(self, raw: bytes) -> dict[str, str]: ...

    @abstractmethod
    async def begin(self) -> None: ...

    @abstractmethod
    async def tool(self, name: str, arguments: Any = None, call_id: str = "") -> Body:
        """Call a tool; return what the model reads, as an object."""

    @abstractmethod
    async def said(self, *spoken: tuple[str, str]) -> None:
        """All that was said so far, as `(user or agent, text)`."""

    @abstractmethod
    async def hang_up(self, summary: str = "The caller chose.") -> None: ...


class VapiCall(PlatformCall):
    path = "vapi"

    def headers(self, raw: bytes) -> dict[str, str]:
        return {"X-Vapi-Secret": self._secret}

    def message(self, kind: str, **fields: Any) -> Body:
        made = {"createdAt": "2026-11-29T16:00:00.000Z", "updatedAt": "2026-11-29T16:00:00.000Z"}
        call = {
            "id": self.id,
            "orgId": "org",
            **made,
            "type": "inboundPhoneCall",
            "phoneCallProvider": "twilio",
            "phoneCallProviderId": f"CA{self.id}",
            "customer": {"number": self.caller},
        }
        number = {"id": "pn", "orgId": "org", **made, "number": "+12025550199", "provider": "twilio",
                  "twilioAccountSid": "AC1"}  # fmt: skip
        stamp = time.time_ns() // 1_000_000
        message = {"type": kind, "timestamp": stamp, "call": call, "phoneNumber": number, **fields}
        return {"message": message}

    async def begin(self) -> None:
        await self.send(self.message("status-update", status="in-progress"))

    async def tool(self, name: str, arguments: Any = None, call_id: str = "") -> Body:
        [reply] = await self.tools((call_id or f"call_{secrets.token_hex(8)}", name, arguments))
        return reply

    async def tools(self, *calls: tuple[str, str, Any]) -> list[Body]:
        """Call several tools in one message, each as `(id, name, arguments)`."""
        listed = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments or {}}}
            for id, name, arguments in calls
        ]
        with_tools = [
            {"type": "function", "function": {"name": each["function"]["name"]}, "toolCall": each}
            for each in listed
        ]
        answer = await self.send(
            self.message("tool-calls", toolCallList=listed, toolWithToolCallList=with_tools)
        )
        return read_results(answer, [id for id, *_ in calls])

    async def said(self, *spoken: tuple[str, str]) -> None:
        for place, (role, text) in enumerate(spoken):
            role = {"agent": "assistant"}.get(role, role)
            message = self.message(
                "transcript", role=role, transcriptType="partial", transcript=text[:3]
            )
            await self.send(message)
            message["message"] |= {"transcriptType": "final", "transcript": text}
            message["message"]["timestamp"] = 1_700_000_000_000 + place
            await self.send(message)

    async def hang_up(self, summary: str = "The caller chose.") -> None:
        ended = "customer-ended-call"
        await self.send(self.message("status-update", status="ended", endedReason=ended))
        analysis = {"summary": summary, "successEvaluation": "true"}
        report = self.message("end-of-call-report", endedReason=ended, analysis=analysis,
                              artifact={"transcript": "AI: Hello. " * 100, "messages": []})  # fmt: skip
        await self.send(report)


def read_results(answer: Any, ids: list[Any]) -> list[Body]:
    """Return what the model reads; Vapi ignores results in any other form."""
    assert set(answer) == {"results"}
    assert [result["toolCallId"] for result in answer["results"]] == ids
    for result in answer["results"]:
        assert set(result) == {"name", "toolCallId", "result"}
        assert isinstance(result["result"], str)
        assert "\n" not in result["result"]
    return [json.loads(result["result"]) for result in answer["results"]]


class RetellCall(PlatformCall):
    path = "retell"

    def headers(self, raw: bytes, at_ms: int | None = None) -> dict[str, str]:
        at_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
        digest = hmac.digest(self._secret.encode(), raw + str(at_ms).encode(), "sha256").hex()
        return {"X-Retell-Signature": f"v={at_ms},d={digest}"}

    def call(self, **fields: Any) -> Body:
        return {
            "call_id": self.id,
            "agent_id": "agent",
            "agent_version": 1,
            "call_type": "phone_call",
            "call_status": "ongoing",
            "direction": "inbound",
            "from_number": self.caller,
            "to_number": "+12025550199",
            "telephony_identifier": {"twilio_call_sid": f"CA{self.id}"},
            **fields,
        }

    async def event(self, kind: str, **fields: Any) -> Any:
        return await self.send({"event": kind, "call": self.call(**fields)})

    async def begin(self) -> None:
        await self.event("call_started")

    async def tool(self, name: str, arguments: Any = None, call_id: str = "") -> Body:
        call_id = call_id or f"tool_call_{secrets.token_hex(6)}"
        invocation = {"role": "tool_call_invocation", "tool_call_id": call_id, "name": name,
                      "arguments": json.dumps(arguments)}  # fmt: skip
        call = self.call(transcript="Agent: One moment.", transcript_with_tool_calls=[invocation])
        answer = await self.send({"name": name, "args": arguments or {}, "call": call})
        assert isinstance(answer, dict)
        return answer

    async def said(self, *spoken: tuple[str, str]) -> None:
        listed = [{"role": role, "content": text, "words": []} for role, text in spoken]
        for end in range(1, len(listed) + 1):
            await self.event("transcript_updated", transcript_object=listed[:end])
        self._said = listed

    async def hang_up(self, summary: str = "The caller chose.") -> None:
        told: Body = {"call_status": "ended", "disconnection_reason": "user_hangup",
                      "duration_ms": 42_000, "transcript_object": getattr(self, "_said", [])}  # fmt: skip
        await self.event("call_ended", **told)
        analysis = {"call_summary": summary, "call_successful": True}
        await self.event("call_analyzed", **told, call_analysis=analysis)


PLATFORMS: dict[str, type[PlatformCall]] = {"vapi": VapiCall, "retell": RetellCall}
