"""A server that runs: lock, sockets, tunnel and application, and their shutdown."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from companion_ws.addresses import Addresses, is_loopback
from companion_ws.app import ADDRESSES, INSTANCE, create_app
from companion_ws.cli.own_command import lan_command
from companion_ws.cli.terminal import OutputClosed, say
from companion_ws.cli.tunnel import tunnel
from companion_ws.config import Config
from companion_ws.data_folder import DataLock, RunningServer, StartRefused
from companion_ws.web.accepting import PatientSite, raise_descriptor_limit
from companion_ws.web.runner import Runner

SHUTDOWN_S: Final = 2.0
"""How long requests under way may take when the server stops."""
BACKLOG: Final = 1024
"""After a restart all clients reconnect at once."""


@dataclass(frozen=True, slots=True)
class ReadyServer:
    """A server that answers. `config` has the real ports, `addresses` the tunnel's URL."""

    config: Config
    addresses: Addresses
    admin_url: str
    app: web.Application


@asynccontextmanager
async def run_server(
    config: Config, stopped: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[ReadyServer]:
    """Start a server for the time of the block; `stopped` ends the wait for a tunnel.

    Raises:
        StoppedEarly: it was stopped before its tunnel was there.
        StartRefused: something the message names is in the way.
        DataInUse: another server works on the data folder.
    """
    raise_descriptor_limit()
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(DataLock(config.data))
        await lock.acquire()
        RunningServer.remove(config.data)
        tls = tls_of(config)
        refuse_one_port(config)
        main = _bind(config.host, config.port, "--port")
        for held in main:
            stack.enter_context(held)
        config = replace(config, port=main[0].getsockname()[1])
        admin: list[socket.socket] = []
        if Addresses(config).needs_admin_port:
            admin = _bind("127.0.0.1", config.admin_port, "--admin-port")
            config = replace(config, admin_port=admin[0].getsockname()[1])
        elif not _answers_loopback(config.host):
            # Verbs and admin pages need a door that only this machine can use.
            admin = _bind("127.0.0.1", config.port, "--port")
        for held in admin:
            stack.enter_context(held)

        runner = Runner(await create_app(config, lock), shutdown_timeout=SHUTDOWN_S)
        if config.public_url is None and not config.lan:
            runner.app[ADDRESSES].lan_command = lan_command()
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        for held in main:
            await PatientSite(runner, held, ssl_context=tls, backlog=BACKLOG).start()
        for held in admin:
            await PatientSite(runner, held, backlog=BACKLOG).start()
        server = RunningServer(
            pid=os.getpid(),
            admin_url=_admin_url(config, admin, main, tls),
            fingerprint=_fingerprint(config) if tls and not admin else None,
        )
        await stack.enter_async_context(server.shown(config.data))
        ready = ReadyServer(config, runner.app[ADDRESSES], server.admin_url, runner.app)
        if config.tunnel is not None:
            await stack.enter_async_context(_tunnelled(ready, config.tunnel, stopped))
        yield ready


@asynccontextmanager
async def _tunnelled(
    ready: ReadyServer, command: str, stopped: Callable[[], Awaitable[None]] | None
) -> AsyncIterator[None]:
    """Run the tunnel for the time of the block; links carry its address from then on."""
    addresses, is_ready = ready.addresses, False

    def tell(url: str | None) -> None:
        addresses.tunnel_url = url
        if not is_ready:
            return  # The start says it.
        with suppress(OutputClosed):
            if url is None:
                say("The tunnel has ended and is being restarted.")
            else:
                say(f"Phones now open {url}/c and type a session's code")

    local = f"{'https' if ready.config.tls_cert else 'http'}://127.0.0.1:{ready.config.port}"
    async with tunnel(
        command,
        local,
        ready.app[INSTANCE],
        tell,
        is_sought=ready.config.public_url is None,
        stopped=stopped,
    ):
        is_ready = True
        yield


def _admin_url(
    config: Config,
    admin: list[socket.socket],
    main: list[socket.socket],
    tls: ssl.SSLContext | None,
) -> str:
    if admin:
        return f"http://127.0.0.1:{admin[0].getsockname()[1]}"
    bound = main[0].getsockname()[0]
    host = bound if is_loopback(bound) else "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{config.port}"


def _answers_loopback(host: str) -> bool:
    return is_loopback(host) or host in ("0.0.0.0", "::", "")  # noqa: S104


def _bind(host: str, port: int, flag: str) -> list[socket.socket]:
    """Return bound sockets, one per address of `host`; port 0 is the same free one for all."""
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            held = socket.socket(family, kind, protocol)
            bound.append(held)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Alone, `::` takes IPv4 too; beside an IPv4 socket it would be in its way.
                held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(len(found) > 1))
            held.bind((address[0], port or bound[0].getsockname()[1], *address[2:]))
            held.setblocking(False)
    except OSError as error:
        for held in bound:
            held.close()
        raise StartRefused(_bind_sentence(error, host, port, flag)) from None
    return bound


def _bind_sentence(error: OSError, host: str, port: int, flag: str) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; choose another with --host."
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use by another program; choose another with {flag}."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} needs more rights than this account has; choose another with {flag}."
    return f"Port {port} of {host} cannot be used: {error.strerror}."


def refuse_one_port(config: Config) -> None:
    """Raise StartRefused where admin routes need a port of their own and are given the main one."""
    if Addresses(config).needs_admin_port and config.port and config.port == config.admin_port:
        raise StartRefused(
            f"--port and --admin-port are both {config.port}: behind a proxy or a tunnel admin"
            " routes need a port of their own. Choose another with --admin-port."
        )


def tls_of(config: Config) -> ssl.SSLContext | None:
    """Return what a server proves itself by; None without a certificate.

    Raises:
        StartRefused: certificate and key cannot be used, or do not go together.
    """
    if config.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or error
        raise StartRefused(
            f"The certificate {config.tls_cert} with its key {config.tls_key} cannot be used: {why}."
        ) from None
    return context


def _fingerprint(config: Config) -> str | None:
    if config.tls_cert is None:
        return None
    marker = "-----END CERTIFICATE-----"
    first = config.tls_cert.read_text().partition(marker)[0]
    begin = first.index("-----BEGIN CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(first[begin:] + marker)
    return hashlib.sha256(der).hexdigest()
