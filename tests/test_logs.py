"""Log lines: readable, one line each, and without any credential."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.logs import ScrubbingFilter, adapt_to_host, scrub, set_up

TOKEN = Tokens(Keys([b"k" * 32])).issue("user", "alice", 3600)[0]
TICKET = "kSx1Wq9fT0mA3vZ7yB2cDg"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Give the logging of these tests back as it was."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    was_configured = structlog.is_configured()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    # What nobody had configured must not count as configured afterwards.
    structlog.reset_defaults()
    if was_configured:
        structlog.configure(**config)


@pytest.fixture(params=["text", "json"])
def lines(request: pytest.FixtureRequest, own_logging: None) -> io.StringIO:
    out = io.StringIO()
    set_up(request.param, out)
    return out


@pytest.mark.parametrize(
    "text",
    [
        "GET /ws?token={} HTTP/1.1",
        "GET /ws?after=1&token={}&role=ui",
        "token={}",
        "Referer: http://localhost/sessions/1/pair#token={}",
        "http://localhost/#signin={}",
        "http://localhost/p#{}.AAAAAAAAAAAAAAAAAAAAAA",
        "Client protocols ['companion.v1', 'bearer.{}'] don't overlap",
        "Authorization: Bearer {}",
        '{{"ticket": "{}", "device": "x"}}',
        "GET /pair?code={}",
        "b'GET /pair?ticket={} HTTP/9'",
        "secret_key='{}'",
        "X-Companion-Secret: {}",
    ],
)
@pytest.mark.parametrize("secret", [TICKET, TOKEN, "canary-1234567890"])
def test_a_credential_in_any_of_its_places_is_scrubbed(text: str, secret: str) -> None:
    scrubbed = scrub(text.format(secret))
    assert secret not in scrubbed
    assert "[scrubbed]" in scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "GET /sessions/3f2b8c1e-6a4d-4e7b-9c5a-1d2e3f4a5b6c/state/monkey 200",
        "code 4408: slow consumer",
        "error_code=tool_closed code=tool_closed 'code': 'not_found' key=selected",
        "the keyboard is here; tokens are listed",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize("code", ["123456789", "123 456 789", "123-456-789"])
@pytest.mark.parametrize("form", ["code={}", "{{'code': '{}'}}", '{{"code":"{}"}}'])
def test_a_pairing_code_is_scrubbed(form: str, code: str) -> None:
    assert code not in scrub(form.format(code))


@pytest.mark.parametrize("place", range(0, len(TOKEN) - 24, 40))
def test_a_token_is_scrubbed_anywhere_in_a_line(place: int) -> None:
    assert scrub(f"x{TOKEN}y").count("[scrubbed]") == 1
    assert TOKEN[place + 4 : place + 28] not in scrub(f"<{TOKEN}>")


def test_no_way_of_logging_lets_a_token_through(lines: io.StringIO) -> None:
    structured, plain = structlog.get_logger("a"), logging.getLogger("b")
    structured.info("said", token=TOKEN, nested={"deep": [TOKEN]})
    structured.warning(f"event {TOKEN}")
    plain.info("%s and %r", TOKEN, {"t": TOKEN})
    for logger in (structured, plain):
        try:
            raise ValueError(f"bad {TOKEN}")
        except ValueError:
            logger.exception("failed")
    text = lines.getvalue()
    assert "failed" in text
    assert TOKEN not in text
    assert TOKEN[4:40] not in text


def test_others_cannot_forge_a_line_or_colour_the_terminal(lines: io.StringIO) -> None:
    structlog.get_logger("a").info("join", device="x\n2026-01-01 forged\r\x1b]0;title\x07\x1b[2J")
    logging.getLogger("b").info("device %s", "x\nforged\x00")
    text = lines.getvalue()
    assert len(text.splitlines()) == 2
    assert not {"\x07", "\x00", "\r"} & set(text)
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text


@pytest.mark.usefixtures("own_logging")
def test_lines_are_coloured_on_the_terminals_of_people_who_want_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variables, is_coloured in (
        ({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False),
    ):  # fmt: skip
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in {"TERM": "xterm", **variables}.items():
            monkeypatch.setenv(name, value)
        out = Screen()
        set_up("text", out)
        structlog.get_logger("companion_ws").warning("disk_full", left=3)
        assert ("\x1b[" in out.getvalue()) == is_coloured, variables


def test_json_lines_are_json(lines: io.StringIO, request: Any) -> None:
    structlog.get_logger("a").info("said", count=3, who="äöü")
    if request.node.callspec.params["lines"] == "json":
        line = json.loads(lines.getvalue())
        assert (line["event"], line["count"], line["who"]) == ("said", 3, "äöü")
        assert line["level"] == "info"
    else:
        assert "said" in lines.getvalue()


def test_a_program_that_embeds_us_sees_no_token_in_aiohttp_s_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("aiohttp.websocket")
    scrubbing = ScrubbingFilter()
    logger.addFilter(scrubbing)
    try:
        logger.warning("Client protocols %r", ["companion.v1", f"bearer.{TOKEN}"])
    finally:
        logger.removeFilter(scrubbing)
    assert "Client protocols" in caplog.text
    assert TOKEN not in caplog.text


def test_a_program_that_embeds_us_gets_our_lines_by_its_own_logging(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    config = structlog.get_config()
    was_configured = structlog.is_configured()
    structlog.reset_defaults()
    try:
        adapt_to_host()
        with caplog.at_level(logging.INFO):
            structlog.get_logger("companion_ws.audit").info("token_issued", token=TOKEN, user="x")
    finally:
        structlog.reset_defaults()
        if was_configured:
            structlog.configure(**config)
    assert "token_issued" in caplog.text
    assert TOKEN not in caplog.text
    assert capsys.readouterr().out == ""
