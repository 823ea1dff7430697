"""The Python client without an event loop: the same verbs and promises, for any thread, in a notebook."""

from __future__ import annotations

import asyncio
import base64
import inspect
import io
import re
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from PIL import Image
from running import WAIT_S, Running, free_port

from companion_ws import CompanionClient, CompanionClosed, RevisionConflict, SyncCompanionClient
from companion_ws.client import invitation as invitations
from companion_ws.testing.phone import Phone

ROOT = Path(__file__).parents[2]
CHOICE = {"title": "Which?", "options": [{"id": "air", "label": "Air"}]}
ONLY_WITH_A_LOOP = {"accompany", "loop"}
"""What takes or gives something of an event loop."""


def client(server: Running, **options: Any) -> SyncCompanionClient:
    return SyncCompanionClient(server.url, **{"token": server.token(), **options})


async def in_a_thread(work: Callable[[], Any]) -> Any:
    async with asyncio.timeout(WAIT_S):
        return await asyncio.to_thread(work)


def clients_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "companion-client"]


def public(kind: type) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}


def test_it_has_every_verb_of_the_asynchronous_client_with_the_same_parameters() -> None:
    ours, theirs = public(SyncCompanionClient), public(CompanionClient)
    assert ours.keys() == theirs.keys() - ONLY_WITH_A_LOOP

    for name in (*ours.keys() - {"close"}, "__init__"):
        mine, other = getattr(SyncCompanionClient, name), getattr(CompanionClient, name)
        if isinstance(other, property):
            assert inspect.signature(mine.fget) == inspect.signature(other.fget), name
            assert mine.__doc__ == other.__doc__, name
            continue
        assert inspect.signature(mine) == inspect.signature(other), name
        assert not inspect.iscoroutinefunction(inspect.unwrap(mine, stop=lambda f: True)), name
        assert mine.__doc__ == other.__doc__, name


async def test_each_verb_waits_and_gives_what_the_asynchronous_one_gives(server: Running) -> None:
    def work() -> None:
        with client(server, device="A notebook") as companion:
            update = companion.contextual_update("quote_ready", {"cost": 12.99}, context_id="q")
            assert (update["text"], update["seq"], companion.seq) == ("quote_ready", 1, 1)
            assert companion.set_state("step", 1, if_revision=0)["value"] == 1
            with pytest.raises(RevisionConflict) as conflict:
                companion.set_state("step", 2, if_revision=0)
            assert conflict.value.details["value"] == 1
            assert (companion.get_state("step"), companion.get_state()) == (1, {"step": 1})
            assert (companion.state, companion.revision("step")) == ({"step": 1}, 2)
            assert companion.created
            assert companion.is_connected
            assert [entry["device"] for entry in companion.presence] == ["A notebook"]
            assert companion.user_message("hello")["text"] == "hello"
            assert companion.delete_state("step")["type"] == "state_deleted"
            assert companion.call_tool("companion_choose", **CHOICE)["status"] == "no_screen"
            assert companion.send({"type": "screen_command", "name": "toast", "text": "hi"}) is None
            assert companion.http("GET", f"/sessions/{companion.session_id}")["state"] == {}
            with pytest.raises(TimeoutError):
                companion.wait_until(lambda it: bool(it.screens), timeout=0.05)
        assert not companion.is_connected
        assert companion.seq > 4
        with pytest.raises(CompanionClosed):
            companion.set_state("k", 1)

    await in_a_thread(work)
    assert clients_threads() == []


async def test_records_and_messages_are_plain_iterators(server: Running) -> None:
    def work() -> None:
        with client(server) as companion:
            messages, records = companion.messages(), companion.records()
            for n in range(3):
                companion.contextual_update(str(n))
            assert [next(records)["text"] for _ in range(3)] == ["0", "1", "2"]
            assert [next(messages)["text"] for _ in range(3)] == ["0", "1", "2"]
        assert list(records) == []
        assert list(messages) == []

    await in_a_thread(work)


async def test_a_question_is_answered_by_a_phone_that_was_paired(server: Running) -> None:
    companion = client(server)
    code = (await in_a_thread(companion.pair)).code
    async with await Phone.pair(server.url, code) as phone:
        screen = await in_a_thread(lambda: companion.wait_for_screen(WAIT_S))
        assert screen["role"] == "ui"
        asking = asyncio.create_task(
            in_a_thread(lambda: companion.call_tool("companion_choose", **CHOICE))
        )
        await phone.choose("air")
        assert (await asking)["id"] == "air"
    await in_a_thread(companion.close)


async def test_many_threads_use_one_client_and_one_of_them_joins(start: Any) -> None:
    server = await start(limit_messages_per_s=0)

    def work() -> None:
        companion = client(server)
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(lambda n: companion.set_state(f"k{n}", n), range(80)))
            seen = list(pool.map(lambda n: len(companion.state), range(80)))
        assert sorted(record["value"] for record in said) == list(range(80))
        assert seen == [80] * 80
        assert len(clients_threads()) == 1
        companion.close()

    await in_a_thread(work)


async def test_leaving_ends_what_waits_in_other_threads(server: Running) -> None:
    def work() -> None:
        companion = client(server)
        companion.set_state("joined", True)
        with ThreadPoolExecutor(3) as pool:
            reading = pool.submit(lambda: list(companion.records()))
            waiting = pool.submit(companion.wait_for_screen)
            asking = pool.submit(companion.call, "nobody_knows", {}, timeout_ms=60_000)
            companion.wait_until(lambda it: it.seq >= 2, WAIT_S)
            companion.close()
            companion.close()
            assert reading.result(WAIT_S)[0]["key"] == "joined"
            for ended in (waiting, asking):
                with pytest.raises(CompanionClosed):
                    ended.result(WAIT_S)

    await in_a_thread(work)
    assert clients_threads() == []


async def test_one_that_could_not_join_tries_again_with_the_next_verb(start: Any) -> None:
    server = await start()
    await server.stop()
    companion = client(server, open_timeout_s=0.5)

    def refused() -> None:
        with pytest.raises(ConnectionError, match="cannot be reached"):
            companion.set_state("k", 1)
        assert clients_threads() == []
        assert companion.state == {}

    await in_a_thread(refused)
    await server.start()
    assert (await in_a_thread(lambda: companion.set_state("k", 1)))["value"] == 1
    await in_a_thread(companion.close)


async def test_its_own_thread_is_told_that_it_cannot_wait_for_itself(server: Running) -> None:
    def work() -> None:
        told: list[str] = []

        def token() -> str:
            try:
                companion.pair()
            except RuntimeError as error:
                told.append(str(error))
            return server.token()

        def holds(_: Any) -> bool:
            with pytest.raises(RuntimeError, match="own thread"):
                companion.get_state()
            return companion.seq == 0  # reading is free

        companion = SyncCompanionClient(server.url, token=token)
        with companion:
            companion.wait_until(holds, WAIT_S)
        assert "own thread" in told[0]

    await in_a_thread(work)


async def test_a_client_that_nobody_has_a_name_for_leaves(server: Running) -> None:
    async with server.client() as other:

        def work() -> None:
            companion = client(server, session_id=other.session_id)
            companion.set_state("k", 1)
            assert len(companion.presence) == 2
            del companion

        await in_a_thread(work)
        await other.wait_until(lambda it: len(it.presence) == 1, WAIT_S)
    assert clients_threads() == []


PROGRAM = """
import asyncio, logging, os, sys
from companion_ws import SyncCompanionClient

# In development mode a loop warns of steps of 100 ms, which a busy machine takes.
logging.getLogger("asyncio").setLevel(logging.ERROR)
companion = SyncCompanionClient(os.environ["COMPANION_URL"], token=os.environ["COMPANION_TOKEN"])
{program}
"""


async def program(server: Running, text: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-X", "dev", "-c", PROGRAM.format(program=text),
        env={"PYTHONPATH": str(ROOT), "COMPANION_URL": server.url, "COMPANION_TOKEN": server.token()},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(running: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(WAIT_S):
        out, err = await running.communicate()
    return running.returncode, out.decode(), err.decode()


async def test_it_works_where_a_loop_runs_and_a_program_that_forgets_to_leave_ends(
    server: Running,
) -> None:
    running = await program(
        server,
        """
async def cell():
    return companion.set_state("from", "a running loop")["value"]

print(asyncio.run(cell()))
""",
    )
    assert await end(running) == (0, "a running loop\n", "")


async def test_ctrl_c_ends_the_waiting_and_leaves_nothing_behind(server: Running) -> None:
    running = await program(
        server,
        """
import threading
try:
    with companion:
        companion.get_state()
        try:
            print("waiting", flush=True)
            companion.wait_for_screen()
        except KeyboardInterrupt:
            print(companion.set_state("still", "here")["value"])
            raise
except KeyboardInterrupt:
    print(threading.active_count())
""",
    )
    assert running.stdout is not None
    async with asyncio.timeout(WAIT_S):
        assert await running.stdout.readline() == b"waiting\n"
    running.send_signal(signal.SIGINT)
    assert await end(running) == (0, "here\n1\n", "")


async def test_ctrl_c_while_it_connects_leaves_nothing_behind(server: Running) -> None:
    await server.stop()
    running = await program(
        server,
        """
import logging, threading
logging.getLogger("companion_ws").addHandler(logging.StreamHandler(sys.stdout))
try:
    companion.get_state()
except KeyboardInterrupt:
    print(threading.active_count())
""",
    )
    assert running.stdout is not None
    async with asyncio.timeout(WAIT_S):
        assert b"No connection" in await running.stdout.readline()
    running.send_signal(signal.SIGINT)
    code, out, err = await end(running)
    assert (code, out.splitlines()[-1], err) == (0, "1", "")


async def test_nothing_said_is_lost_or_doubled_over_a_server_that_is_killed(tmp_path: Path) -> None:
    from tests.faults.real_server import running

    async with running(tmp_path / "data", f"--port={free_port()}") as server:
        is_under_way = threading.Event()

        def work() -> list[Any]:
            with SyncCompanionClient(server.url, token=server.token()) as companion:
                records = companion.records()
                for n in range(60):
                    companion.contextual_update("u", n)
                    if n == 20:
                        is_under_way.set()
                return [next(records)["data"] for _ in range(60)]

        working = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.to_thread(is_under_way.wait, WAIT_S)
        await server.kill()
        await server.start()
        async with asyncio.timeout(60):
            assert await working == list(range(60))


async def test_the_example_asks_waits_and_goes_on(server: Running) -> None:
    running = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / "plain_loop.py"),
        env={"PYTHONPATH": str(ROOT), "COMPANION_URL": server.url, "COMPANION_TOKEN": server.token()},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout is not None
    async with asyncio.timeout(WAIT_S):
        code = re.search(r"type (\d{9}) at", (await running.stdout.readline()).decode())
        assert code is not None
        async with await Phone.pair(server.url, code[1]) as phone:
            await phone.choose("air")
            assert await end(running) == (0, "Booked UPS Next Day for 24.99\n", "")


# In a notebook.

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\u202eb\x1b[2J"]


def scanned(html: str) -> list[str]:
    pictures = re.findall(r'src="data:image/png;base64,([^"]*)"', html)
    return [
        code.text
        for picture in pictures
        for code in zxingcpp.read_barcodes(Image.open(io.BytesIO(base64.b64decode(picture))))
    ]


async def test_a_notebook_shows_a_way_in_until_somebody_has_a_screen(server: Running) -> None:
    companion = client(server)
    html = await in_a_thread(companion._repr_html_)
    way_in = companion.invitation
    assert way_in is not None
    assert scanned(html) == [way_in.url]
    assert way_in.code in html[html.index("Scan") :].replace(" ", "")
    assert way_in.code_url in html
    assert scanned(await in_a_thread(companion._repr_html_)) == [way_in.url], "one pairing will do"
    assert scanned(way_in._repr_html_()) == [way_in.url]

    async with await Phone.pair(server.url, way_in.code):
        await in_a_thread(lambda: companion.wait_for_screen(WAIT_S))
        html = await in_a_thread(companion._repr_html_)
        assert scanned(html) == []
        assert "screen" in html
    await in_a_thread(companion.close)


@pytest.mark.parametrize("words", HOSTILE)
async def test_what_members_wrote_is_words_in_a_notebook_and_nothing_else(
    server: Running, words: str
) -> None:
    def work() -> str:
        with client(server, device=words) as companion:
            companion.set_state(words, words)
            companion.set_state("nested", {words: [words, "$\\href{javascript:alert(1)}{x}$"]})
            companion.http("PATCH", f"/sessions/{companion.session_id}", {"title": words})
            return companion._repr_html_()

    html = await in_a_thread(work)
    assert html.startswith('<div class="tex2jax_ignore mathjax_ignore">'), "formulas stay words"
    for acting in ("<script", "<img src=x", "\u202e", "\x1b", "javascript:alert(1)>"):
        assert acting not in html
    tags = set(re.findall(r"<(\w+)", html))
    assert tags <= {
        "div", "p", "strong", "bdi", "figure", "img", "figcaption", "a", "table", "caption", "tr", "th", "td",
    }  # fmt: skip


async def test_a_long_state_is_cut_and_says_so(server: Running) -> None:
    def work() -> str:
        with client(server) as companion:
            companion.send({"type": "state_update", "key": "long", "value": "x" * 5000})
            for n in range(60):
                companion.set_state(f"k{n}", n)
            return companion._repr_html_()

    html = await in_a_thread(work)
    assert "x" * 300 + "…" in html
    assert "and 11 more" in html


async def test_what_no_longer_lets_in_is_not_shown(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server.client() as companion:
        assert "pair()" in companion._repr_html_()
        way_in = await companion.pair()
        assert scanned(companion._repr_html_()) == [way_in.url]
        monkeypatch.setattr(invitations, "time", lambda: way_in.url_expires_at / 1000 + 600)
        assert scanned(companion._repr_html_()) == scanned(way_in._repr_html_()) == []
        assert "expired" in way_in._repr_html_()


async def test_a_notebook_that_cannot_join_says_so(server: Running) -> None:
    await server.stop()
    companion = client(server, open_timeout_s=0.3)
    html = await in_a_thread(companion._repr_html_)
    assert "has not joined" in html
    assert "not joined" in CompanionClient(server.url, token="t")._repr_html_()
