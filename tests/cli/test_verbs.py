"""The verbs, beside a running server and without one."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from programs import PATIENCE_S, RUN, Program, Running, Served, clean_environment, prepare

from companion_ws.cli import main
from companion_ws.client import CompanionClient, CompanionClosed

Start = Callable[..., Running]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def verb(program: Program, *arguments: str) -> list[str]:
    return await asyncio.to_thread(program.lines, *arguments)


@pytest.fixture
def token(program: Program, server: Served) -> str:
    (text,) = program.lines("token", "create", "--user", "alice")
    return text


@pytest.fixture
async def agent(server: Served, token: str) -> AsyncIterator[CompanionClient]:
    async with CompanionClient(server.url, token=token) as companion:
        yield companion


async def test_a_revoked_token_closes_its_connections_at_once(
    program: Program, agent: CompanionClient
) -> None:
    (line,) = await verb(program, "token", "list")
    assert "alice" in line
    closing = asyncio.ensure_future(agent.wait_until(lambda _: False))
    await verb(program, "token", "revoke", line.split()[0])

    with pytest.raises(CompanionClosed) as closed:
        await asyncio.wait_for(closing, 5)
    assert closed.value.code == 4501
    assert await verb(program, "token", "list") == []


@pytest.mark.parametrize("flag", ["", "--keep-sessions"])
async def test_what_a_token_made_dies_with_it_unless_it_is_kept(
    program: Program, server: Served, token: str, flag: str
) -> None:
    async with aiohttp.ClientSession(server.url, headers=bearer(token)) as http:
        async with http.post("/sessions") as answer:
            session_id = (await answer.json())["session_id"]
        async with http.post(f"/sessions/{session_id}/tokens", json={"role": "ui"}) as answer:
            page = (await answer.json())["token"]
    lines = await verb(program, "token", "list")
    [token_id] = [line.split()[0] for line in lines if " user " in line]

    await verb(program, "token", "revoke", token_id, *([flag] if flag else []))

    async with aiohttp.ClientSession(server.url, headers=bearer(page)) as http:
        async with http.get(f"/sessions/{session_id}/state") as answer:
            assert answer.status == (200 if flag else 401)


async def test_a_metrics_token_reads_the_figures_and_nothing_else(
    program: Program, server: Served
) -> None:
    (text,) = await verb(program, "token", "create", "--user", "prometheus", "--role", "metrics")
    async with aiohttp.ClientSession(server.url, headers=bearer(text)) as http:
        for path, status in (("/metrics", 200), ("/me/sessions", 403)):
            async with http.get(path) as answer:
                assert answer.status == status


async def test_signing_a_user_out_everywhere_spares_the_others(
    program: Program, server: Served, agent: CompanionClient
) -> None:
    (other,) = await verb(program, "token", "create", "--user", "bob")
    async with CompanionClient(server.url, token=other) as bob:
        closing = asyncio.ensure_future(agent.wait_until(lambda _: False))
        await verb(program, "token", "revoke", "--user", "alice")
        with pytest.raises(CompanionClosed):
            await asyncio.wait_for(closing, 5)
        assert (await bob.contextual_update("still here"))["seq"] == 1
    (again,) = await verb(program, "token", "create", "--user", "alice")
    async with CompanionClient(server.url, token=again) as alice:
        assert alice.created


def test_without_a_server_the_verbs_open_the_files_themselves(program: Program) -> None:
    prepare(program.data)
    (text,) = program.lines(
        "token", "create", "--user", "alice", "--role", "service", "--ttl", "2h"
    )
    (line,) = program.lines("token", "list")
    assert text.startswith("cws_")
    assert "service" in line
    program.lines("token", "revoke", line.split()[0])
    assert program.lines("token", "list") == []
    assert program.lines("session", "list") == []
    assert not (program.data / "server.json").exists()

    watched = program.run("watch", "00000000-0000-4000-8000-000000000000")
    assert watched.returncode == 1
    assert "No server is running" in watched.stderr


OUTSIDE = [
    ["token", "create", "--user", "alice"],
    ["token", "list"],
    ["token", "revoke", "id"],
    ["token", "revoke", "--user", "alice"],
    ["session", "list"],
    ["session", "find", "conv"],
    ["session", "show", "id"],
    ["session", "export", "id"],
    ["session", "end", "id"],
    ["send", "id", "text"],
    ["watch", "id"],
    ["screen", "id", "--answer", "yes"],
    ["connect"],
    ["key", "rotate"],
    ["key", "rotate", "--compromise", "--yes"],
    ["erase", "--user", "alice", "--yes"],
    ["db", "check"],
    ["db", "backup", "copy.db"],
    ["open", "--print"],
]


def said(arguments: list[str], data: Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, arguments, env={"COMPANION_DATA": str(data)})
    return done.exit_code, done.stdout, done.stderr


def test_outside_the_server_s_folder_every_verb_refuses_and_names_the_one_that_runs(
    server: Served, program: Program, tmp_path: Path
) -> None:
    for place in (tmp_path / "elsewhere", tmp_path / "empty"):
        if place.name == "empty":
            place.mkdir()
        for arguments in OUTSIDE:
            code, out, errors = said(arguments, place)
            assert (code, out) == (1, ""), arguments
            assert f"There is no data of a server in {place}. " in errors
            assert f"A server runs at {server.url}; " in errors
            assert f"give --data {program.data}." in errors
            assert len(errors.splitlines()) == 1
        assert not place.exists() or not list(place.iterdir()), "nothing is made there"


def test_where_no_server_runs_the_way_to_one_is_named(tmp_path: Path) -> None:
    code, _, errors = said(["token", "list"], tmp_path / "elsewhere")

    assert code == 1
    assert "--data" in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["token", "create", "--user", "alice", "--ttl", "0"], "'0' is not between 1s and 366d"),
        (["demo", "--public-url", "ftp://x"], "'ftp://x' is not a valid public URL"),
        (["elevenlabs", "agent-config", "--url", "shop.example"], "is not a valid public URL"),
    ],
)
def test_a_verb_refuses_what_makes_no_sense(
    arguments: list[str], sentence: str, program: Program
) -> None:
    refused = program.run(*arguments)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert sentence in refused.stderr.splitlines()[-1]


def test_several_verbs_at_once_take_turns(program: Program) -> None:
    prepare(program.data)
    creating = [
        subprocess.Popen(
            [sys.executable, "run.py", "token", "create", "--user", f"user-{number}"],
            cwd=Path(__file__).parents[2],
            env=clean_environment(COMPANION_DATA=str(program.data)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in creating:
        out, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert out.startswith("cwu_")
    assert len(program.lines("token", "list")) == 3


async def test_sessions_are_listed_shown_found_sent_to_exported_and_ended(
    program: Program, agent: CompanionClient
) -> None:
    metadata = {"conversation_id": "conv_77"}
    await agent.send(
        {
            "type": "conversation_initiation_metadata",
            "conversation_initiation_metadata_event": metadata,
        }
    )
    session_id = agent.session_id
    (line,) = await verb(program, "session", "list", "--user", "alice")
    assert line.startswith(session_id)
    assert "1 agent" in line
    (found,) = await verb(program, "session", "find", "conv_77", "--json")
    assert json.loads(found)["session_id"] == session_id
    assert await verb(program, "session", "find", "conv_78") == []

    (record,) = await verb(program, "send", session_id, "hello", '{"cost": 12.99}')
    assert json.loads(record)["data"] == {"cost": 12.99}
    await agent.wait_until(lambda companion: companion.seq == 2, 5)
    await agent.set_state("step", 3)
    shown = json.loads("\n".join(await verb(program, "session", "show", session_id)))
    assert shown["state"]["step"]["value"] == 3
    exported = [json.loads(text) for text in await verb(program, "session", "export", session_id)]
    assert [record["seq"] for record in exported] == [1, 2, 3]

    ending = asyncio.ensure_future(agent.wait_until(lambda _: False))
    await verb(program, "session", "end", session_id)
    with pytest.raises(CompanionClosed) as closed:
        await asyncio.wait_for(ending, 5)
    assert closed.value.code == 4510
    kept = json.loads("\n".join(await verb(program, "session", "show", session_id)))
    assert kept["ended_at"]
    await verb(program, "session", "end", session_id, "--erase", "--yes")
    gone = await asyncio.to_thread(program.run, "session", "show", session_id)
    assert (gone.returncode, gone.stdout) == (1, "")


async def test_a_long_session_is_exported_whole(program: Program, agent: CompanionClient) -> None:
    await asyncio.gather(*(agent.contextual_update(str(n)) for n in range(230)))

    exported = await verb(program, "session", "export", agent.session_id)
    assert [json.loads(text)["seq"] for text in exported] == list(range(1, 231))


async def test_watch_tells_what_was_and_what_happens(
    start: Start, server: Served, token: str, agent: CompanionClient
) -> None:
    await agent.contextual_update("before", {"cost": 1})
    watching = await asyncio.to_thread(start, "watch", agent.session_id, kind=Running)
    await asyncio.to_thread(watching.until, r"1   agent   contextual_update: before · cost: 1$")
    await agent.user_message("now")
    await asyncio.to_thread(watching.until, r"user_message: “now”")
    async with CompanionClient(
        server.url, token=token, session_id=agent.session_id, role="ui", device="Pixel 7"
    ):
        await asyncio.to_thread(watching.until, r"screen  presence: Pixel 7 joined")
    assert await asyncio.to_thread(watching.stop, 2) in (130, -2)


async def test_watch_reads_what_is_kept_of_an_ended_session(
    program: Program, server: Served, agent: CompanionClient
) -> None:
    await agent.contextual_update("before", {"cost": 1})
    await verb(program, "session", "end", agent.session_id)

    update, ended = await verb(program, "watch", agent.session_id)
    assert update.endswith("contextual_update: before · cost: 1")
    assert ended.endswith("session_ended: ended by admin")
    records = await verb(program, "watch", agent.session_id, "--json")
    assert [json.loads(text)["seq"] for text in records] == [1, 2]


async def test_the_list_of_sessions_has_titles_and_what_went_wrong(
    program: Program, server: Served, agent: CompanionClient, token: str
) -> None:
    async with aiohttp.ClientSession(server.url, headers=bearer(token)) as http:
        path = f"/sessions/{agent.session_id}"
        async with http.patch(path, json={"title": "Parcel to Denver"}) as answer:
            assert answer.status == 200
    await agent.call_tool("companion_confirm", title="Go on?")

    (line,) = await verb(program, "session", "list")
    assert re.fullmatch(
        rf"{agent.session_id}  [\d-]+ [\d:]+ UTC  Parcel to Denver  alice  1 agent  1 no screen", line
    )
    assert await verb(program, "session", "find", "denver") == [line]
    assert await verb(program, "session", "list", "--trouble", "no-screen") == [line]
    assert await verb(program, "session", "list", "--trouble", "failed") == []


async def test_a_headless_screen_answers_a_question_and_leaves(
    start: Start, agent: CompanionClient
) -> None:
    screen = await asyncio.to_thread(
        start, "screen", agent.session_id, "--answer", "UPS Next Day", kind=Running
    )
    await agent.wait_for_screen(20)
    options = [{"id": "ground", "label": "FedEx"}, {"id": "air", "label": "UPS Next Day"}]
    answer = await agent.call_tool("companion_choose", title="Which?", options=options)

    assert answer == {"status": "chosen", "id": "air", "label": "UPS Next Day"}
    assert await asyncio.to_thread(screen.ended) == 0


@pytest.mark.parametrize(
    ("tool_name", "parameters", "wanted"),
    [
        ("companion_choose", {"title": "Which?", "options": [{"id": "air", "label": "Air"}]}, "air"),
        ("companion_confirm", {"title": "Sure?"}, "yes or no"),
        ("companion_form", {"title": "Where?", "schema": {"properties": {"zip": {"type": "string"}}}},
         "a JSON object"),
    ],
)  # fmt: skip
async def test_a_headless_screen_says_that_its_answer_answers_nothing(
    tool_name: str, parameters: dict[str, Any], wanted: str, start: Start, agent: CompanionClient
) -> None:
    call = {"tool_name": tool_name, "tool_call_id": "asked", "parameters": parameters}
    await agent.send({"type": "client_tool_call", "client_tool_call": call})
    screen = await asyncio.to_thread(
        start, "screen", agent.session_id, "--answer", "zzz", kind=Running
    )
    complaint = await asyncio.to_thread(screen.complains, "'zzz' does not answer")
    assert wanted in complaint.string
    assert parameters["title"] in complaint.string


async def test_a_key_rotation_disconnects_nobody(
    program: Program, server: Served, agent: CompanionClient, token: str
) -> None:
    await verb(program, "key", "rotate")

    assert (await agent.contextual_update("still here"))["seq"] == 1
    async with CompanionClient(server.url, token=token, session_id=agent.session_id) as again:
        assert not again.created
    await verb(program, "session", "list")
    # With --compromise whatever older keys signed is refused from now on.
    await verb(program, "key", "rotate", "--compromise", "--yes")
    with pytest.raises(CompanionClosed) as closed:
        async with CompanionClient(server.url, token=token):
            pass
    assert closed.value.code == 4501


async def test_erasing_a_person_leaves_nothing_of_them(
    program: Program, agent: CompanionClient
) -> None:
    await agent.contextual_update("a secret of alice")
    await verb(program, "erase", "--user", "alice", "--yes")

    assert await verb(program, "session", "list") == []
    for path in program.data.iterdir():
        assert b"a secret of alice" not in path.read_bytes(), path.name


DESTROYS = [
    ["erase", "--user", "alice"],
    ["session", "end", "{session_id}", "--erase"],
    ["key", "rotate", "--compromise"],
]


@pytest.mark.parametrize("arguments", DESTROYS, ids=" ".join)
async def test_what_destroys_asks_and_without_a_terminal_needs_a_yes(
    arguments: list[str], program: Program, agent: CompanionClient
) -> None:
    given = [argument.format(session_id=agent.session_id) for argument in arguments]
    for stdin in (None, "n\n", "y\n"):
        refused = await asyncio.to_thread(program.run, *given, stdin=stdin)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "add --yes" in refused.stderr
    assert await asyncio.to_thread(at_a_terminal, program, given, "n") == 1
    assert (await agent.contextual_update("still here"))["seq"] == 1

    closing = asyncio.ensure_future(agent.wait_until(lambda _: False))
    assert await asyncio.to_thread(at_a_terminal, program, given, "y") == 0
    with pytest.raises(CompanionClosed):
        await asyncio.wait_for(closing, 20)


def at_a_terminal(program: Program, arguments: list[str], answer: str) -> int:
    """Run a verb with a terminal as its stdin, answer its question; return its exit code."""
    ours, theirs = pty.openpty()
    try:
        running = subprocess.Popen(
            [sys.executable, str(RUN), *arguments],
            env=clean_environment(COMPANION_DATA=str(program.data)),
            stdin=theirs,
            stderr=subprocess.PIPE,
        )
        os.write(ours, f"{answer}\n".encode())
        _, errors = running.communicate(timeout=PATIENCE_S)
        assert b"? [y/N]: " in errors
        return running.returncode
    finally:
        os.close(ours)
        os.close(theirs)


async def test_a_backup_is_whole_private_and_of_another_epoch(
    program: Program, server: Served, agent: CompanionClient, start: Start, tmp_path: Path
) -> None:
    await agent.contextual_update("kept")
    target = tmp_path / "backup.db"
    await verb(program, "db", "backup", str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    assert await verb(program, "db", "check") == ["ok"]
    again = await asyncio.to_thread(program.run, "db", "backup", str(target))
    assert again.returncode == 1

    await agent.contextual_update("after the backup")
    session_id, seq, epoch = agent.session_id, agent.seq, agent.epoch
    await asyncio.to_thread(server.stop)
    for leftover in ("companion.db-wal", "companion.db-shm"):
        (program.data / leftover).unlink(missing_ok=True)
    target.replace(program.data / "companion.db")
    restored = await asyncio.to_thread(start)
    (token,) = await verb(program, "token", "create", "--user", "alice")
    joining = {"session_id": session_id, "after": str(seq), "epoch": str(epoch)}
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(
            restored.url + "/ws", params=joining, headers=bearer(token)
        ) as ws:
            joined = await ws.receive_json()
    assert joined["recovery"] == "snapshot"
    assert joined["seq"] == 1


def test_the_doctor_finds_nothing_wrong_and_then_a_loose_file(
    program: Program, server: Served
) -> None:
    healthy = program.run("doctor")
    assert healthy.returncode == 0, healthy.stdout
    assert "answers and can store" in healthy.stdout

    loose = program.data / "secret.key"
    loose.chmod(0o640)
    ill = program.run("doctor")
    assert ill.returncode == 1
    assert f"MEND {loose}" in ill.stdout


@pytest.mark.parametrize("document", ["openapi", "asyncapi"])
def test_the_interface_documents_are_printed_without_a_server(
    document: str, program: Program
) -> None:
    shown = json.loads("\n".join(program.lines(document)))

    assert shown[document].startswith("3.")
    assert not program.data.exists()


def messages(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_connect_sends_its_stdin_and_leaves_when_it_is_answered(
    program: Program, server: Served
) -> None:
    commands = [{"type": "contextual_update", "text": f"{number}"} for number in range(30)] + [
        {"type": "no such type", "requestId": "odd"}
    ]
    sent = "\n".join(map(json.dumps, commands))
    joined, *answers = messages(program.lines("connect", stdin=sent))
    assert joined["type"] == "session_joined"
    assert joined["user"] == "local"
    assert [answer["text"] for answer in answers[:-1]] == [str(n) for n in range(30)]
    assert (answers[-1]["code"], answers[-1]["requestId"]) == ("unknown_type", "odd")

    # A call is answered by its result. Where nobody waits for one, and where it was
    # refused, there is none.
    call = {"tool_name": "companion_confirm", "tool_call_id": "asked"}
    calls = [call, call | {"tool_call_id": "told", "expects_response": False}]
    sent = "\n".join(json.dumps({"type": "client_tool_call", "client_tool_call": c}) for c in calls)
    answers = messages(program.lines("connect", stdin=sent))
    (result,) = [answer for answer in answers if answer["type"] == "client_tool_result"]
    assert (result["tool_call_id"], answers[-1]) == ("asked", result)
    (_, refused) = messages(program.lines("connect", "--role", "observer", stdin=sent))[:2]
    assert refused["code"] == "forbidden"

    resumed = messages(
        program.lines(
            *("connect", "--session-id", joined["session_id"], "--after", "20"),
            *("--role", "observer"),
            stdin='{"type": "ping"}',
        )
    )
    assert resumed[0]["recovery"] == "replay"
    assert [message["seq"] for message in resumed if message.get("text")] == list(range(21, 31))


def test_connect_stays_without_stdin_and_says_why_it_was_closed(
    program: Program, server: Served, token: str, start: Start
) -> None:
    refused = program.run("connect", "--url", server.url, "--token", "cwu_wrong")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "4501" in refused.stderr
    for _ in range(3):
        refused = program.run(
            *("connect", "--strict", "--session-id", "no-such"), stdin='{"type": "ping"}'
        )
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == "closed by the server: 4504 There is no such session.\n"
    staying = start("connect", "--token", token, kind=Running)
    joined = json.loads(staying.until("session_joined").string)
    staying.write('{"type": "user_message", "text": "Hello"}')
    staying.until('"text":"Hello"')

    program.lines("session", "end", joined["session_id"])
    staying.until("session_ended")
    assert staying.ended() == 1
    assert "4510" in "".join(staying.errors)


def test_the_guides_script_walks_through_a_session(program: Program, server: Served) -> None:
    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(__file__).parents[1] / "test_session.sh", *arguments],
            env=clean_environment(
                COMPANION_DATA=str(program.data), COMPANION_WS=f"{sys.executable} run.py"
            ),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    done = script()
    assert done.returncode == 0, done.stdout + done.stderr
    session_id = done.stdout.rsplit(maxsplit=1)[-1]
    again = script("--session-id", session_id)
    assert again.returncode == 0
    assert again.stdout.rsplit(maxsplit=1)[-1] == session_id
    assert "is not available" in script("--session-id", "unknown").stdout


class Script(Running):
    """The guide's script at work."""

    command = (str(RUN.parent / "tests/test_session.sh"),)


def test_the_guides_script_stays_prints_what_comes_and_sends_what_is_typed(
    server: Served, start: Start
) -> None:
    program = f"{sys.executable} {RUN}"
    one = start(kind=Script, COMPANION_WS=program)
    joined = json.loads(one.until("session_joined").string)
    other = start("--session-id", joined["session_id"], kind=Script, COMPANION_WS=program)
    other.until("session_joined")
    one.write('{"type": "contextual_update", "text": "quote_ready"}')
    other.until('"text":"quote_ready"')
    other.write('{"type": "user_message", "text": "Air, please"}')
    one.until('"text":"Air, please"')
    assert one.process.poll() is None, "it stays"
    assert one.stop(2) == 0
