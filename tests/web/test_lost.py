"""Addresses as people type them, and those where nothing is."""

from __future__ import annotations

import re
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


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [("/sessions/{id}", 401, "This address is for programs"),
     ("/sessions/{id}/state/a%20key", 401, "This address is for programs"),
     ("/sessions/{id}/records?after=x", 401, "This address is for programs"),
     ("/sessions/{id}/nothing", 404, "There is nothing at this address"),
     ("/pair", 405, "This address is for programs"),
     ("/ws", 400, "This did not work")],
)  # fmt: skip
async def test_a_person_reads_every_refusal_in_words_the_same_for_any_session(
    base: URL, path: str, status: int, says: str
) -> None:
    bodies = set()
    async with aiohttp.ClientSession(headers=PERSON) as http:
        for session_id in ("11111111-1111-4111-8111-111111111111", "x", "%3Cimg%20src%3D1%3E"):
            url = URL(f"{base}{path.format(id=session_id)}", encoded=True)
            async with http.get(url) as answer:
                assert (answer.status, answer.content_type) == (status, "text/html")
                text = await answer.text()
                assert says in text
                assert answer.headers["Cache-Control"] == "no-store"
                assert "default-src" in answer.headers["Content-Security-Policy"]
                assert ("WWW-Authenticate" in answer.headers) == (status == 401)
                assert ("Allow" in answer.headers) == (status == 405)
                bodies.add(text)
                for link in re.findall(r'href="([^"]+)"', text):
                    if not link.startswith("data:"):
                        async with http.get(answer.url.join(URL(link))) as linked:
                            assert linked.status == 200, link
            async with http.head(url) as answer:
                assert (answer.status == status) == (path != "/ws")  # which takes only GET
                assert answer.content_type == "text/html"
    assert len(bodies) == 1


@pytest.mark.parametrize(
    "accept",
    ["application/json, text/plain, */*", "*/*", "", "text/html;q=0.5, application/json",
     "application/problem+json", "text/html;q=0.2, */*", "application/json, text/html",
     "text/html;q=0", "text/*;q=x", "text/plain"],
)  # fmt: skip
async def test_a_program_reads_json_whatever_it_takes_besides(base: URL, accept: str) -> None:
    async with aiohttp.ClientSession(headers={"Accept": accept}) as http:
        for path in ("/sessions/x", "/nothing"):
            async with http.get(f"{base}{path}") as answer:
                assert answer.content_type == "application/problem+json"


async def test_a_page_about_an_error_says_what_the_server_says_and_runs_nothing(
    base: URL,
) -> None:
    async with (
        aiohttp.ClientSession(headers=PERSON | {"Host": "evil.example"}) as http,
        http.get(base) as answer,
    ):
        text = await answer.text()
        assert answer.status == 421
        assert "allow it with --allow-host" in text
        assert "evil" not in text
        assert "<script" not in text
