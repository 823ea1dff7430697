"""What a server prints when it is ready: where it is, how to sign in, how a phone gets there."""

from __future__ import annotations

import sys

import aiohttp

from companion_ws.cli.own_command import lan_command
from companion_ws.cli.server import ReadyServer
from companion_ws.cli.terminal import print_qr, say
from companion_ws.config import Config
from companion_ws.control import reach
from companion_ws.core.errors import CompanionError, Unavailable
from companion_ws.data_folder import DataInUse, RunningServer, StartRefused


async def print_start(server: ReadyServer) -> None:
    """Print everything a person needs to go on."""
    say(f"Companion is ready at {server.addresses.local_url}")
    say(f"Data is stored in {_stored_in(server.config)}")
    if server.config.durability == "process":
        say("Acknowledged messages survive the end of this process, not the loss of power.")
    if server.addresses.needs_admin_port:
        say(f"Admin pages are at {server.admin_url}/admin, on this machine alone")
    await _print_sign_in_link(server)
    print_way_for_phones(server)
    sys.stdout.flush()


def _stored_in(config: Config) -> str:
    folder = str(config.data.resolve())
    if config.database is None:
        return folder
    from companion_ws.database.postgres.connect import parts_of, place_of

    return f"{place_of(parts_of(config.database))}, the key in {folder}"


async def _print_sign_in_link(server: ReadyServer) -> None:
    """Print the link, or why there is none; the server works all the same."""
    try:
        if RunningServer.read(server.config.data) is None:
            raise OSError("its address could not be written into the data folder")
        async with reach(server.config) as reached:
            link = await reached.sign_in_link()
    except (CompanionError, StartRefused, DataInUse, OSError, aiohttp.ClientError) as error:
        why = error.message if isinstance(error, CompanionError) else str(error)
        if isinstance(error, Unavailable):
            why = "the database takes no writes (/readyz says why)"
        say(f"No sign-in link now: {why.rstrip('.')}. `companion-ws open` makes one later.")
    else:
        say(f"Sign in here, once, within 10 minutes: {link}")


def print_way_for_phones(server: ReadyServer) -> None:
    """Print the QR of the page where a code is typed, or what makes a phone reach it."""
    addresses = server.addresses
    if addresses.is_reachable_by_phone:
        say()
        say(f"Phones open {addresses.public_url}/c and type a session's code:")
        print_qr(f"{addresses.public_url}/c")
        for url in addresses.alternative_urls:
            say(f"Maybe also {url}/c")
    else:
        say()
        say(why_no_phone(server), lines=True)


def why_no_phone(server: ReadyServer) -> str:
    """Return why the links of a server lead no phone to it, and what changes that."""
    if server.config.public_url is not None:
        return (
            f"Phones cannot reach {server.addresses.public_url}: it means this machine alone.\n"
            "Give the address phones use with --public-url, or leave it out."
        )
    if server.config.lan:
        return "No network was found. Give the address phones use with --public-url URL."
    return f"Phones cannot reach this address. To let them in, run:\n  {lan_command()}"
