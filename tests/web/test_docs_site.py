"""The docs around the API page: every page is there, leads somewhere, and can be published as files."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

from aiohttp import ClientSession
from running import Running

from companion_ws import Config, create_app
from companion_ws.app import DOCUMENTS
from companion_ws.core.commands import COMMANDS
from companion_ws.core.errors import ERRORS

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


class Read(HTMLParser):
    """What a browser finds on a page, and what it loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.heads = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag == "h1":
            self.heads += 1
        self.loads += [given[name] for name in ("src", "data-words") if name in given]
        if tag == "link":
            self.loads.append(given["href"])


async def test_every_link_of_the_docs_leads_to_a_page_and_a_part_that_is_there(
    server: Running,
) -> None:
    pages: dict[str, Read] = {}
    files: set[str] = set()
    waiting = [f"{server.url}/docs/"]
    async with ClientSession() as http:
        while waiting:
            url = waiting.pop()
            if url in pages:
                continue
            async with http.get(url) as answer:
                assert answer.status == 200, url
                if answer.content_type != "text/html":
                    assert urlsplit(url).path.endswith(("api.json", ".md")), url
                    continue
                pages[url] = page = Read(await answer.text())
            assert page.heads == 1, url
            assert not [each for each in page.links if each.startswith(("/", "page:"))], url
            inside = [urljoin(url, each) for each in page.links]
            waiting += [
                urldefrag(each).url
                for each in inside
                if each.startswith(f"{server.url}/docs") or each.endswith("api.json")
            ]
            files |= {urljoin(url, each) for each in page.loads if not each.startswith("data:")}
        for url in files:
            async with http.get(url) as answer:
                assert answer.status == 200, url

    assert {f"{server.url}/docs", *(f"{server.url}/docs/{name}" for name in PAGES)} - {
        f"{server.url}/docs/index", f"{server.url}/docs/api",
    } <= set(pages)  # fmt: skip
    lost = [
        f"{url}: {each}"
        for url, page in pages.items()
        for each in (urljoin(url, link) for link in page.links)
        if (part := urldefrag(each).fragment) and part not in pages[urldefrag(each).url].ids
    ]
    assert lost == []


async def test_a_page_that_is_not_in_the_docs_is_not_found(server: Running) -> None:
    async with ClientSession() as http:
        for path in ("nothing", "docs.json", "..%2Findex", "images/", "../pages.py", "quickstart/"):
            async with http.get(f"{server.url}/docs/{path}") as answer:
                assert answer.status == 404, path


async def test_the_api_page_is_found_by_the_name_of_its_file_too(server: Running) -> None:
    async with ClientSession() as http, http.get(f"{server.url}/docs/api") as answer:
        assert (answer.status, answer.url.path) == (200, "/docs")


async def test_the_search_knows_each_page_message_and_error(server: Running) -> None:
    async with ClientSession() as http, http.get(f"{server.url}/docs/search.json") as answer:
        found = await answer.json()

    to = {each["to"] for each in found}
    assert {name for name in PAGES if name not in ("index", "api")} <= to
    assert {f"../docs#send-{name}" for name in COMMANDS} <= to
    assert {f"../docs#error-{code}" for code in ERRORS} <= to
    [rates] = [each for each in found if each["to"] == "http#messages"]
    assert "Retry-After" in rates["text"]
    assert "<" not in rates["text"]


async def test_the_docs_are_published_as_files_that_need_no_server_of_ours(
    tmp_path: Path,
) -> None:
    app = await create_app(Config(data=tmp_path / "data", public_url="https://companion.example"))
    site = tmp_path / "site"
    count = await app[DOCUMENTS].publish(site)

    pages = {path: Read(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) == count
    for path, page in pages.items():
        for each in (*page.links, *page.loads):
            if each.startswith(("https:", "mailto:", "data:")):
                continue
            to, part = urldefrag(each)
            file = (path.parent / to).resolve() if to else path
            assert file.is_relative_to(site), f"{path}: {each}"
            assert file.is_file(), f"{path}: {each}"
            assert not part or part in pages[file].ids, f"{path}: {each}"
    words = json.loads((site / "search.json").read_text(encoding="utf-8"))
    assert {(site / urldefrag(each["to"]).url).is_file() for each in words} == {True}
    for path in site.rglob("*.js"):
        assert not re.search(r"https?://(?!www\.w3\.org)", path.read_text(encoding="utf-8"))
