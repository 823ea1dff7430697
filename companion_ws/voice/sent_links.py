"""The link to the screen as a message to the caller's telephone, by a command of the operator.

A telephone at the ear cannot scan, and nine digits are hard to keep in mind. So `companion_pair`
sends the link, and everything here is about to whom, and how often:

1. Only to the number that calls, as the platform told it when the call began, while that call is
   under way. Neither the model nor the caller can name one.
2. Only once the caller has agreed. The consent stands in the session's trail before anything is
   sent, and the tool call that says so in its log.
3. Three times in a call and five times a day to a number, whatever the sessions; counted before
   the command runs, so that a crash does not send more.
4. The command is run without a shell, with nothing of ours in its environment, and not for long.

Where nothing can be sent the agent gets the code to say, as with `no_screen`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final, Protocol

import phonenumbers
import structlog
from phonenumbers import PhoneNumberType

from companion_ws.clock import Clock
from companion_ws.core.errors import CompanionError
from companion_ws.core.phrases import phrase, spoken_code
from companion_ws.core.protocol import encode
from companion_ws.database import Conflict, Database, Statement, one_at_a_time
from companion_ws.sessions.store import Store
from companion_ws.sessions.tools import ServerTool, ToolCall, server_tool, tool

LINK_TTL_S: Final = 900.0
SEND_S: Final = 6.0
"""What a command may take: the agent waits, and the caller with it."""
PER_CALL: Final = 3
PER_NUMBER: Final = 5
"""In a day."""
DAY_MS: Final = 24 * 3600 * 1000
AGAIN_MS: Final = 30_000
"""A link that was sent so lately is on its way; another one would only confuse."""
_IN_CALL: Final = """
    (SELECT count(*) FROM sent_links WHERE session_id = :session_id AND sent_at_ms >= :began_ms)"""
_TODAY: Final = """
    (SELECT count(*) FROM sent_links WHERE number_hash = :number_hash AND sent_at_ms > :day_ms)"""
_COUNT: Final = f"""
    INSERT INTO sent_links (pairing_id, session_id, number_hash, sent_at_ms)
    SELECT :pairing_id, :session_id, :number_hash, :now_ms
    WHERE {_IN_CALL} < :per_call AND {_TODAY} < :per_number"""
_YES: Final = frozenset({"true", "yes", "1"})
_COSTLY: Final = frozenset(
    {
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
        PhoneNumberType.PAGER,
    }
)

log = structlog.get_logger(__name__)


class OpenedLink(Protocol):
    """What a pairing that was opened tells."""

    @property
    def pairing_id(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def code_url(self) -> str: ...


class CallsUnderWay(Protocol):
    """What is known of telephone calls."""

    async def is_live(self, session_id: str) -> bool: ...

    async def began_at_ms(self, session_id: str) -> int: ...


class SentLinks:
    """Sends links, and knows of which session one is out."""

    def __init__(
        self,
        command: str | None,
        database: Database,
        store: Store,
        open_pairing: Callable[..., Awaitable[OpenedLink]],
        calls: CallsUnderWay,
        clock: Clock,
    ) -> None:
        self._command = command
        self._database = database
        self._store = store
        self._open = open_pairing
        self._calls = calls
        self._now_ms = clock.now_ms
        self._running_ms = clock.running_ms
        self._counting = asyncio.Lock()
        """Held while it is seen whether a number may have another: two must not both be the last."""

    def tool(self) -> ServerTool:
        """Return `companion_pair`, which runs here."""

        @tool
        async def companion_pair(call: ToolCall, consent: Any = None) -> dict[str, Any]:
            return await self.pair(call.session_id, _is_yes(consent))

        return server_tool(companion_pair)

    async def pair(self, session_id: str, has_consent: bool) -> dict[str, Any]:
        """Send the caller the link; return what the agent is told, which is something to say."""
        row = await self._store.row(session_id)
        language = None if row is None else row.language
        number = await self._number(session_id)
        if self._command is None or not number:
            return await self._by_code(session_id, language, "This call has no number to text to.")
        if not has_consent:
            return {"status": "ask_first", "say": phrase(language, "may_text")}
        sent = {"status": "sent", "say": phrase(language, "link_sent"), "number": _masked(number)}
        async with self._counting:
            if await self._was_sent_since(session_id, self._now_ms() - AGAIN_MS):
                return sent
            if not await self._may(session_id, number):
                return await self._by_code(session_id, language, "No more links for this number now.")
            opened = await self._open(session_id, LINK_TTL_S)
            if not await self._count(session_id, number, opened.pairing_id):
                return await self._by_code(session_id, language, "No more links for this number now.")
        self._note(session_id, "" if row is None else row.user, number)
        if not await _ran(send_command(self._command, number, opened.url)):
            return await self._by_code(session_id, language, "The message could not be sent.")
        await self._database.transact(
            [Statement("UPDATE sent_links SET is_sent = 1 WHERE pairing_id = ?", (opened.pairing_id,))]
        )
        return sent

    async def is_out(self, session_id: str) -> bool:
        """Whether the caller of the call under way has been sent a link that still opens it."""
        if self._command is None or not await self._calls.is_live(session_id):
            return False
        return await self._was_sent_since(session_id, await self._calls.began_at_ms(session_id))

    async def _was_sent_since(self, session_id: str, since_ms: int) -> bool:
        rows = await self._database.read(
            "SELECT 1 FROM sent_links JOIN pairings USING (pairing_id)"
            " WHERE sent_links.session_id = ? AND is_sent = 1 AND sent_at_ms >= ?"
            " AND used_at_ms IS NULL AND expires_at_ms > ? LIMIT 1",
            (session_id, since_ms, self._running_ms()),
        )
        return bool(rows)

    async def _number(self, session_id: str) -> str:
        """Return the number of the call under way, "" where there is none to send to."""
        if not await self._calls.is_live(session_id):
            return ""
        rows = await self._database.read(
            "SELECT number FROM call_numbers WHERE session_id = ?", (session_id,)
        )
        number = str(rows[0][0]) if rows else ""
        return number if number and is_dialable(number) else ""

    async def _may(self, session_id: str, number: str) -> bool:
        """Whether a number may have another link; `_count` has the last word."""
        [(in_call, today)] = await self._database.read(
            f"SELECT {_IN_CALL}, {_TODAY}",
            await self._bounds(session_id, number),
        )
        return bool(in_call < PER_CALL and today < PER_NUMBER)

    async def _bounds(self, session_id: str, number: str) -> dict[str, Any]:
        return {
            "session_id": session_id, "began_ms": await self._calls.began_at_ms(session_id),
            "number_hash": _hash(number), "day_ms": self._now_ms() - DAY_MS,
        }  # fmt: skip

    async def _count(self, session_id: str, number: str, pairing_id: str) -> bool:
        """Store that a link is sent; False where another server has sent the last one meanwhile."""
        bounds = await self._bounds(session_id, number)
        counted = {
            **bounds, "pairing_id": pairing_id, "now_ms": self._now_ms(), "per_call": PER_CALL,
            "per_number": PER_NUMBER,
        }  # fmt: skip
        try:
            await self._database.transact(
                [
                    one_at_a_time(f"links to {bounds['number_hash'].hex()}"),
                    Statement("DELETE FROM sent_links WHERE sent_at_ms <= ?", (bounds["day_ms"],)),
                    Statement(_COUNT, counted, expect=1),
                ]
            )
        except Conflict:
            return False
        return True

    def _note(self, session_id: str, user: str, number: str) -> None:
        details = {
            "role": "agent", "user": user, "device": "", "device_id": None, "code": None,
            "reason": f"a link to {_masked(number)}, with the caller’s consent",
        }  # fmt: skip
        self._store.trail(session_id, self._now_ms(), "texted", encode(details))

    async def _by_code(self, session_id: str, language: str | None, why: str) -> dict[str, Any]:
        try:
            opened = await self._open(session_id)
        except CompanionError as error:
            return {"status": "refused", "say": phrase(language, "refused"), "reason": error.message}
        address, code = opened.code_url.split("://", 1)[-1], spoken_code(opened.code)
        return {
            "status": "no_screen",
            "say": phrase(language, "no_screen", address=address, code=code),
            "pairing_code": opened.code,
            "pairing_url": opened.code_url,
            "reason": why,
        }


def send_command(command: str, number: str, url: str) -> list[str]:
    """Return the words of a command. A number begins with +, a URL with http: neither is an option.

    >>> send_command("sms --to {number} 'Your screen: {url}'", "+12025550143", "https://x.example/p")
    ['sms', '--to', '+12025550143', 'Your screen: https://x.example/p']
    """
    return [word.replace("{number}", number).replace("{url}", url) for word in shlex.split(command)]


def is_dialable(number: str) -> bool:
    """Whether an E.164 number is one that somebody has, and no message to it costs extra.

    >>> [is_dialable(number) for number in ("+12025550143", "+19005550143", "+15550100", "112")]
    [True, False, False, False]
    """
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return False
    return (
        phonenumbers.is_valid_number(parsed) and phonenumbers.number_type(parsed) not in _COSTLY
    )


def _is_yes(consent: Any) -> bool:
    return consent is True or (
        isinstance(consent, str | int) and str(consent).strip().lower() in _YES
    )


def _masked(number: str) -> str:
    return f"{number[:3]}…{number[-2:]}"


def _hash(number: str) -> bytes:
    return sha256(number.encode()).digest()


async def _ran(argv: list[str]) -> bool:
    """Run a command to its end, or to the end of our patience; return whether it went well."""
    # It is somebody else's program: our secrets are none of its business.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("COMPANION_")
    }
    nothing = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env=environment, stdin=nothing, stdout=nothing, stderr=nothing,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        log.warning("link_not_sent", reason=f"{argv[0]}: {type(error).__name__}")
        return False
    try:
        async with asyncio.timeout(SEND_S):
            status = await process.wait()
    except TimeoutError:
        log.warning("link_not_sent", reason=f"{argv[0]} took more than {SEND_S:.0f} s")
        return False
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if status:
        log.warning("link_not_sent", reason=f"{argv[0]} ended with {status}")
    return status == 0
