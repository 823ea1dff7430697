"""What can go wrong, and what the outside is told: one code, one HTTP status, one close code each."""

from __future__ import annotations

from typing import Any, ClassVar


class CompanionError(Exception):
    """Base of everything this program refuses on purpose.

    `code` is for programs, the message for people, `http_status` and
    `close_code` for the protocols. `close_code` is None where the connection
    stays open and only an `error` message is sent. `details` are further
    fields of the error message, for instance `{"retry_after_ms": 120}`.

    Close codes 4000 to 4499 mean "come back", 4500 to 4999 "the same attempt
    would fail the same way". Source: docs/protocol.md.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    close_code: ClassVar[int | None] = None

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


# Replies: the connection stays open.


class InvalidMessage(CompanionError):
    """The sender wrote something that is no message of the protocol."""

    code = "invalid_message"
    http_status = 400


class UnknownType(CompanionError):
    """`type` names no command."""

    code = "unknown_type"
    http_status = 400


class Forbidden(CompanionError):
    """This role or token may not do that here."""

    code = "forbidden"
    http_status = 403


class RevisionConflict(CompanionError):
    """`if_revision` does not match; `details` hold key, value and revision."""

    code = "revision_conflict"
    http_status = 409


class StateTooLarge(CompanionError):
    """A value, the number of keys or the whole state is beyond its limit."""

    code = "state_too_large"
    http_status = 413


class TooManyRequests(CompanionError):
    """A rate or a quota is exhausted; `retry_after_ms` says when to try again."""

    code = "too_many_requests"
    http_status = 429


class ToolUnknown(CompanionError):
    """A result or a cancellation for a call nobody made."""

    code = "tool_unknown"
    http_status = 404


class ToolClosed(CompanionError):
    """The call has its answer already, or nobody may answer it any more."""

    code = "tool_closed"
    http_status = 409


class ToolCallReused(CompanionError):
    """The `tool_call_id` belongs to a call of another tool, or with other parameters."""

    code = "tool_call_reused"
    http_status = 409


class Unavailable(CompanionError):
    """Not known to be stored; the same `requestId` settles it."""

    code = "unavailable"
    http_status = 503


class SessionEnded(CompanionError):
    """The session is over."""

    code = "session_ended"
    http_status = 410
    close_code = 4510

    def __init__(self, message: str = "The session has ended.", **details: Any) -> None:
        super().__init__(message, **details)


# Closes: the connection cannot go on.


class Unauthenticated(CompanionError):
    """No token, or one that is malformed, forged or revoked."""

    code = "unauthenticated"
    http_status = 401
    close_code = 4501


class TokenExpired(CompanionError):
    """The token was good once; fetch another and reconnect."""

    code = "token_expired"
    http_status = 401
    close_code = 4401


class BadParameter(CompanionError):
    """A parameter of the join is malformed."""

    code = "bad_parameter"
    http_status = 400
    close_code = 4500


class SessionForbidden(CompanionError):
    """This token may not do that in this session."""

    code = "session_forbidden"
    http_status = 403
    close_code = 4503


class SessionNotFound(CompanionError):
    """No such session, or not yours: nobody learns which."""

    code = "session_not_found"
    http_status = 404
    close_code = 4504

    def __init__(self, message: str = "There is no such session.", **details: Any) -> None:
        super().__init__(message, **details)


class SlowConsumer(CompanionError):
    """The outbox was full or a replay stalled; resume with `after`."""

    code = "slow_consumer"
    http_status = 503
    close_code = 4408


class TooManyConnections(CompanionError):
    """Connecting, or sending on in spite of refusals, past the limit."""

    code = "too_many_connections"
    http_status = 429
    close_code = 4429


class Overloaded(CompanionError):
    """The disk refused or too much is under way; try again later."""

    code = "overloaded"
    http_status = 503
    close_code = 1013


# HTTP alone.


class BadRequest(CompanionError):
    """A request no route can make sense of."""

    code = "bad_request"
    http_status = 400


class NotFound(CompanionError):
    """No such thing, or not yours: nobody learns which."""

    code = "not_found"
    http_status = 404


class PreconditionFailed(CompanionError):
    """`If-Match` or `If-None-Match` does not hold; details hold the current value."""

    code = "precondition_failed"
    http_status = 412


class BodyTooLarge(CompanionError):
    """The body is beyond `--limit-message-bytes`."""

    code = "body_too_large"
    http_status = 413


class IdempotencyMismatch(CompanionError):
    """The same `Idempotency-Key` came with another body."""

    code = "idempotency_mismatch"
    http_status = 422


class HostRefused(CompanionError):
    """The `Host` header names nobody we are."""

    code = "host_refused"
    http_status = 421


class OriginRefused(CompanionError):
    """A page of another origin may not do this."""

    code = "origin_refused"
    http_status = 403


class PairingRefused(CompanionError):
    """The owner said no to this device."""

    code = "pairing_refused"
    http_status = 403


class PairingExpired(CompanionError):
    """The question to the owner went unanswered for too long."""

    code = "pairing_expired"
    http_status = 410


ERRORS: dict[str, type[CompanionError]] = {
    error.code: error for error in CompanionError.__subclasses__()
}
"""Every error by its code; docs/protocol.md has a row for each."""
