"""What pages load: one script and one style sheet, kept by browsers until they change."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urljoin

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from running import Running
from yarl import URL

from tests.bundles import changed_sources

PAGES = {"/": "manager", "/p": "phone", "/c": "phone", "/ui": "phone", "/admin": "admin",
         "/sessions/x/pair": "pair"}  # fmt: skip


@pytest_asyncio.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def loaded_by(http: ClientSession, page: URL) -> list[str]:
    """Return the addresses a page's tags name, except icons inside it."""
    async with http.get(page) as answer:
        assert answer.status == 200
        text = await answer.text()
    named = re.findall(r'(?:rel="stylesheet" href|src)="([^"]+)"', text)
    return [urljoin(str(page), name) for name in named]


def test_the_bundles_are_made_of_the_sources_as_they_are() -> None:
    assert changed_sources() == set(), "run .ci/bundle"


@pytest.mark.parametrize(("path", "name"), PAGES.items())
async def test_a_page_loads_one_style_and_one_script_that_a_browser_keeps(
    server: Running, http: ClientSession, path: str, name: str
) -> None:
    base = URL(server.url)
    style, script = await loaded_by(http, base.join(URL(path)))

    assert re.fullmatch(rf"{base}/?static/dist/{name}\.[0-9a-f]{{16}}\.css", style)
    assert re.fullmatch(rf"{base}/?static/dist/{name}\.[0-9a-f]{{16}}\.js", script)
    for url, kind in ((style, "text/css"), (script, "text/javascript")):
        async with http.get(url) as answer:
            assert answer.content_type == kind
            assert answer.headers["Cache-Control"] == "max-age=31536000, immutable"
            assert answer.headers["Content-Encoding"] == "gzip"
            text = await answer.text()
        pointed = re.search(r"sourceMappingURL=(\S+)", text)
        assert pointed is not None
        async with http.get(urljoin(url, pointed[1])) as answer:
            assert answer.status == 200
            made_of = json.loads(await answer.read())
        assert {Path(source).suffix for source in made_of["sources"]} == {URL(url).suffix}


async def test_a_second_visit_asks_once_whether_the_page_has_changed(
    server: Running, http: ClientSession
) -> None:
    for path in PAGES:
        async with http.get(f"{server.url}{path}") as first:
            assert first.headers["Cache-Control"] == "no-cache"
        known = {"If-None-Match": first.headers["ETag"]}
        async with http.get(f"{server.url}{path}", headers=known) as second:
            assert (second.status, await second.read()) == (304, b"")


async def test_a_page_open_during_an_upgrade_still_finds_its_parts(
    server: Running, http: ClientSession
) -> None:
    for name in ("words-de.0123456789abcdef.js", "words-de.js"):
        async with http.get(f"{server.url}/static/dist/{name}") as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-cache"
    for name in ("none.0123456789abcdef.js", "words-de.0123.css", "words-de.1.2.js", ".js"):
        async with http.get(f"{server.url}/static/dist/{name}") as answer:
            assert answer.status == 404, name


async def test_other_pages_load_scripts_by_names_that_stay(
    server: Running, http: ClientSession
) -> None:
    for name in ("embed", "elevenlabs", "client"):
        async with http.get(f"{server.url}/static/js/{name}.js") as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-cache"


async def test_another_look_has_other_names(
    start: Callable[..., Awaitable[Running]], http: ClientSession
) -> None:
    plain, branded = await start(), await start(brand_accent="#c8102e")
    [before, _] = await loaded_by(http, URL(f"{plain.url}/ui"))
    [after, _] = await loaded_by(http, URL(f"{branded.url}/ui"))

    assert URL(before).path != URL(after).path
    async with http.get(after) as answer:
        assert "#c8102e" in await answer.text()


async def test_who_changes_the_pages_loads_them_as_they_are(
    start: Callable[..., Awaitable[Running]], http: ClientSession
) -> None:
    server = await start(reload=True)
    for path in PAGES:
        names = await loaded_by(http, URL(f"{server.url}{path}"))
        assert "/static/js/pages/" in names[-1]
        for name in names:
            async with http.get(name) as answer:
                assert answer.status == 200
                assert answer.headers["Cache-Control"] == "no-cache"
                assert "/dist/" not in name


async def test_a_bundle_names_its_parts_as_they_are_called_now(
    server: Running, http: ClientSession
) -> None:
    [_, script] = await loaded_by(http, URL(f"{server.url}/ui"))
    async with http.get(script) as answer:
        named = set(re.findall(r'import\("([^"]+)"\)', await answer.text()))
    assert len(named) >= 8
    for name in named:
        async with http.get(urljoin(script, name)) as answer:
            assert answer.headers["Cache-Control"] == "max-age=31536000, immutable", name
