"""Addresses as people type them, and those where nothing is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from yarl import URL

from companion_ws import Config, create_app

PERSON = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest_asyncio.fixture
async def base(tmp_path: Path) -> AsyncIterator[URL]:
    runner = web.AppRunner(await create_app(Config(data=tmp_path / "data", port=0)))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield URL(f"http://127.0.0.1:{port}")
    await runner.cleanup()


@pytest.mark.parametrize(
    ("typed", "page"),
    [("/c/", "/c"), ("/C", "/c"), ("/C/", "/c"), ("/P", "/p"), ("/p//", "/p"), ("/c.", "/c"),
     ("/UI/?lang=de", "/ui?lang=de"), ("/Admin", "/admin"), ("/c%20", "/c"),
     ("/Sessions/0b0c/Pair/", "/sessions/0b0c/pair"), ("/sessions/0b0c/pair/", "/sessions/0b0c/pair")],
)  # fmt: skip
async def test_an_address_written_by_hand_leads_to_its_page(
    base: URL, typed: str, page: str
) -> None:
    async with (
        aiohttp.ClientSession(headers=PERSON) as http,
        http.get(f"{base}{typed}".replace(f"{base}/", f"{base}/")) as answer,
    ):
        assert answer.status == 200
        assert answer.url.path_qs == page
        assert answer.content_type == "text/html"
        assert len(answer.history) == 1


@pytest.mark.parametrize(
    "path", ["/nothing", "/cc", "/c/d/e", "/foo/c/", "/index.html", "/static/no.css", "//evil/x/",
             "/%3Cscript%3E", "/c/../../etc", "/C0"],
)  # fmt: skip
async def test_where_nothing_is_people_read_so_and_programs_read_json(base: URL, path: str) -> None:
    url = URL(f"{base}{path}", encoded=True)
    async with aiohttp.ClientSession() as http:
        async with http.get(url, headers=PERSON) as answer:
            assert answer.status == 404
            assert answer.content_type == "text/html"
            assert answer.url.host == base.host
            text = await answer.text()
            assert "There is nothing at this address" in text
            assert "<script" not in text
            assert "default-src" in answer.headers["Content-Security-Policy"]
            link = text.partition('<link rel="stylesheet" href="')[2].partition('"')[0]
        if "//evil" not in path:
            async with http.get(answer.url.join(URL(link))) as style:
                assert style.status == 200
        for headers in ({"Accept": "application/json"}, {"Accept": "*/*"}, {"Accept": ""}):
            async with http.get(url, headers=headers) as answer:
                assert answer.status == 404
                assert answer.content_type == "application/problem+json"
        async with http.post(url, headers=PERSON) as answer:
            assert answer.content_type == "application/problem+json"
