"""Pictures that cards name by address: fetched by the server, shown from it, and gone with the session."""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
from picture_site import PictureSite, picture
from running import Message, Running, Socket

PNG = picture()


@pytest.fixture
async def site() -> AsyncIterator[PictureSite]:
    async with PictureSite(**{"a.png": PNG}) as site:
        yield site


@pytest.fixture
async def server(start: Any, site: PictureSite) -> Running:
    server: Running = await start(images="fetch", internet=site.internet)
    return server


async def news_of(socket: Socket, url: str) -> Message:
    return await socket.next_of("media", url=url)


async def shown(server: Running, media: Message) -> tuple[int, Any, bytes]:
    """Ask for a picture as a page does: with no token."""
    async with server.http_session.get(f"{server.url}/media/{media['media_id']}") as response:
        return response.status, response.headers, await response.read()


async def test_a_picture_is_fetched_once_the_card_is_there_and_shown_from_here(
    server: Running, site: PictureSite
) -> None:
    agent, screen = await server.pair_of()
    url = site.url("a.png")
    site.hold = asyncio.Event()

    record = await agent.say("contextual_update", text="shoe", data={"image": url, "other": url})
    # It is recorded and delivered while the picture is still on its way.
    assert (await screen.next_of("contextual_update"))["data"] == {"image": url, "other": url}
    site.hold.set()
    media = await news_of(screen, url)
    assert await news_of(agent, url) == media
    assert "seq" not in media
    assert (media["media_type"], media["width"], media["height"]) == ("image/png", 64, 48)
    assert media["size_bytes"] == len(PNG)
    assert len(media["media_id"]) == 22

    status, headers, body = await shown(server, media)
    assert (status, body) == (200, PNG)
    assert headers["Content-Type"] == "image/png"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert site.asked == ["a.png"]
    late = await server.join(session_id=agent.session_id, role="ui")
    told = {name: media[name] for name in ("url", "media_id", "media_type", "width", "height", "size_bytes")}
    assert late.joined["media"] == [told]
    [card] = late.joined["cards"]
    assert card == record  # as it was stored


async def test_a_question_and_a_design_have_pictures_too(server: Running, site: PictureSite) -> None:
    agent, screen = await server.pair_of(tools="companion_choose")
    site.files |= {"1": PNG, "2.jpg": picture("JPEG"), "3": picture("WEBP"), "4.gif": picture("GIF")}
    urls = {name: site.url(name) for name in site.files}

    options = [{"id": "1", "label": "One", "image": urls["1"]}, {"id": "2", "label": urls["2.jpg"]}]
    await agent.call("c1", parameters={"title": "Which?", "options": options})
    design = {"messages": [{"updateComponents": {"components": [{"component": "Image", "url": urls["3"]}]}}]}
    await agent.say("contextual_update", text="x", data={"images": [{"url": urls["4.gif"]}]}, ui=design)

    found = {(await screen.next_of("media"))["media_type"] for _ in range(4)}
    assert found == {"image/png", "image/jpeg", "image/webp", "image/gif"}


async def test_what_is_no_picture_is_told_in_words_and_not_asked_for_again(
    server: Running, site: PictureSite
) -> None:
    agent, screen = await server.pair_of()
    wide = bytearray(picture())
    wide[16:24] = (4001).to_bytes(4, "big") + (4000).to_bytes(4, "big")
    just = bytearray(picture())
    just[16:24] = (4000).to_bytes(4, "big") + (4000).to_bytes(4, "big")
    site.files = {
        "page.png": b"<!doctype html><script>alert(1)</script>",
        "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "wide.png": bytes(wide),
        "just.png": bytes(just),
        "lie.png": picture("JPEG"),
        "large.png": PNG + b"\0" * (2 * 1024 * 1024),
    }
    site.types = {"lie.png": "text/html", "page.png": "image/png"}
    wanted = {
        "page.png": "not a PNG, JPEG", "drawing.png": "not a PNG, JPEG", "wide.png": "16 megapixels",
        "large.png": "2 MiB", "gone.png": "404", "just.png": None, "lie.png": None,
    }  # fmt: skip
    data = {"images": [site.url(name) for name in wanted]}

    await agent.say("contextual_update", text="x", data=data)
    heard = {}
    for _ in wanted:
        media = await screen.next_of("media")
        heard[media["url"].rpartition("/")[2]] = media
    for name, problem in wanted.items():
        assert (problem is None) == ("media_id" in heard[name]), name
        assert problem is None or problem in heard[name]["problem"]
    # What it is comes from its bytes alone.
    assert (await shown(server, heard["lie.png"]))[1]["Content-Type"] == "image/jpeg"
    asked = len(site.asked)
    await agent.say("contextual_update", text="again", data=data)
    assert not [each for each in await screen.quiet() if each["type"] == "media"]
    await server.restart()
    late = await server.join(session_id=agent.session_id, role="ui")
    assert {each["url"] for each in late.joined["media"]} == set(data["images"])
    assert len(site.asked) == asked


async def test_twenty_pictures_of_a_session_are_fetched_and_two_of_them_at_once(
    server: Running, site: PictureSite
) -> None:
    agent, screen = await server.pair_of()
    site.files = {f"{at}.png": PNG for at in range(21)}
    site.hold = asyncio.Event()
    await agent.say("contextual_update", text="x", data={"images": [site.url(name) for name in site.files]})

    assert "limit" in (await news_of(screen, site.url("20.png")))["problem"]
    while site.under_way < 2:
        await asyncio.sleep(0.01)
    site.hold.set()
    for _ in range(20):
        assert "media_id" in await screen.next_of("media")
    assert "20.png" not in site.asked
    assert site.most_at_once == 2


async def test_four_pictures_are_fetched_at_once_however_many_sessions_want_some(
    server: Running, site: PictureSite
) -> None:
    site.files = {f"{at}.png": PNG for at in range(12)}
    site.hold = asyncio.Event()
    agents = [await server.join() for _ in range(6)]
    for at, agent in enumerate(agents):
        urls = [site.url(f"{2 * at}.png"), site.url(f"{2 * at + 1}.png")]
        await agent.say("contextual_update", text="x", data={"images": urls})
    while site.under_way < 4:
        await asyncio.sleep(0.01)
    site.hold.set()
    for agent in agents:
        for _ in range(2):
            assert "media_id" in await agent.next_of("media")
    assert site.most_at_once == 4


async def test_nothing_is_fetched_for_what_a_screen_says(server: Running, site: PictureSite) -> None:
    agent, screen = await server.pair_of()
    await screen.say("contextual_update", text="x", data={"image": site.url("a.png")})
    await agent.say("contextual_update", text="y", data={"image": site.url("b.png")})

    await news_of(screen, site.url("b.png"))
    assert site.asked == ["b.png"]


@pytest.mark.parametrize("settings", [{}, {"images": "off", "public_url": "https://companion.example"}])
async def test_nothing_is_fetched_where_nobody_wants_it(
    start: Any, site: PictureSite, settings: dict[str, str]
) -> None:
    server = await start(**settings, internet=site.internet, allow_host=("127.0.0.1",))
    agent, screen = await server.pair_of()
    assert screen.joined["media"] is None

    await agent.say("contextual_update", text="x", data={"image": site.url("a.png")})

    assert [each["type"] for each in await screen.quiet()] == ["contextual_update"]
    assert site.asked == []


async def test_a_server_of_the_internet_fetches_unless_told_not_to(start: Any) -> None:
    server = await start(public_url="https://companion.example", allow_host=("127.0.0.1",))
    assert server.config.fetches_images
    assert (await server.join()).joined["media"] == []


async def test_no_address_of_this_machine_or_its_network_is_asked(start: Any) -> None:
    """The real way into the internet, and a real server that would be glad to answer."""
    server = await start(images="fetch")
    agent, screen = await server.pair_of()
    async with PictureSite(**{"a.png": PNG}) as inside:
        port = inside._port
        urls = [
            f"http://127.0.0.1:{port}/a.png", f"http://localhost:{port}/a.png", "http://127.0.0.1/a.png",
            "http://localhost/a.png", "http://[::1]/a.png", "http://169.254.169.254/latest/a.png",
            "http://0x7f.1/a.png", f"{server.url}/healthz?a.png", f"{server.url}/brand/logo.png",
        ]  # fmt: skip
        await agent.say("contextual_update", text="x", data={"images": urls})
        for _ in urls:
            media = await screen.next_of("media")
            assert "media_id" not in media
            assert "127" not in media["problem"]
        assert inside.asked == []


@pytest.mark.sqlite
async def test_a_picture_dies_with_its_session(server: Running, site: PictureSite) -> None:
    agent, screen = await server.pair_of()
    await agent.say("contextual_update", text="x", data={"image": site.url("a.png")})
    media = await news_of(screen, site.url("a.png"))
    assert (await server.http("GET", f"/media/{media['media_id']}", token=None)).status == 200

    assert (await server.http("DELETE", f"/sessions/{agent.session_id}")).status == 204

    assert (await server.http("GET", f"/media/{media['media_id']}", token=None)).code == "not_found"
    assert (await server.http("GET", "/media/AAAAAAAAAAAAAAAAAAAAAA", token=None)).code == "not_found"
    # Its bytes are not kept with the session that can still be read.
    with closing(sqlite3.connect(server.config.database_path)) as database:
        assert database.execute("SELECT count(*) FROM pictures").fetchone() == (0,)


@pytest.mark.sqlite
async def test_a_session_that_ends_while_its_picture_comes_keeps_none(
    server: Running, site: PictureSite
) -> None:
    agent = await server.join()
    site.hold = asyncio.Event()
    await agent.say("contextual_update", text="x", data={"image": site.url("a.png")})
    while not site.asked:
        await asyncio.sleep(0.01)
    await server.http("DELETE", f"/sessions/{agent.session_id}?erase=1")
    site.hold.set()
    other = await server.join()
    await other.say("contextual_update", text="x", data={"image": site.url("other.png")})
    await news_of(other, site.url("other.png"))

    with closing(sqlite3.connect(server.config.database_path)) as database:
        assert database.execute("SELECT DISTINCT session_id FROM pictures").fetchall() == [
            (other.session_id,)
        ]


async def paired(server: Running, session_id: str) -> dict[str, Any]:
    opened = (await server.http("POST", f"/sessions/{session_id}/pairings")).body
    ticket = opened["url"].partition("#")[2].partition(".")[0]
    answer = await server.http("POST", "/pair", {"ticket": ticket, "device": "x"}, token=None)
    assert answer.status == 201
    body: dict[str, Any] = answer.body
    return body


async def test_pictures_die_with_the_last_device_and_live_on_for_the_next(
    server: Running, site: PictureSite
) -> None:
    agent = await server.join()
    url = site.url("a.png")
    first, second = [await paired(server, agent.session_id) for _ in range(2)]
    await agent.say("contextual_update", text="x", data={"image": url})
    media = await news_of(agent, url)

    async def revoke(device: dict[str, Any]) -> None:
        path = f"/sessions/{agent.session_id}/devices/{device['device_id']}"
        assert (await server.http("DELETE", path)).status == 204

    await revoke(first)
    assert (await shown(server, media))[0] == 200  # the other may still look
    await revoke(second)
    assert (await shown(server, media))[0] == 404
    third = await paired(server, agent.session_id)
    screen = await server.join(third["token"], session_id=agent.session_id)
    again = await news_of(screen, url)
    assert again["media_id"] != media["media_id"]
    assert (await shown(server, media))[0] == 404
    assert (await shown(server, again))[0] == 200
    # A device that signs out does not take what others may see.
    await server.restart()
    assert (await shown(server, again))[0] == 200
    assert (await shown(server, media))[0] == 404


async def test_pictures_count_as_the_log_does_and_go_with_their_records(
    start: Any, site: PictureSite
) -> None:
    server = await start(images="fetch", internet=site.internet, limit_log_bytes=40_000)
    agent = await server.join()
    site.files = {f"{at}.png": PNG + b"\0" * 10_000 for at in range(6)} | {"huge.png": PNG + b"\0" * 60_000}

    async def names(*urls: str) -> dict[str, Message]:
        await agent.say("contextual_update", text="x", data={"images": [site.url(url) for url in urls]})
        return {url: await news_of(agent, site.url(url)) for url in urls}

    told = [(await names(f"{at}.png"))[f"{at}.png"] for at in range(6)]

    statuses = [(await shown(server, media))[0] for media in told]
    # Three quarters of the limit at most: the oldest make room.
    assert statuses == [404, 404, 404, 404, 200, 200]
    assert "no room" in (await names("huge.png"))["huge.png"]["problem"]
    assert (await shown(server, told[-1]))[0] == 200
    for _ in range(120):
        await agent.say("contextual_update", text="x" * 500)
    assert (await shown(server, told[-1]))[0] == 404
    await server.restart()
    assert (await server.join(session_id=agent.session_id)).joined["media"] == []


async def test_a_card_that_outlives_the_log_keeps_its_picture(start: Any, site: PictureSite) -> None:
    server = await start(images="fetch", internet=site.internet, limit_records=40)
    agent = await server.join()
    url = site.url("a.png")
    await agent.say("contextual_update", text="shoe", data={"image": url}, context_id="shoe")
    media = await news_of(agent, url)
    for at in range(50):
        await agent.say("user_message", text=str(at))

    assert (await shown(server, media))[0] == 200
    await server.restart()
    joined = (await server.join(session_id=agent.session_id)).joined
    assert joined["first_seq"] > 1
    assert [card["data"]["image"] for card in joined["cards"]] == [url]
    assert [each["media_id"] for each in joined["media"]] == [media["media_id"]]
    assert (await shown(server, media))[0] == 200


async def test_a_picture_on_its_way_when_the_server_went_down_comes_once_a_screen_is_back(
    server: Running, site: PictureSite
) -> None:
    agent = await server.join()
    card, option = site.url("a.png"), site.url("b.png")
    site.files["b.png"] = PNG
    site.hold = asyncio.Event()
    await agent.say("contextual_update", text="shoe", data={"image": card})
    options = [{"id": "b", "label": "B", "image": option}]
    asked = {"tool_name": "companion_choose", "tool_call_id": "c", "parameters": {"title": "Which?", "options": options}}
    await agent.say("client_tool_call", client_tool_call=asked)
    while len(site.asked) < 2:
        await asyncio.sleep(0.01)
    await server.restart()
    site.hold.set()

    screen = await server.join(session_id=agent.session_id, role="ui")
    for url in (card, option):
        assert (await shown(server, await news_of(screen, url)))[2] == PNG
    asked_for = len(site.asked)
    late = await server.join(session_id=agent.session_id, role="ui")
    assert {each["url"] for each in late.joined["media"]} == {card, option}
    assert len(site.asked) == asked_for


async def test_a_record_that_names_a_picture_again_keeps_it(start: Any, site: PictureSite) -> None:
    server = await start(images="fetch", internet=site.internet, limit_records=40)
    agent = await server.join()
    url = site.url("a.png")
    await agent.say("contextual_update", text="x", data={"image": url})
    media = await news_of(agent, url)
    for _ in range(50):
        await agent.say("contextual_update", text="x", data={"image": url})
    await server.restart()

    assert site.asked == ["a.png"]
    assert (await shown(server, media))[0] == 200
    joined = (await server.join(session_id=agent.session_id)).joined
    assert [each["media_id"] for each in joined["media"]] == [media["media_id"]]


async def test_a_person_gets_their_pictures_and_has_them_erased(
    server: Running, site: PictureSite
) -> None:
    large = PNG + b"precious" + b"\0" * 700_000
    site.files["a.png"] = large
    agent = await server.join()
    await agent.say("contextual_update", text="x", data={"images": [site.url("a.png"), site.url("b.png")]})
    told = [await agent.next_of("media") for _ in range(2)]
    [media] = [each for each in told if "media_id" in each]
    # In pieces, and the same for who asks whether it is there.
    assert (await shown(server, media))[2] == large
    assert (await server.http("HEAD", f"/media/{media['media_id']}", token=None)).status == 200

    [session] = (await server.http("GET", "/me/export")).body["sessions"]
    found = {each["url"]: each for each in session["media"]}
    assert b64decode(found[site.url("a.png")]["content"]) == large
    assert found[site.url("b.png")]["content"] is None
    assert (await server.http("DELETE", "/me")).status == 204
    await server.stop()
    assert b"precious" not in b"".join(each.read_bytes() for each in server.config.data.iterdir())
