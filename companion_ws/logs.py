"""Log lines for people or programs, in which no credential ever stands.

Rules of this file:

1. Scrubbing comes last: the finished line is searched, so that no exception,
   no library and no repr can slip past it.
2. A line is a line, and nothing in it acts: `core/text.py` escapes what others wrote.
3. A line names the request that caused it, and the connection it is about: `request_id` is
   bound for as long as a request is answered, and goes with the tasks that it begins.
4. The access log (web/guard/access_log.py) has the path and never the query, nor the name of a state key.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import textwrap
from collections.abc import Mapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, WrappedLogger

from companion_ws.core.text import visible

audit = structlog.get_logger("companion_ws.audit")
"""Where operators and owners look up what was done: tokens, keys, and admins in others' sessions."""

SCRUBBED: Final = "[scrubbed]"
_STATE_KEY: Final = re.compile(r"(/sessions/+[^/]+/+state/+).+", re.DOTALL | re.IGNORECASE)

_SECRETS: Final = re.compile(
    r"""
    (?P<token> cw[usad]_)[A-Za-z0-9._-]+
    | (?P<bearer> \b bearer (?: \.|\s+|%20 ) )[^\s,'"\\]+
    | (?P<header> authorization ["']? \s*[=:]\s* ["']? (?: \w+\s+ )? )[^\s,'"\\]+
    | (?P<named> (?: ^|[?&;\#'"\s,{(] )
        (?: token|ticket|claim|signin|access_token|secret|secret_key|password|api_key|xi-api-key
          |x-companion-secret ) ["']? \s*[=:]\s* ["']? )
      [^\s&;,'"\\)}]+
    | (?P<query> [?&\#] (?: code|key|sig|signature|auth )= )[^\s&;,'"\\)}]+
    | (?P<code> \b code ["']? \s*[=:]\s* ["']? )\d{3}[\s-]?\d{3}[\s-]?\d{3}
    | (?P<fragment> /p\# )[A-Za-z0-9._-]+
    """,
    re.VERBOSE | re.IGNORECASE,
)
_COLOUR: Final = re.compile(r"(\x1b\[[\d;]*m)")
_INDENT: Final = "    "
"""Before each line of a traceback, so that no message in it can look like a line of the log."""


def scrub(text: str) -> str:
    """Return `text` without tokens, tickets, codes and what else is a credential.

    >>> scrub("GET /ws?token=abc&after=3 cwu_WyJh.x bearer.abc /p#AAAA.BBBB")
    'GET /ws?token=[scrubbed]&after=3 cwu_[scrubbed] bearer.[scrubbed] /p#[scrubbed]'
    """
    return _SECRETS.sub(lambda match: f"{match[match.lastgroup or 0]}{SCRUBBED}", text)


def set_up(
    log_format: Literal["text", "json"] = "text", stream: TextIO | None = None
) -> None:
    """Send all log lines of this process to `stream` (stderr), scrubbed.

    Called once by programs that serve; an application mounted in another
    leaves the other's logging alone, see `adapt_to_host`.
    """
    out = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "text":  # JSON escapes by itself, and whoever reads it gets the value
        shared.append(_harmless)
    handler = logging.StreamHandler(out)
    is_coloured = log_format == "text" and takes_colours(out)
    handler.setFormatter(_Scrubbing(_formatter(log_format, shared, is_coloured), is_coloured))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    scrub_aiohttp()


def takes_colours(out: TextIO) -> bool:
    """Return whether it is a terminal, and nobody asked for one without colours.

    Source: https://no-color.org, where any value but an empty one counts.
    """
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not is_plain and out.isatty()


def adapt_to_host() -> None:
    """Log through the `logging` of whoever runs us, scrubbed, unless structlog is set up already.

    Without this structlog would print to stdout, which belongs to the host.
    """
    scrub_aiohttp()
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
            _scrubbed,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _scrubbed(logger: WrappedLogger, method: str, line: Any) -> str:
    return visible(scrub(str(line)))


def _formatter(log_format: str, shared: list[Any], is_coloured: bool) -> logging.Formatter:
    renderer: Any
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
        exceptions = [structlog.processors.format_exc_info]
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=is_coloured, exception_formatter=_traceback
        )
        exceptions = []
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *exceptions,
            renderer,
        ],
    )


def _harmless(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape what is logged, while it still can be told from the formatter's own colours."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value)
    return event


def _traceback(out: TextIO, error: ExcInfo) -> None:
    """Write a traceback whose lines all stand further in than the log's own."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, error)
    text = visible(plain.getvalue().strip("\n"), lines=True)
    out.write("\n" + textwrap.indent(text, _INDENT, lambda line: True))


class _Scrubbing(logging.Formatter):
    """Another formatter's line, scrubbed, in which only our own colours act."""

    def __init__(self, inner: logging.Formatter, is_coloured: bool) -> None:
        super().__init__()
        self._inner = inner
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        line = scrub(self._inner.format(record))
        if not self._is_coloured:
            return visible(line, lines=True)
        # Others' words were escaped before they met our colours.
        return "".join(
            part if at % 2 else visible(part, lines=True)
            for at, part in enumerate(_COLOUR.split(line))
        )


class ScrubbingFilter(logging.Filter):
    """Scrubs a record before any handler of any program formats it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.msg, Mapping):
            record.msg, record.args = visible(scrub(record.getMessage())), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = scrub(_EXCEPTIONS.formatException(record.exc_info))
        return True


_EXCEPTIONS: Final = logging.Formatter()


def scrub_aiohttp() -> None:
    """Scrub what aiohttp logs itself: requests it cannot read, subprotocols it does not know."""
    for name in ("aiohttp.access", "aiohttp.server", "aiohttp.websocket", "aiohttp.web"):
        logger = logging.getLogger(name)
        if not any(isinstance(existing, ScrubbingFilter) for existing in logger.filters):
            logger.addFilter(ScrubbingFilter())


def shown_path(path: str) -> str:
    """Return a request's path as a log may have it: state keys are what members wrote.

    >>> shown_path("/shop/sessions/3f0e/state/the caller's illness")
    '/shop/sessions/3f0e/state/{key}'
    """
    return scrub(_STATE_KEY.sub(r"\1{key}", path))
