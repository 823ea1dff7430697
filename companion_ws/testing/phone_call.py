"""A telephone call for tests: what ElevenLabs sends a server when there is no SDK anywhere."""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import secrets
import time
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp

Body = dict[str, Any]

REDACTED: Final = "<redacted>"
"""What stands for the value of a secret variable in what ElevenLabs tells of a call."""


class PhoneCall:
    """Rings, calls webhook tools, hangs up; entering it rings, leaving it hangs up.

    `variables` are the dynamic variables the server answered. With `flat=False` tool
    requests come in the envelope `{tool_call_id, tool_name, parameters, conversation_id}`.

        async with PhoneCall(server.url, tool_secret="s3cret") as call:
            reply = await call.tool("companion_choose", {"title": …, "options": …})
            print(call.variables["companion_pairing_code"])
    """

    def __init__(
        self,
        url: str,
        *,
        tool_secret: str,
        webhook_secret: str = "",
        caller_id: str = "+15550100",
        called_number: str = "+15550199",
        flat: bool = True,
    ) -> None:
        self.conversation_id = f"conv_{secrets.token_hex(13)}"
        self.call_sid = f"CA{secrets.token_hex(16)}"
        self.variables: Body = {}
        self._url = url.rstrip("/")
        self._tool_secret = tool_secret
        self._webhook_secret = webhook_secret
        self._caller_id = caller_id
        self._called_number = called_number
        self._flat = flat
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        try:
            await self.ring()
        except BaseException:
            await self._http.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._webhook_secret and not self._is_over:
                # A server that does not take it is not told again, and the test goes on.
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    await self.hang_up()
        finally:
            await self._http.close()

    async def ring(self) -> Body:
        """Ask for the dynamic variables, as while it rings; return the whole answer."""
        body = {
            "caller_id": self._caller_id,
            "called_number": self._called_number,
            "agent_id": "agent",
            "call_sid": self.call_sid,
        }
        headers = {"X-Companion-Secret": self._tool_secret}
        answer = await self._post("/elevenlabs/init", json.dumps(body).encode(), headers)
        _check_initiation(answer)
        self.variables = answer["dynamic_variables"]
        return answer

    async def tool(self, name: str, parameters: Body | None = None, **more: Any) -> Body:
        """Call a webhook tool as `companion-ws elevenlabs agent-config` defines it; return the reply.

        `more` are further fields of the body, for instance `tool_call_id`.
        """
        headers = {
            "X-Companion-Secret": self._tool_secret,
            "X-Companion-Session": str(self.variables.get("secret__companion_session", "")),
            "X-Conversation-Id": self.conversation_id,
            "X-Call-Sid": self.call_sid,
        }
        body: Body = {**(parameters or {}), **more}
        if not self._flat:
            headers = {"X-Companion-Secret": self._tool_secret}
            body = {
                "tool_call_id": f"call_{secrets.token_hex(8)}",
                "tool_name": name,
                "parameters": parameters or {},
                "conversation_id": self.conversation_id,
                "call_sid": self.call_sid,
                **more,
            }
        return await self._post(f"/elevenlabs/tools/{name}", json.dumps(body).encode(), headers)

    async def hang_up(
        self,
        kind: Literal["post_call_transcription", "post_call_audio"] = "post_call_transcription",
        *,
        summary: str = "The caller chose a rate.",
        at_s: float | None = None,
    ) -> Body:
        """Send the post-call webhook, signed `at_s` (now).

        As at ElevenLabs, `secret__` variables are not among what it tells.
        """
        told = {
            name: REDACTED if name.startswith("secret__") else value
            for name, value in self.variables.items()
        }
        body = {
            "type": kind,
            "event_timestamp": int(time.time()),
            "data": {
                "agent_id": "agent",
                "conversation_id": self.conversation_id,
                "status": "done",
                "transcript": [],
                "metadata": {"call_duration_secs": 42, "phone_call": {"call_sid": self.call_sid}},
                "analysis": {"call_successful": "success", "transcript_summary": summary},
                "conversation_initiation_client_data": {"dynamic_variables": told},
            },
        }
        raw = json.dumps(body).encode()
        stamp = str(int(time.time() if at_s is None else at_s))
        signature = hmac.new(
            self._webhook_secret.encode(), stamp.encode() + b"." + raw, sha256
        ).hexdigest()
        headers = {"ElevenLabs-Signature": f"t={stamp},v0={signature}"}
        reply = await self._post("/elevenlabs/post-call", raw, headers)
        self._is_over = True
        return reply

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> Body:
        headers = {"Content-Type": "application/json", **headers}
        async with self._http.post(
            self._url + path, data=io.BytesIO(body), headers=headers
        ) as answer:
            if answer.status != 200:
                raise aiohttp.ClientResponseError(
                    answer.request_info,
                    answer.history,
                    status=answer.status,
                    message=await answer.text(),
                )
            reply: Body = await answer.json()
            return reply


def _check_initiation(answer: Body) -> None:
    """Refuse what ElevenLabs would: the call could not begin with it.

    Raises:
        ValueError: it is not a `conversation_initiation_client_data`, or a variable does not hold a value.
    """
    kind = "conversation_initiation_client_data"
    variables = answer.get("dynamic_variables")
    if answer.get("type") != kind or kind in answer or not isinstance(variables, dict):
        raise ValueError(f"The answer to the initiation is not a flat {kind}.")
    for name, value in variables.items():
        if not isinstance(value, str | int | float | bool):
            raise ValueError(f"The dynamic variable {name} is not a string, number or boolean.")
