"""`companion-ws demo`: server and simulated voice agent in one command, with no account anywhere."""

from __future__ import annotations

import asyncio
import logging
import shlex
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from companion_ws import logs
from companion_ws.cli.demo_agent import DemoAgent
from companion_ws.cli.options import config_of
from companion_ws.cli.run_verb import run
from companion_ws.cli.serve import Stop
from companion_ws.cli.server import ReadyServer, run_server
from companion_ws.cli.startup import why_no_phone
from companion_ws.cli.terminal import grouped, print_qr, say
from companion_ws.client import CompanionClient, Invitation
from companion_ws.config import Config
from companion_ws.control import STAY_S, reach
from companion_ws.core.errors import NotFound
from companion_ws.data_folder import StartRefused, servers_here
from companion_ws.voice.sent_links import send_command

TITLE: Final = "Parcel to New York"
LAST_LOOK: Final = 5
"""How many pauses the label is looked at before the agent hangs up."""

CALLER: Final = "+12025550143"
"""A number nobody has."""
SEND_LINK: Final = "send-sms {number} {url}"

Invite = Callable[[ReadyServer, Invitation, Invitation], None]


@click.command()
@click.option("--lan", is_flag=True, help="Let phones of this network join.")
@click.option("--public-url", help="The URL phones reach this server by.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True,
              help="Port to listen on.")  # fmt: skip
@click.option("--pace", "pace_s", type=click.FloatRange(0), default=1.6, show_default=True,
              help="Seconds between sentences.")  # fmt: skip
@click.option("--once", is_flag=True, help="Exit when the conversation is over.")
@click.option("--phone", is_flag=True,
              help="Play a telephone call: print the message its caller would be sent.")  # fmt: skip
@click.pass_context
def demo(
    context: click.Context, lan: bool, public_url: str | None, port: int, pace_s: float, once: bool,
    phone: bool,
) -> None:
    """See it work, with no account anywhere.

    A simulated agent sells shipping; your phone or browser is its screen. Everything is stored in a temporary folder and is gone afterwards.
    """
    chosen = context.get_parameter_source("port") is ParameterSource.COMMANDLINE
    logs.set_up()
    # What the server logs is for operators; here a conversation is told.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="companion-demo-") as folder:
        settings = {
            "data": Path(folder) / "data",
            "lan": lan,
            "public_url": public_url,
            "port": port,
            "tools": "companion_ws.examples.shipping",
        }
        config = config_of(settings, {})
        invite = _text if phone else _invite
        run(_demo(config, pace_s, invite, once=once, any_port=not chosen), stays=True)


async def _demo(
    config: Config, pace_s: float, invite: Invite, *, once: bool, any_port: bool
) -> int:
    stop = Stop()
    stop.watch_signals()
    async with _demo_server(config, any_port=any_port) as server:
        playing = asyncio.create_task(_play(server, pace_s, invite))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
            if not once:
                say()
                say("That was it. Your screen keeps what was agreed. Look around as long as you like;")
                say("Ctrl-C ends the demo.")
                await stopping
        for task in (playing, stopping):
            task.cancel()
        await asyncio.gather(playing, stopping, return_exceptions=True)
    return 0


@asynccontextmanager
async def _demo_server(config: Config, *, any_port: bool) -> AsyncIterator[ReadyServer]:
    """Listen on the usual port; where that is taken and nobody asked for it, on any."""
    server = run_server(config)
    try:
        listens = await server.__aenter__()
    except StartRefused:
        if not any_port:
            raise
        server = run_server(replace(config, port=0))
        listens = await server.__aenter__()
    try:
        yield listens
    finally:
        await server.__aexit__(None, None, None)


async def _play(server: ReadyServer, pace_s: float, invite: Invite) -> None:
    async with reach(server.config) as reached:
        say(f"The demo runs at {server.addresses.public_url}")
        say(f"Your side, on this computer: {await reached.sign_in_link()}")
        found = "" if servers_here() else f" --data {shlex.quote(str(server.config.data))}"
        say(f"That link works once, within 10 minutes; companion-ws open{found} makes another.")
        companion = CompanionClient(
            server.admin_url, token=reached.token("user", ttl_s=STAY_S), device="Demo agent"
        )
        async with companion:
            session = f"/sessions/{companion.session_id}"
            await reached.ask("PATCH", session, {"title": TITLE})
            say(f"Session {companion.session_id}")
            say()
            await DemoAgent(
                companion, say, lambda link, code: invite(server, link, code), pace_s
            ).play()
            await asyncio.sleep(pace_s * LAST_LOOK)
            say("… the agent hangs up, which ends the session")
            with suppress(NotFound):  # its owner may have ended it meanwhile
                await reached.ask("DELETE", session)


def _invite(server: ReadyServer, link: Invitation, code: Invitation) -> None:
    if server.addresses.is_reachable_by_phone:
        say()
        say("Scan this with a phone:")
        print_qr(link.url)
    else:
        say()
        say(why_no_phone(server), lines=True)
    say(f"Or open    {link.url}")
    say(f"or type    {grouped(code.code)}    at {code.code_url}")
    say()


def _text(server: ReadyServer, link: Invitation, code: Invitation) -> None:
    command = server.config.send_link or SEND_LINK
    say()
    say(f"The caller agrees to a message. With --send-link {shlex.quote(command)} this would run:")
    say(shlex.join(send_command(command, CALLER, link.url)))
    say(f"A caller who has no number hears the code: {grouped(code.code)} at {code.code_url}")
    say()


COMMANDS: Final = [demo]
