"""A house's own look: four settings, no file of ours to change."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from companion_ws.web.brand import Brand
from companion_ws.web.pages import Pages

LOGO = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


async def answers(brand: Brand) -> TestClient[web.Request, web.Application]:
    return await served(Pages(brand))


async def served(pages: Pages) -> TestClient[web.Request, web.Application]:
    app = web.Application()
    for route in pages.routes():
        app.router.add_route(route.method, route.path, route.handler)
    return TestClient(TestServer(app))


async def test_the_pages_take_accent_corners_font_and_logo(tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_bytes(LOGO)
    brand = Brand(accent="#c8102e", radius_px=4, font="'Source Sans 3', sans-serif", logo=logo)
    async with await answers(brand) as client:
        css = await (await client.get("/static/css/base.css")).text()
        picture = await client.get("/brand/logo")

        assert "#c8102e" in css
        assert "--radius:4px" in css
        assert "--font:'Source Sans 3', sans-serif" in css
        assert "brand/logo" in css
        assert picture.content_type == "image/svg+xml"
        assert await picture.read() == LOGO


@pytest.mark.parametrize(("accent", "ink"), [("#ffd400", "#0b0f0d"), ("#123456", "#ffffff")])
def test_text_on_the_accent_stays_readable(accent: str, ink: str) -> None:
    assert f"--on-accent:light-dark({ink}" in Brand(accent=accent).css()


@pytest.mark.parametrize(
    "wrong",
    [{"accent": "red;}"}, {"font": "x;} body{display:none"}, {"logo": Path("logo.html")}],
    ids=str,
)
def test_what_is_no_brand_refuses_to_start(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is no"):
        Brand(**wrong)


async def test_without_a_brand_there_is_no_logo() -> None:
    async with await answers(Brand()) as client:
        app_css = await (await client.get("/static/css/base.css")).text()
        assert "brand/logo" not in app_css


async def test_a_logo_is_read_once_and_outlives_its_file(tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_bytes(LOGO)
    async with await answers(Brand(logo=logo)) as client:
        first = await client.get("/brand/logo")
        logo.unlink()
        second = await client.get("/brand/logo")
        assert (first.status, second.status) == (200, 200)
        assert await first.read() == await second.read() == LOGO


@pytest.mark.parametrize("is_bundled", [True, False])
async def test_the_home_screen_shows_the_logo(tmp_path: Path, is_bundled: bool) -> None:
    logo = tmp_path / "logo.png"
    Image.new("RGB", (320, 256), "#c8102e").save(logo)
    pages = Pages(Brand(logo=logo), as_sources=not is_bundled)
    async with await served(pages) as client:
        page = await (await client.get("/ui")).text()
        address = page.partition('rel="manifest" href="')[2].partition('"')[0]
        manifest = await (await client.get(f"/{address}")).json(content_type=None)

        assert manifest["icons"] == [
            {"src": "../../brand/logo", "sizes": "320x256", "type": "image/png"}
        ]
        assert (await client.get("/brand/logo")).content_type == "image/png"
