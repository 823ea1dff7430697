"""The server of a data folder, for verbs that join it as anybody does: where, proven how, as whom."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import aiohttp

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.addresses import is_loopback
from companion_ws.config import Config
from companion_ws.control import LOCAL_USER, require_data
from companion_ws.data_folder import RunningServer

TOKEN_TTL_S: Final = 12 * 3600.0
"""How long one may go on from the last `--after` with the same token."""


def running_url(config: Config) -> str:
    """Return where the folder's server is; with none running, where it would be."""
    running = RunningServer.read(config.data)
    return running.admin_url if running is not None else f"http://127.0.0.1:{config.port}"


def local_token(config: Config) -> str:
    """Return a token of the user `local`, signed with the folder's key.

    Raises:
        StartRefused: there is no such folder, or others can read its key.
    """
    if config.secret_key is None:
        require_data(config.data)
    tokens = Tokens(Keys.load(config.data, config.secret_key))
    return tokens.issue("user", LOCAL_USER, TOKEN_TTL_S)[0]


def certificate_at(url: str, config: Config) -> aiohttp.Fingerprint | None:
    """Return what proves that the folder's server answers at `url`; None for any other URL.

    No authority signed a certificate for 127.0.0.1, so the running server leaves the
    fingerprint of its own. Elsewhere the usual check of certificates stays.
    """
    running = RunningServer.read(config.data)
    if running is None or running.fingerprint is None:
        return None
    asked, own = urlsplit(url), urlsplit(running.admin_url)
    is_own = (
        asked.scheme in ("https", "wss")
        and (asked.port or 443) == (own.port or 443)
        and is_loopback(asked.hostname or "")
    )
    return aiohttp.Fingerprint(bytes.fromhex(running.fingerprint)) if is_own else None
