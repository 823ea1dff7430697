"""What the readable page shows as examples, and the few facts no type knows.

Tests hold every entry against the code: examples decode, calls are answered,
and each key names something that exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from companion_ws.core.commands import COMMANDS
from companion_ws.web.guard.joining import MAX_TEXT, MAX_TOOLS

SESSION_ID: Final = "9b2f6c1e-7d34-4a58-8e21-0c5d9f4b7a63"
AT_MS: Final = 1650000000000

KINDS: Final = {
    "user": "A person: all of their own sessions.",
    "service": "A backend: the sessions it opened for users it names, and no others.",
    "admin": "An operator: their own sessions, the routes of this machine, and every session "
    "over HTTP or as `observer`.",
    "session": "One session in one role: a paired phone, or a public page.",
    "metrics": "`/metrics`, from anywhere, and nothing else.",
}
"""Token kinds."""

JOIN: Final = {
    "token": "Token of the joining client. Also as `Authorization: Bearer …`, or as second entry of "
    "`Sec-WebSocket-Protocol: companion.v1, bearer.<token>`; in one place only.",
    "session_id": "Join this session; absent: a new one, or the token's own. One that is "
    "unknown, expired or somebody else's begins a new session, and `session_joined` says so.",
    "after": "The last `seq` seen: every record after it follows, then what is live.",
    "epoch": "The log it was seen in, from `session_joined`; another log means a snapshot.",
    "role": "`agent` unless the token says otherwise, `ui` for screens, `observer` to watch.",
    "device": f"A label for people, at most {MAX_TEXT} characters.",
    "tools": f"The tools this screen answers, at most {MAX_TOOLS}, with commas between; "
    "none named: any.",
    "ordered": "`1`: after a refusal that passes, what else was on its way is refused too, until "
    "`ping` with `resume`; then all of it is sent again, oldest first.",
    "strict": "`1`: close 4504 instead of beginning a new session.",
}
"""Parameters of `/ws`."""

CLOSES: Final = {
    1009: "A message was larger than `--limit-message-bytes`.",
    1011: "Our fault.",
    1012: "The server restarts.",
}
"""Close codes that no error stands for."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request worth copying; `options` are further words of the command line."""

    body: Any = None
    query: str = ""
    headers: tuple[str, ...] = ()
    options: str = ""
    about: str = ""


_SECRET: Final = ("X-Companion-Secret: $SECRET",)

PARAMETERS: Final = {
    "session_id": "$SESSION",
    "key": "selected",
    "name": "companion_show",
    "path": "css/base.css",
    "page": "sessions",
}
"""What stands for a parameter of a path; any other is a variable of its own name."""

CALLS: Final[dict[str, tuple[Call, ...]]] = {
    "POST /sessions": (Call({"title": "Parcel to Denver"}),),
    "GET /sessions": (Call(query="limit=20"),),
    "GET /me/sessions": (Call(query="limit=20"),),
    "PATCH /sessions/{session_id}": (Call({"title": "Parcel to Boulder", "language": "en"}),),
    "PUT /sessions/{session_id}/state/{key}": (
        Call({"carrier": "FedEx", "service": "Ground"}),
        Call({"carrier": "UPS"}, headers=("If-None-Match: *",), about="Only if it is absent:"),
    ),
    "POST /sessions/{session_id}/messages": (
        Call(
            {"type": "contextual_update", "text": "quote_ready",
             "data": {"carrier": "FedEx", "service": "Ground", "cost": 12.99}},
            about="A card on every screen:",
        ),
        Call(
            {"type": "client_tool_call", "client_tool_call": {
                "tool_name": "companion_confirm", "tool_call_id": "call-1",
                "parameters": {"title": "Print the label?"}}},
            query="wait=20",
            about="A question, answered with its result:",
        ),
    ),
    "GET /sessions/{session_id}/records": (
        Call(query="after=0&limit=100"),
        Call(query="after=0", headers=("Accept: text/event-stream",), options="-N",
             about="As a live stream, which `Last-Event-ID` resumes:"),
    ),
    "POST /sessions/{session_id}/pairings": (
        Call(about="To draw, with a code:"),
        Call({"ttl_s": 900}, about="To send, as a link alone:"),
    ),
    "POST /sessions/{session_id}/pairings/{pairing_id}": (Call({"allow": True}),),
    "GET /sessions/{session_id}/qr.svg": (Call(query="pairing=$PAIRING_ID", options="-o qr.svg"),),
    "GET /sessions/{session_id}/qr.png": (Call(query="pairing=$PAIRING_ID", options="-o qr.png"),),
    "POST /pair": (
        Call({"code": "123456789", "device": "Pixel 7"}, about="With the code a person reads out:"),
    ),
    "POST /sign-in": (Call({"ticket": "TICKET_OF_THE_LINK"}),),
    "POST /tokens": (Call({"user": "alice", "role": "user", "ttl_s": 86400}),),
    "DELETE /tokens": (Call(query="user=alice"),),
    "POST /sessions/{session_id}/tokens": (Call({"role": "ui", "ttl_s": 3600}),),
    "POST /keys": (Call({"compromise": False}),),
    "POST /elevenlabs/init": (
        Call(
            {"caller_id": "+13035550101", "called_number": "+13035550199", "call_sid": "CA1"},
            headers=_SECRET,
        ),
    ),
    "POST /elevenlabs/tools/{name}": (
        Call({"title": "Your parcel", "conversation_id": "conv_1"}, headers=_SECRET),
    ),
    "POST /elevenlabs/post-call": (
        Call(
            {"type": "post_call_transcription", "data": {"conversation_id": "conv_1"}},
            headers=("ElevenLabs-Signature: t=$TIME,v0=$SIGNATURE",),
            about="`$SIGNATURE` is the HMAC-SHA256 of `$TIME`, a full stop and the body, in hex:",
        ),
    ),
    "POST /vapi": (
        Call(
            {"message": {"type": "tool-calls", "call": {"id": "call_1"}, "toolCallList": [
                {"id": "tool_1", "type": "function",
                 "function": {"name": "companion_show", "arguments": {"title": "Your parcel"}}}]}},
            headers=("X-Vapi-Secret: $SECRET",),
        ),
    ),
    "POST /retell": (
        Call(
            {"name": "companion_show", "args": {"title": "Your parcel"}, "call": {"call_id": "c1"}},
            headers=("X-Retell-Signature: v=$TIME_MS,d=$SIGNED_BY_RETELL",),
            about="`$SIGNED_BY_RETELL` is the HMAC-SHA256 of the body and `$TIME_MS`, in hex:",
        ),
    ),
    "POST /mcp": (
        Call(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
             "params": {"name": "get_state", "arguments": {}}},
            headers=("X-Companion-Session: $SESSION",),
        ),
    ),
}  # fmt: skip
"""Requests by method and path, where the method, the path and a token are not all there is."""

SECRETS: Final = {
    "POST /elevenlabs/init": "Anybody who sends `X-Companion-Secret`, which is "
    "`COMPANION_ELEVENLABS_TOOL_SECRET`.",
    "POST /elevenlabs/tools/{name}": "Anybody who sends `X-Companion-Secret`, which is "
    "`COMPANION_ELEVENLABS_TOOL_SECRET`.",
    "POST /elevenlabs/post-call": "Anybody who signs the body with "
    "`COMPANION_ELEVENLABS_WEBHOOK_SECRET`.",
    "POST /vapi": "Anybody who sends `COMPANION_VAPI_SECRET` as `X-Vapi-Secret` or as a bearer token, or "
    "signs the body with it.",
    "POST /retell": "Anybody who signs the body with `COMPANION_RETELL_API_KEY`.",
    "POST /pair": "Anybody with the ticket of a link, or a code.",
    "POST /sign-in": "Anybody with the ticket of a sign-in link.",
}
"""What lets in where no token does."""

_CHOOSE: Final = {
    "title": "Which service?",
    "options": [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}],
}
_CHOSEN: Final = '{"status": "chosen", "id": "air", "label": "UPS Next Day"}'

SENT: Final[dict[str, dict[str, Any]]] = {
    "contextual_update": {
        "text": "quote_ready",
        "data": {"carrier": "FedEx", "service": "Ground", "cost": 12.99},
        "context_id": "quote",
    },
    "state_update": {"key": "selected", "value": {"carrier": "FedEx"}, "if_revision": 0},
    "state_delete": {"key": "selected"},
    "state_get": {"key": "selected"},
    "client_tool_call": {
        "client_tool_call": {
            "tool_name": "companion_choose",
            "tool_call_id": "call-1",
            "parameters": _CHOOSE,
            "timeout_ms": 18000,
        }
    },
    "client_tool_result": {"tool_call_id": "call-1", "result": _CHOSEN},
    "client_tool_cancel": {"tool_call_id": "call-1"},
    "user_message": {"text": "Make it express"},
    "ui_action": {
        "action_id": "a-1", "surface_id": "quote", "name": "more", "context": {"page": 2},
    },
    "screen": {"text": "Two quotes are shown, FedEx Ground is chosen"},
    "rendered": {"of_seq": 1},
    "screen_command": {"name": "toast", "text": "Saved"},
    "user_activity": {},
    "user_transcript": {"user_transcription_event": {"user_transcript": "What does it cost?"}},
    "agent_response": {"agent_response_event": {"agent_response": "Twelve ninety-nine."}},
    "agent_response_correction": {
        "agent_response_correction_event": {
            "original_agent_response": "It costs twelve ninety-nine and arrives on",
            "corrected_agent_response": "It costs twelve",
        }
    },
    "interruption": {"interruption_event": {"event_id": 7}},
    "agent_tool_request": {
        "agent_tool_request": {"tool_name": "lookup", "tool_call_id": "call-2"}
    },
    "agent_tool_response": {
        "agent_tool_response": {"tool_name": "lookup", "tool_call_id": "call-2", "is_error": False}
    },
    "conversation_initiation_metadata": {
        "conversation_initiation_metadata_event": {"conversation_id": "conv_1"}
    },
    "pairing_answer": {"pairing_id": "0c5a1b", "allow": True},
    "token_renew": {},
    "ping": {},
}  # fmt: skip
"""Fields of an example of each command, without `type`."""

_PHONE: Final = {
    "connection_id": "c-phone", "role": "ui", "user": "alice", "device": "Pixel 7",
    "device_id": "d-1", "since": AT_MS,
}  # fmt: skip

SAID: Final[dict[str, dict[str, Any]]] = {
    "state_updated": {"key": "selected", "value": {"carrier": "FedEx"}, "revision": 12},
    "state_deleted": {"key": "selected", "revision": 12},
    "client_tool_call": {
        "client_tool_call": {
            **SENT["client_tool_call"]["client_tool_call"],
            "expects_response": True,
        },
        "handled_by": "screens",
        "deadline_at": AT_MS + 18000,
    },
    "client_tool_result": {
        "tool_name": "companion_choose",
        "tool_call_id": "call-1",
        "result": _CHOSEN,
        "is_error": False,
        "answered_by": "ui",
    },
    "session_ended": {"reason": "ended by owner"},
    "session_joined": {
        "protocol": 1,
        "server": "0.1.0",
        "created": False,
        "requested_session_id": SESSION_ID,
        "reason": None,
        "connection_id": "c-phone",
        "role": "ui",
        "user": "alice",
        "title": "Parcel to Denver",
        "language": None,
        "device_id": "d-1",
        "seq": 12,
        "first_seq": 1,
        "epoch": "e1",
        "recovery": "none",
        "state": {"selected": {"value": {"carrier": "FedEx"}, "revision": 12}},
        "presence": [{**_PHONE, "screen": ""}],
        "conversation_id": None,
        "open_calls": [],
        "cards": [],
        "media": [],
        "expires_at": AT_MS + 3600000,
        "limits": {"message_bytes": 65536},
    },
    "presence": {"event": "joined", **_PHONE},
    "state_snapshot": {
        "state": {"selected": {"value": {"carrier": "FedEx"}, "revision": 12}},
        "requestId": "r-1",
    },
    "media": {
        "url": "https://shop.example/shoe.png",
        "media_id": "TvQ3u0m2Yx7hHq1cV9nWbA",
        "media_type": "image/png",
        "width": 640,
        "height": 480,
        "size_bytes": 51200,
    },
    "session_expiring": {"expires_at": AT_MS + 60000},
    "pairing_used": {"pairing_id": "0c5a1b"},
    "pairing_request": {
        "pairing_id": "0c5a1b", "device": "Pixel 7", "verification": "47",
        "expires_at": AT_MS + 60000,
    },
    "token_expiring": {"expires_at": AT_MS + 300000},
    "token_renewed": {"token": "…", "expires_at": AT_MS + 3600000, "requestId": "r-1"},
    "error": {
        "code": "tool_closed", "message": "This call is closed already.", "requestId": "r-1",
    },
    "pong": {"requestId": "r-1"},
}  # fmt: skip
"""Own fields of an example of what the server says, where they are not those of a command."""


def sent_example(name: str) -> dict[str, Any]:
    """Return a command as a client sends it."""
    return {"type": name, "requestId": "r-1", **SENT[name]}


def said_example(name: str, *, is_record: bool) -> dict[str, Any]:
    """Return a message as the server sends it."""
    message = {"type": name, **(SAID[name] if name in SAID else SENT[name])}
    message |= {"session_id": SESSION_ID, "timestamp": AT_MS}
    if is_record:
        message |= {"requestId": "r-1", "seq": 12, "sender": _sender(name)}
    elif name not in SAID:
        message |= {"requestId": "r-1", "sender": _sender(name)}
    return message


def _sender(name: str) -> dict[str, Any]:
    """Return who may have caused a message."""
    role = "agent"
    if name == "session_ended":
        role = "server"
    elif name in COMMANDS and role not in COMMANDS[name].roles:
        role = "ui"
    connection_id = {"agent": "c-agent", "ui": "c-phone"}.get(role)
    return {"role": role, "user": "alice", "connection_id": connection_id}
