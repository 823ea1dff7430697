"""Verbs around voice agents: a configuration to paste, a fake to talk to, a call to play again."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TextIO

import click

from companion_ws.addresses import Addresses
from companion_ws.cli.local import certificate_at, local_token, running_url
from companion_ws.cli.options import data_option, environment_config
from companion_ws.cli.replay import Replay
from companion_ws.cli.run_verb import find_modules_here, run, sentences
from companion_ws.cli.terminal import print_json, progress, say
from companion_ws.config import public_url_of
from companion_ws.sessions.tools import ServerTool, load_tools
from companion_ws.voice.elevenlabs.agent_config import agent_config
from companion_ws.voice.offered import PLATFORMS, definitions

tools_option = click.option(
    "--tools",
    envvar="COMPANION_TOOLS",
    show_envvar=True,
    help="Module with server tools, or the path of its file.",
)
prompt_option = click.option(
    "--prompt", "prompt_only", is_flag=True, help="Print the prompt alone, as text."
)


@click.group()
def elevenlabs() -> None:
    """Configure an agent at ElevenLabs."""


@elevenlabs.command("agent-config")
@click.option("--url", show_default="--public-url, or its address", help="The public URL of this server.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["client", "webhook"]),
    help="For agents in pages and processes (client), on the telephone (webhook); default both.",
)
@tools_option
@prompt_option
@data_option
def agent_config_(
    url: str | None, kinds: tuple[str, ...], tools: str | None, prompt_only: bool, data: Path
) -> None:
    """Print tool definitions and the prompt that teaches an agent its screen, as JSON.

    Paste the tools into the agent (or send them with its API), the prompt below its own.
    """

    def configuration(public_url: str, server_tools: Iterable[ServerTool]) -> dict[str, Any]:
        return agent_config(public_url, server_tools, kinds)

    _print_offer(configuration, url, tools, prompt_only, data)


@click.command("tools")
@click.option("--for", "platform", required=True, type=click.Choice(["elevenlabs", *PLATFORMS]),
              help="Whose form the tools have.")  # fmt: skip
@click.option("--url", show_default="--public-url, or its address", help="The public URL of this server.")
@tools_option
@prompt_option
@data_option
def tools_(
    platform: str, url: str | None, tools: str | None, prompt_only: bool, data: Path
) -> None:
    """Print tool definitions in a platform's form and the prompt for an agent, as JSON.

    The tools are the companion tools and your server tools; the prompt goes below the agent's own.
    """

    def configuration(public_url: str, server_tools: Iterable[ServerTool]) -> dict[str, Any]:
        if platform == "elevenlabs":
            return agent_config(public_url, server_tools)
        return definitions(platform, public_url, server_tools)

    _print_offer(configuration, url, tools, prompt_only, data)


def _print_offer(
    configuration: Callable[[str, Iterable[ServerTool]], dict[str, Any]],
    url: str | None,
    tools: str | None,
    prompt_only: bool,
    data: Path,
) -> None:
    config = environment_config(data)
    find_modules_here()
    try:
        public_url = public_url_of(url) if url is not None else Addresses(config).public_url
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None

    async def work() -> None:
        wanted = configuration(public_url, load_tools(tools or config.tools).values())
        if prompt_only:
            say(wanted["prompt"].rstrip("\n"), lines=True)
        else:
            print_json(wanted, indent=2)

    run(work())


@click.command("fake-elevenlabs")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, help="Port to listen on.")
@click.option("--require", "variables", multiple=True, help="Dynamic variable the agent needs.")
@click.option("--requires-auth", is_flag=True, help="Refuse conversations without a signed URL.")
def fake_elevenlabs(host: str, port: int, variables: tuple[str, ...], requires_auth: bool) -> None:
    """Run a strict ElevenLabs on this machine, for SDKs without an account.

    Prints what clients send, one JSON line each. Lines on stdin go to the newest
    conversation: {"call": NAME, "parameters": {…}}, {"say": TEXT}, {"hear": TEXT}, {"end": true}.
    """
    run(_fake(host, port, variables, requires_auth), stays=True)


async def _fake(host: str, port: int, variables: tuple[str, ...], requires_auth: bool) -> None:
    from companion_ws.testing.fake_elevenlabs import FakeElevenLabs

    fake = FakeElevenLabs(
        host=host, port=port, required_variables=variables, requires_auth=requires_auth
    )
    async with fake, asyncio.TaskGroup() as tasks:
        print_json({"url": fake.url, "origin": fake.origin})
        tasks.create_task(_obey(fake, tasks))
        while True:
            conversation = await fake.next_conversation(None)
            print_json({"conversation_id": conversation.id, "agent_id": conversation.agent_id})
            tasks.create_task(_print_received(conversation))


async def _print_received(conversation: Any) -> None:
    while True:
        message = await conversation.received.next(None)
        print_json({"conversation_id": conversation.id, "received": message})


async def _obey(fake: Any, tasks: asyncio.TaskGroup) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            order = json.loads(line)
            conversation = fake.conversations[-1]
        except (ValueError, IndexError) as error:
            print_json({"error": f"not done: {error}"})
            continue
        tasks.create_task(_do(conversation, order))


async def _do(conversation: Any, order: dict[str, Any]) -> None:
    try:
        match order:
            case {"call": str(name)}:
                result = await conversation.call_tool(name, order.get("parameters"))
                print_json({"result": result.result, "is_error": result.is_error})
            case {"say": str(text)}:
                await conversation.say(text)
            case {"hear": str(text)}:
                await conversation.hear(text)
            case {"end": _}:
                await conversation.end()
            case _:
                print_json({"error": "unknown order"})
    except (ConnectionError, TimeoutError) as error:
        print_json({"error": str(error)})


@click.command()
@click.argument("file", type=click.File())
@click.option("--speed", type=click.FloatRange(0), default=1.0, show_default=True,
              help="Times as fast as it happened; 0: without a pause.")  # fmt: skip
@click.option("--session-id", help="Play into this session; without it, a new one.")
@click.option("--url", envvar="COMPANION_URL", show_envvar=True, show_default="the running one", help="The server's URL.")
@click.option(
    "--token",
    envvar="COMPANION_TOKEN",
    show_envvar=True,
    help="Token to replay with; without it, user `local` of the data folder.",
)
@click.option("--check", is_flag=True, help="Exit with 1 if a server tool answers otherwise.")
@data_option
def replay(
    file: TextIO,
    speed: float,
    session_id: str | None,
    url: str | None,
    token: str | None,
    check: bool,
    data: Path,
) -> None:
    """Play an exported session again, in its order and timing.

    FILE is what `session export` printed. Server tools run again. Prints each
    message as one JSON line.
    """
    config = environment_config(data)
    with sentences():
        records = records_in(file.read())
        token = token or local_token(config)
    where = url or running_url(config)
    player = Replay(where, token, session_id, ssl=certificate_at(where, config))
    run(_replay(records, player, speed, check), stays=True)


async def _replay(
    records: list[dict[str, Any]], player: Replay, speed: float, check: bool
) -> int:
    async with player as playing:
        print_json({"session_id": playing.session_id, "records": len(records)})
        # Between messages on the same terminal a bar would be in their way.
        with progress("Replaying", len(records), shown=not sys.stdout.isatty()) as told:
            async for played in playing.play(records, speed, told):
                print_json(played)
        for name, before, now in playing.differences:
            say(f"{name} answered otherwise: {before} before, {now} now", err=True)
    return 1 if check and playing.differences else 0


def records_in(text: str) -> list[dict[str, Any]]:
    """Return the records of an export: JSON lines, a list, or `{"records": […]}`.

    Raises:
        ValueError: it is none of these.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(value, dict):
        value = value.get("records", [value])
    if not isinstance(value, list) or not all(
        isinstance(record, dict) and "type" in record for record in value
    ):
        raise ValueError("This file holds no records")
    return value


COMMANDS: Final[list[Any]] = [elevenlabs, fake_elevenlabs, replay, tools_]
