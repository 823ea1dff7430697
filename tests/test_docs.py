"""Docs against code: what exists is documented, what is shown decodes."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from companion_ws import Config, create_app
from companion_ws.app import ROUTES
from companion_ws.cli import main
from companion_ws.core import protocol
from companion_ws.core.commands import COMMANDS, RECORDS, TOLD
from companion_ws.core.errors import ERRORS
from companion_ws.metrics import Metrics
from companion_ws.web.docs.documents import asyncapi, openapi

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def text_of(*names: str) -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


def json_blocks() -> list[Any]:
    blocks = []
    for page in sorted(DOCS.glob("*.md")):
        found = re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        blocks += [pytest.param(block, id=f"{page.name}-{n}") for n, block in enumerate(found)]
    return blocks


@pytest.mark.parametrize("block", json_blocks())
def test_every_json_example_is_a_message_of_the_protocol(block: str) -> None:
    message = protocol.parse(block)
    kind = message["type"]

    if "timestamp" in message:
        assert kind in RECORDS or kind in TOLD
        if "seq" in message and kind in RECORDS:
            assert {"requestId", "sender", "session_id"} <= set(message)
        if kind == "error":
            assert message["code"] in ERRORS
    else:
        command, _ = protocol.decode(message)
        assert command.type == kind


def test_every_command_record_and_message_is_documented() -> None:
    page = text_of("docs/protocol.md")

    missing = [name for name in {*COMMANDS, *RECORDS, *TOLD} if f"`{name}" not in page]
    assert missing == []


def test_every_error_is_documented_with_its_numbers() -> None:
    rows = {
        match[1]: (match[2], match[3].strip())
        for match in re.finditer(
            r"^\| `(\w+)` \| (\d+) \|([^|]*)\|", text_of("docs/protocol.md"), re.MULTILINE
        )
    }

    expected = {
        code: (str(error.http_status), str(error.close_code or ""))
        for code, error in ERRORS.items()
    }
    assert expected == rows


def test_every_setting_is_documented_with_its_variable() -> None:
    page = text_of("docs/operations.md")

    flags = [
        setting.metadata.get("flag") or "--" + setting.name.replace("_", "-")
        for setting in fields(Config)
        if not setting.metadata.get("secret")
    ]
    secrets = [
        "COMPANION_" + setting.name.upper()
        for setting in fields(Config)
        if setting.metadata.get("secret")
    ]
    assert [name for name in flags + secrets if name not in page] == []


def test_every_metric_is_documented() -> None:
    names = {
        line.split()[2]
        for line in Metrics().text().decode().splitlines()
        if line.startswith("# HELP") and not line.split()[2].endswith("_created")
    }

    page = text_of("docs/operations.md")
    assert [name for name in sorted(names) if name not in page] == []


async def test_every_route_is_documented(tmp_path: Path) -> None:
    app = await create_app(Config(data=tmp_path / "data"))

    page = text_of("docs/protocol.md", "docs/operations.md", "docs/http.md")
    paths = {
        re.sub(r"\{(\w+)(:[^}]*)?\}", r"{\1}", route.path)
        for route in app[ROUTES]
        if not route.path.startswith("/static/")
    }
    assert [path for path in sorted(paths) if f"`{path}`" not in page] == []


async def test_the_openapi_document_names_every_json_route(tmp_path: Path) -> None:
    app = await create_app(Config(data=tmp_path / "data"))
    document = openapi(app[ROUTES], "http://127.0.0.1:8000")

    assert document["openapi"].startswith("3.1")
    assert "/sessions/{session_id}/state/{key}" in document["paths"]
    json.dumps(document)


def test_the_asyncapi_document_names_every_command_and_record() -> None:
    document = asyncapi("http://127.0.0.1:8000")

    names = {message["name"] for message in document["components"]["messages"].values()}
    assert {*COMMANDS, *RECORDS, *TOLD} == names


def command_lines(page: str) -> set[str]:
    """Return what a page says to type after `companion-ws`, in its blocks and in its sentences."""
    text = text_of(page).replace("\\\n", " ")
    shells = "\n".join(re.findall(r"^ *```(?:sh|bash)\n(.*?)```", text, re.DOTALL | re.MULTILINE))
    shells = re.sub(r".*(pip install|docker build).*", "", shells)
    said = re.findall(r"`(companion-ws [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = re.findall(r"companion-ws((?: +[^\n#;|)&>]+)?)", "\n".join([shells, *said]))
    return {" ".join(line.split()) for line in lines} - {""}


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in DOCS.glob("*.md"))])
def test_every_command_that_is_shown_has_the_verbs_and_options_it_names(page: str) -> None:
    for line in command_lines(page):
        words, command = shlex.split(line), main
        options = {option for each in main.params for option in each.opts}
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
            options |= {option for each in command.params for option in each.opts}
        if command is main:
            options |= {option for each in main.commands["serve"].params for option in each.opts}
            assert not words or words[0].startswith("-") or "|" in line, line
        shown = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert shown <= options, line


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in DOCS.glob("*.md"))])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))

    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_about_the_code_names_is_there(page: str) -> None:
    named = re.findall(r"`((?:[a-z_.-]+/)*[a-z_-]+\.(?:py|js|json|md|cfg))`", text_of(page))
    places = (ROOT, ROOT / "companion_ws")

    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_the_glossary_has_at_most_25_words() -> None:
    _, glossary = text_of("docs/architecture.md").split("## Glossary")

    assert len(re.findall(r"^\| (?!word )[a-z]", glossary, re.MULTILINE)) <= 25


def test_what_is_said_of_reliability_names_what_is_there() -> None:
    page = text_of("docs/reliability.md")
    programs = set(re.findall(r"tests/[a-z_/]+\.(?:py|c)", page))
    storm = text_of("tests/faults/storm.py", "tests/faults/rough_proxy.py")
    blows = re.findall(r'^    "(.+)": Storm\.\w+,$', storm, re.MULTILINE)
    [troubles] = re.findall(r'^KINDS: Final = \("clean", (.+)\)$', storm, re.MULTILINE)

    assert [name for name in sorted(programs) if not (ROOT / name).exists()] == []
    chosen = re.findall(r'(tests/\S+\.py) -k (\w+|"[^"]+")', page)
    for name, words in chosen:
        tests = " ".join(re.findall(r"def (test_\w+)", text_of(name)))
        assert [word for word in words.strip('"').split(" or ") if word not in tests] == []
    rows = re.findall(r"^\| ([^|]+) \|", page.split("<!-- storm -->")[1], re.MULTILINE)
    wanted = [*blows, *re.findall(r'"([\w-]+)"', troubles)]
    assert [name for name in wanted if f"`{name}`" not in rows and name not in rows] == []
