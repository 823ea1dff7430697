"""Vapi: its server messages, and the results of tools it takes.

A message is `{"message": {"type": …, "call": {…}, …}}`. Its secret comes as `X-Vapi-Secret`, as a
bearer token, or as the HMAC-SHA256 of the body, with or without a time before it.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from companion_ws.voice.phone_sessions import Binding, first_id, word_of
from companion_ws.voice.platform_call import (
    TOLERANCE_S,
    Asked,
    Platform,
    Proof,
    Told,
    fields_of,
    items_of,
    over,
    said,
    token_in,
)

_SIGNATURES: Final = ("X-Vapi-Signature", "X-Signature")
_TIMES: Final = ("X-Vapi-Timestamp", "X-Timestamp")
_SIGNED: Final = re.compile(r"[0-9A-Za-z+/=]{43,64}")
"""SHA-256 as hex or base64."""
_MAX_SECONDS: Final = 100_000_000_000
"""A larger time is one in milliseconds."""


def proof(headers: Mapping[str, str], secret: str, now_s: float) -> Proof:
    """Return what the headers of a request show."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else scheme
    for given in (headers.get("X-Vapi-Secret", ""), bearer):
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode()):
            return "given"
    stamp = _first(headers, _TIMES)
    if stamp and not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 13):
        return "none"
    at_s = int(stamp) / (1000 if int(stamp) > _MAX_SECONDS else 1) if stamp else now_s
    is_signed = _SIGNED.fullmatch(_signature(headers)) and abs(now_s - at_s) <= TOLERANCE_S
    return "signature" if is_signed else "none"


def holds(headers: Mapping[str, str], secret: str, body: bytes) -> bool:
    """Whether the signature is that of this body, with the time before it where one is sent."""
    stamp = _first(headers, _TIMES)
    signed = f"{stamp}.".encode() + body if stamp else body
    digest = hmac.digest(secret.encode(), signed, "sha256")
    given = _signature(headers)
    forms = (digest.hex(), base64.b64encode(digest).decode())
    return any(hmac.compare_digest(form, given) for form in forms)


def read(body: dict[str, Any]) -> Told:
    """Return what a server message says."""
    message = fields_of(body.get("message")) or body
    kind = word_of(message.get("type"))
    binding = _binding(message)
    ref = binding.conversation_id
    if kind == "tool-calls":
        return Told(binding, asked=list(_asked(message)))
    if kind == "status-update":
        status = word_of(message.get("status"))
        is_over = status == "ended"
        reason = message.get("endedReason")
        commands = [over("vapi", "ended", ref, reason=reason)] if is_over else []
        return Told(binding, None, commands, begins=status == "in-progress", is_over=is_over)
    if kind == "end-of-call-report":
        analysis = fields_of(message.get("analysis"))
        command = over(
            "vapi", "report", ref, analysis.get("summary") or message.get("summary"),
            successful=analysis.get("successEvaluation"),
            duration_s=message.get("durationSeconds"),
            reason=message.get("endedReason"),
        )  # fmt: skip
        return Told(binding, None, [command], is_over=True)
    if kind.startswith("transcript"):
        return Told(binding, None, _said(message, kind, ref))
    return Told(binding)


def answer(results: list[tuple[Asked, dict[str, Any]]]) -> dict[str, Any]:
    """Return the results of tools: each one line of text, under the very id that was sent."""
    return {
        "results": [
            {
                "name": asked.tool_name,
                "toolCallId": asked.answers_to,
                "result": json.dumps(result, ensure_ascii=False),
            }
            for asked, result in results
        ]
    }


def refused(result: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to what could not be read."""
    return {"results": [], "error": json.dumps(result, ensure_ascii=False)}


def _binding(message: Mapping[str, Any]) -> Binding:
    call, chat = fields_of(message.get("call")), fields_of(message.get("chat"))
    customer = fields_of(call.get("customer")) or fields_of(message.get("customer"))
    number = fields_of(call.get("phoneNumber")) or fields_of(message.get("phoneNumber"))
    variables = fields_of(call.get("assistantOverrides")).get("variableValues")
    return Binding(
        session=token_in(variables, call.get("metadata")),
        conversation_id=first_id(call.get("id"), chat.get("sessionId"), chat.get("id")),
        call_sid=first_id(call.get("phoneCallProviderId")),
        caller_id=first_id(customer.get("number"), customer.get("sipUri")),
        called_number=first_id(number.get("number"), number.get("sipUri")),
    )


def _asked(message: Mapping[str, Any]) -> Iterator[Asked]:
    items = items_of(message.get("toolCallList")) or items_of(message.get("toolCalls"))
    if not items:
        tools = map(fields_of, items_of(message.get("toolWithToolCallList")))
        items = [{"name": tool.get("name"), **fields_of(tool.get("toolCall"))} for tool in tools]
    for item in map(fields_of, items):
        function = fields_of(item.get("function"))
        arguments = (function.get("arguments"), item.get("arguments"), item.get("parameters"))
        call_id = item.get("id")
        yield Asked(
            first_id(function.get("name"), item.get("name")),
            next((given for given in arguments if given is not None), None),
            first_id(call_id) or None,
            call_id if isinstance(call_id, str | int) else "",
        )


def _said(message: Mapping[str, Any], kind: str, ref: str) -> list[dict[str, Any]]:
    """Return what somebody said, once it is final; the role of who said it is theirs."""
    text, role = message.get("transcript"), message.get("role")
    is_final = message.get("transcriptType") == "final" or "final" in kind
    if not is_final or not isinstance(text, str) or not text.strip():
        return []
    if role not in ("user", "assistant", "bot"):
        return []
    place = f"{word_of(message.get('timestamp')) or message.get('timestamp')}/{text}"
    return [said("vapi", ref, place, role == "user", text)]


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((headers[name].strip() for name in names if headers.get(name)), "")


def _signature(headers: Mapping[str, str]) -> str:
    given = _first(headers, _SIGNATURES).removeprefix("sha256=")
    return given.lower() if len(given) == 64 else given


VAPI: Final = Platform("vapi", "vapi_secret", proof, holds, read, answer, refused)
