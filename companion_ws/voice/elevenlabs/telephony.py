"""What ElevenLabs' webhooks say about a telephone call, read and answered in our words.

Nothing here asks or stores: requests in, values out. Every field of theirs is
optional.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

from companion_ws.core.errors import InvalidMessage
from companion_ws.core.phrases import spoken_code
from companion_ws.voice.json_text import read_json
from companion_ws.voice.phone_sessions import Binding, ToolRequest, first_id, word_of

_HEX_SHA256: Final = re.compile("[0-9a-f]{64}")
SIGNATURE_TOLERANCE_S: Final = 30 * 60
"""How old, or how far ahead, a signed post-call request may be."""

MAX_LANGUAGE_CHARS: Final = 35
"""What BCP 47 allows for."""
MAX_SUMMARY_CHARS: Final = 4_000
"""Of what ElevenLabs says a call was about, as much as a card can show."""
_BINDINGS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "session": (
        ("X-Companion-Session",),
        ("secret__companion_session", "companion_session"),
    ),
    "session_id": ((), ("companion_session_id",)),
    "conversation_id": (
        ("X-Conversation-Id", "X-Companion-Conversation"),
        ("conversation_id", "system__conversation_id"),
    ),
    "call_sid": (("X-Call-Sid", "X-Companion-Call"), ("call_sid", "system__call_sid")),
    "caller_id": (("X-Caller-Id",), ("caller_id", "system__caller_id")),
    "called_number": (("X-Called-Number",), ("called_number", "system__called_number")),
}
"""Where each binding may stand: headers first, then fields of the body."""


@dataclass(frozen=True, slots=True)
class Variables:
    """What an agent knows of its screen when a call begins; as it stands, it has none."""

    session_id: str = ""
    session_token: str = ""
    code: str = ""
    code_url: str = ""
    link: str = ""
    is_screen_here: bool = False
    summary: str = ""
    status: Literal["ready", "unavailable"] = "unavailable"


def binding_of(headers: Mapping[str, str], body: Mapping[str, Any]) -> Binding:
    """Return who is calling: from headers, the body, or the dynamic variables in it."""
    variables = body.get("dynamic_variables")
    places = [body, variables if isinstance(variables, dict) else {}]
    found: dict[str, str] = {}
    for name, (header_names, field_names) in _BINDINGS.items():
        candidates = [headers.get(header) for header in header_names]
        candidates += [place.get(field) for place in places for field in field_names]
        found[name] = first_id(*candidates)
    return Binding(**found)


def language_of(body: Mapping[str, Any]) -> str | None:
    """Return the language an initiation names, at its top or as an override; else None."""
    data = _fields(body.get("conversation_initiation_client_data")) or body
    override = _fields(_fields(data.get("conversation_config_override")).get("agent"))
    for language in (body.get("language"), override.get("language")):
        if isinstance(language, str) and 0 < len(language) <= MAX_LANGUAGE_CHARS:
            return language
    return None


def tool_request(tool_name: str, headers: Mapping[str, str], body: Any) -> ToolRequest:
    """Read the body of a webhook tool: flat parameters, or the envelope around them.

    The envelope is `{tool_call_id, tool_name, parameters, conversation_id}`; which of
    the two an account sends cannot be known, so both are taken. Fields that say which
    call it is are no parameters.

    Raises:
        InvalidMessage: the body is not an object.
    """
    if not isinstance(body, dict):
        raise InvalidMessage("The body of a tool request is a JSON object.")
    binding = binding_of(headers, body)
    parameters, tool_call_id = body, None
    if body.keys() & {"tool_call_id", "tool_name"} and "parameters" in body:
        inner = body["parameters"]
        inner = read_json(inner) if isinstance(inner, str) else inner
        if isinstance(inner, dict) or inner is None:
            parameters, tool_call_id = inner or {}, word_of(body.get("tool_call_id")) or None
    own = {field for _, fields in _BINDINGS.values() for field in fields} | {"dynamic_variables"}
    plain = {name: value for name, value in parameters.items() if name not in own}
    return ToolRequest(tool_name, plain, tool_call_id, binding)


def initiation(variables: Variables) -> dict[str, Any]:
    """Return the answer to the initiation webhook: every dynamic variable, always.

    ElevenLabs refuses a call whose agent uses a variable that is missing. What begins
    with `secret__` goes into headers only and is never shown to the model.
    """
    return {
        "type": "conversation_initiation_client_data",
        "dynamic_variables": {
            "companion_session_id": variables.session_id,
            "secret__companion_session": variables.session_token,
            "companion_pairing_code": variables.code,
            "companion_pairing_code_spoken": spoken_code(variables.code),
            "companion_pairing_url": variables.code_url,
            "companion_pairing_link": variables.link,
            "companion_screen_connected": variables.is_screen_here,
            "companion_summary": variables.summary,
            "companion_status": variables.status,
        },
    }


def signature_of(header: str, now_s: float) -> tuple[str, list[str]] | None:
    """Return time and signatures of `ElevenLabs-Signature: t=<unix>,v0=<hex>`.

    None where it has another form, or another time than lately. Spaces are let be.
    """
    stamp, signatures = "", []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            stamp = value.strip()
        elif name == "v0":
            signatures.append(value.strip().lower())
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return None
    if abs(now_s - int(stamp)) > SIGNATURE_TOLERANCE_S:
        return None
    signatures = [given for given in signatures if _HEX_SHA256.fullmatch(given)]
    return (stamp, signatures) if signatures else None


def signature_holds(secret: str, header: str, body: bytes, now_s: float) -> bool:
    """Whether `header` signs this body, and signed it lately.

    Compared in constant time; too old and too new are refused alike.
    """
    signed = signature_of(header, now_s)
    if signed is None:
        return False
    stamp, signatures = signed
    expected = hmac.new(secret.encode(), stamp.encode() + b"." + body, sha256).hexdigest()
    # Every signature is compared, whatever the ones before said.
    holds = [hmac.compare_digest(expected, given) for given in signatures]
    return any(holds)


def post_call_update(body: Mapping[str, Any], with_summary: bool) -> dict[str, Any] | None:
    """Return the command that tells a session its call is over, or None if the body says none.

    Its `requestId` is that of the event, so a retry changes nothing.
    """
    kind, data = body.get("type"), body.get("data")
    if not isinstance(kind, str) or not isinstance(data, dict):
        return None
    texts = {"post_call_transcription": "call_ended", "call_initiation_failure": "call_failed"}
    if kind not in texts:
        return None
    conversation_id = str(data.get("conversation_id") or "")
    analysis, metadata = _fields(data.get("analysis")), _fields(data.get("metadata"))
    summary = str(analysis.get("transcript_summary") or "")
    told = {
        "conversation_id": conversation_id,
        "summary": summary[:MAX_SUMMARY_CHARS] if with_summary and summary else None,
        "successful": analysis.get("call_successful"),
        "duration_s": metadata.get("call_duration_secs"),
        "reason": data.get("failure_reason"),
    }
    return {
        "type": "contextual_update",
        "text": texts[kind],
        "data": {name: value for name, value in told.items() if value is not None},
        "context_id": "call",
        "requestId": f"post_call:{kind}:{conversation_id}"[:128],
    }


def post_call_binding(body: Mapping[str, Any]) -> Binding:
    """Return which call a post-call body is about."""
    data = _fields(body.get("data"))
    initiated = _fields(data.get("conversation_initiation_client_data"))
    phone_call = _fields(_fields(data.get("metadata")).get("phone_call"))
    return binding_of(
        {},
        {
            "call_sid": phone_call.get("call_sid"),
            "conversation_id": data.get("conversation_id"),
            "dynamic_variables": initiated.get("dynamic_variables"),
        },
    )


def _fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
