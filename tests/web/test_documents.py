"""The OpenAPI and AsyncAPI documents: valid, served, and true of the running server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft7Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from companion_ws import Config, create_app
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.core import commands
from companion_ws.web.docs import documents as describe
from companion_ws.web.docs.documents import asyncapi
from tests.npm import npm_package


@pytest.fixture
async def url(tmp_path: Path, aiohttp_server: Any) -> str:
    app = await create_app(Config(data=tmp_path / "data", limit_sessions_per_user=0))
    server = await aiohttp_server(app)
    return f"http://127.0.0.1:{server.port}"


async def document(url: str, name: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/{name}") as answer:
        assert answer.status == 200
        return await answer.json()


async def test_the_openapi_document_is_valid(url: str) -> None:
    OpenAPIV31SpecValidator(await document(url, "openapi.json")).validate()


async def test_the_asyncapi_document_resolves_and_describes_each_message(url: str) -> None:
    served = await document(url, "asyncapi.json")

    messages = served["components"]["messages"]
    for operation in served["operations"].values():
        assert operation["channel"] == {"$ref": "#/channels/session"}
        for reference in operation["messages"]:
            name = reference["$ref"].removeprefix("#/channels/session/messages/")
            assert name in messages
            assert name in served["channels"]["session"]["messages"]
    for reference in references(served["components"]):
        target: Any = served
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    assert {m["name"] for n, m in messages.items() if n.startswith("send_")} == set(
        commands.COMMANDS
    )


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for part in value.values() for found in references(part)]
    if isinstance(value, list):
        return [found for part in value for found in references(part)]
    return []


async def test_the_asyncapi_document_is_valid(url: str) -> None:
    schemas = npm_package("@asyncapi/specs", "6.11.1") / "schemas"
    schema = json.loads((schemas / "3.0.0.json").read_text(encoding="utf-8"))

    faults = [
        f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}"
        for fault in Draft7Validator(schema).iter_errors(await document(url, "asyncapi.json"))
    ]
    assert faults == []


async def test_the_readable_page_escapes_and_names_everything(url: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/docs") as answer:
        page = await answer.text()

    assert all(f"<code>{name}</code>" in page for name in commands.COMMANDS)
    assert not re.search(r"<script(?! type=\"module\" src=\"static/)", page)


async def test_the_server_answers_as_its_document_says(tmp_path: Path) -> None:
    """A generator of requests finds no 500, no undocumented answer and no wrong shape."""
    await examine(tmp_path, examples=5)


@pytest.mark.slow
async def test_the_server_answers_as_its_document_says_at_length(tmp_path: Path) -> None:
    await examine(tmp_path, examples=200)


async def examine(tmp_path: Path, examples: int) -> None:
    app = await create_app(Config(data=tmp_path / "data", limit_sessions_per_user=0))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    tokens = Tokens(Keys.load(tmp_path / "data"))
    try:
        for kind in ("user", "admin"):
            token, _ = tokens.issue(kind, "ann", 3600)  # type: ignore[arg-type]
            await generate(f"http://{host}:{port}/openapi.json", token, examples, tmp_path)
    finally:
        await runner.cleanup()


async def generate(document_url: str, token: str, examples: int, folder: Path) -> None:
    # It ends sessions as it goes; that one is gone (410) refuses whatever else is wrong.
    refusals = [400, 401, 403, 404, 405, 406, 409, 410, 415, 422, 428, 429, "5xx"]
    (folder / "schemathesis.toml").write_text(
        f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(refusals)}\n"
    )
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", document_url),
        *("--seed", "1", "-H", f"Authorization: Bearer {token}"),
        *("--max-examples", str(examples), "--phases", "fuzzing,coverage"),
        *("--generation-database", "none"),
        # What a cursor or a ticket must be is known to the server alone; and erasing the
        # person, or rotating the key, would end the run.
        *("--exclude-checks", "positive_data_acceptance"),
        *("--exclude-path", "/me", "--exclude-path", "/keys", "--exclude-path", "/tokens"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await run.communicate()
    assert run.returncode == 0, out.decode()[-16000:]


def test_the_asyncapi_document_is_json() -> None:
    assert json.loads(json.dumps(asyncapi("https://example.org")))["servers"]["here"] == {
        "host": "example.org",
        "protocol": "wss",
    }


async def test_a_document_is_made_once_however_many_strangers_ask(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for name in ("openapi", "asyncapi", "api_page"):
        real = getattr(describe, name)

        def counted(*given: Any, name: str = name, real: Any = real) -> Any:
            made.append(name)
            return real(*given)

        monkeypatch.setattr(describe, name, counted)

    async with aiohttp.ClientSession() as http:

        async def read(path: str) -> bytes:
            async with http.get(f"{url}/{path}") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Encoding"] == "gzip"
                return await answer.read()

        for path in ("openapi.json", "asyncapi.json", "docs"):
            assert len(set(await asyncio.gather(*(read(path) for _ in range(20))))) == 1

    assert sorted(made) == ["api_page", "asyncapi", "openapi"]
