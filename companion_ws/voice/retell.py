"""Retell: the custom functions of its agents, and the events of their calls.

A function is `{"name": …, "args": {…}, "call": {…}}`, an event `{"event": …, "call": {…}}`. Both are
signed: `X-Retell-Signature: v=<ms>,d=<hex>` is the HMAC-SHA256 of the body and the time after it.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
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
from companion_ws.voice.wording import cut

MAX_ANSWER_CHARS: Final = 15_000
"""What Retell keeps of an answer."""
_SIGNATURE: Final = re.compile(r"v=([0-9]{1,16}),\s*d=([0-9a-fA-F]{64})")
_AT_ROOT: Final = "This function sends its arguments alone. Turn off “Payload: args only”."


def proof(headers: Mapping[str, str], secret: str, now_s: float) -> Proof:
    """Return what the headers of a request show: only the body tells whether a signature holds."""
    signed = _SIGNATURE.fullmatch(headers.get("X-Retell-Signature", "").strip())
    is_recent = signed is not None and abs(now_s - int(signed[1]) / 1000) <= TOLERANCE_S
    return "signature" if is_recent else "none"


def holds(headers: Mapping[str, str], secret: str, body: bytes) -> bool:
    """Whether the signature is that of this body and the time it names."""
    signed = _SIGNATURE.fullmatch(headers.get("X-Retell-Signature", "").strip())
    if signed is None:
        return False
    expected = hmac.digest(secret.encode(), body + signed[1].encode(), "sha256").hex()
    return hmac.compare_digest(expected, signed[2].lower())


def read(body: dict[str, Any]) -> Told:
    """Return what a function call or an event says."""
    call = fields_of(body.get("call")) or fields_of(body.get("chat"))
    binding = _binding(call)
    ref, kind = binding.conversation_id, word_of(body.get("event"))
    if not kind:
        return Told(binding, asked=[_asked(body, call)])
    if kind in ("call_started", "chat_started"):
        return Told(binding, begins=True)
    if kind == "transcript_updated":
        # The newest may still grow; it is told with the next one, or at the end.
        return Told(binding, None, _said(body, call, ref)[:-1])
    if kind in ("call_ended", "chat_ended", "call_analyzed", "chat_analyzed"):
        analysis = fields_of(call.get("call_analysis")) or fields_of(call.get("chat_analysis"))
        duration_ms = call.get("duration_ms")
        command = over(
            "retell", kind, ref, analysis.get("call_summary") or analysis.get("chat_summary"),
            successful=analysis.get("call_successful", analysis.get("chat_successful")),
            duration_s=duration_ms / 1000 if isinstance(duration_ms, int | float) else None,
            reason=call.get("disconnection_reason"),
        )  # fmt: skip
        commands = [] if kind.endswith("analyzed") else _said(body, call, ref)
        return Told(binding, None, [*commands, command], is_over=True)
    if kind == "call_inbound":
        return Told(answer={"call_inbound": {}})
    return Told(binding)


def answer(results: list[tuple[Asked, dict[str, Any]]]) -> dict[str, Any]:
    """Return the result of the one function that was called, as much of it as Retell keeps."""
    [(_, result)] = results
    return refused(result)


def refused(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the model reads, within Retell's bound."""
    if _chars(result) <= MAX_ANSWER_CHARS:
        return result
    # The fields beside `result` repeat it.
    plain = {name: value for name, value in result.items() if name in _OWN}
    spare = _chars({**plain, "result": ""}) - len('""')
    plain["result"] = _cut(str(plain.get("result", "")), max(0, MAX_ANSWER_CHARS - spare))
    return plain if _chars(plain) <= MAX_ANSWER_CHARS else cut(plain, MAX_ANSWER_CHARS)


_OWN: Final = frozenset({"result", "is_error", "companion"})


def _cut(text: str, limit: int) -> str:
    """Return text that is within the limit as JSON."""
    over_chars = len(json.dumps(text, ensure_ascii=False)) - limit
    return text if over_chars <= 0 else f"{text[: max(0, len(text) - over_chars - 1)]}…"


def _chars(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False))


def _binding(call: Mapping[str, Any]) -> Binding:
    carrier = fields_of(call.get("telephony_identifier"))
    ends = (call.get("from_number"), call.get("to_number"))
    if call.get("direction") == "outbound":
        ends = ends[::-1]
    return Binding(
        session=token_in(call.get("retell_llm_dynamic_variables"), call.get("metadata")),
        conversation_id=first_id(call.get("call_id"), call.get("chat_id")),
        call_sid=first_id(carrier.get("twilio_call_sid")),
        caller_id=first_id(ends[0]),
        called_number=first_id(ends[1]),
    )


def _asked(body: Mapping[str, Any], call: Mapping[str, Any]) -> Asked:
    name = first_id(body.get("name"))
    return Asked(name, body.get("args"), _call_id(name, call))


def _call_id(name: str, call: Mapping[str, Any]) -> str | None:
    """Return the id of this call, as far as the transcript has it: Retell asks up to three times."""
    told = [fields_of(each) for each in items_of(call.get("transcript_with_tool_calls"))]
    answered = {each.get("tool_call_id") for each in told if each.get("role") == "tool_call_result"
                if isinstance(each.get("tool_call_id"), str)}  # fmt: skip
    for each in reversed(told):
        if each.get("role") == "tool_call_invocation" and each.get("name") == name:
            call_id = first_id(each.get("tool_call_id"))
            return call_id if call_id and call_id not in answered else None
    return None


def _said(body: Mapping[str, Any], call: Mapping[str, Any], ref: str) -> list[dict[str, Any]]:
    """Return what was said, each at its place; what a third party says is nobody's here."""
    spoken = map(fields_of, items_of(call.get("transcript_object")))
    return [
        said("retell", ref, place, each.get("role") == "user", each["content"])
        for place, each in enumerate(spoken)
        if each.get("role") in ("user", "agent")
        and isinstance(each.get("content"), str)
        and each["content"].strip()
    ]


RETELL: Final = Platform("retell", "retell_api_key", proof, holds, read, answer, refused)
