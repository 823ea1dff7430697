"""The signing keys in the data folder: made on first start, refused when others can read them."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from companion_ws.data_folder import (
    NotOurs,
    StartRefused,
    refuse_foreign,
    refuse_mode,
    why_not,
)

KEY_BYTES: Final = 32
"""A shorter key could be searched for; 256 bits is what HMAC-SHA-256 can use."""
MAX_KEYS: Final = 3
"""The newest signs, two older ones still verify; the fourth rotation drops the first key."""


class Keys:
    """The signing keys, oldest first: the last one signs, all of them verify.

    `generation` grows with each rotation, so that who caches something made
    of the keys knows when to make it again.
    """

    def __init__(self, keys: Sequence[bytes], path: Path | None = None) -> None:
        if not keys:
            raise StartRefused("There is no signing key.")
        for key in keys:
            if len(key) < KEY_BYTES:
                raise StartRefused(
                    f"A signing key has {len(key)} bytes, it needs {KEY_BYTES} or more."
                )
        self._keys = tuple(keys)
        self._path = path
        self.generation = 0
        self.on_rotation: Callable[[bool], None] = lambda is_compromised: None
        """Called when a key was replaced, with whether nothing older is good any more."""

    @classmethod
    def load(cls, data: Path, secret_key: str | None = None) -> Keys:
        """Return the keys of `secret_key` or of `data/secret.key`, which the first start makes.

        The file holds one key per line, oldest first. Call
        `prepare_data_folder` before.

        Raises:
            StartRefused: the key is too short, missing from its file, or readable by others.
        """
        if secret_key is not None:
            try:
                return cls(_lines(secret_key.encode("utf-8", "surrogateescape")))
            except StartRefused as error:
                raise StartRefused(
                    f"COMPANION_SECRET_KEY: {error} Make one with: openssl rand -hex 32"
                ) from None
        path = data / "secret.key"
        try:
            if not path.exists():
                _create(path, (new_key(),))
            return cls(_lines(_read(path)), path)
        except NotOurs:
            raise
        except StartRefused as error:
            raise StartRefused(
                f"{path}: {error} Restore it from a backup, or delete it: "
                "a new one is made and everybody signs in again."
            ) from None
        except OSError as error:
            raise StartRefused(f"{path} cannot be used: {why_not(error)}.") from error

    @property
    def all(self) -> tuple[bytes, ...]:
        """Every key that verifies, oldest first."""
        return self._keys

    def derive(self, purpose: str) -> bytes:
        """Return the newest key's sub-key for `purpose`: 32 bytes that tell nothing of the key."""
        return _derive(self._keys[-1], purpose)

    def derive_all(self, purpose: str) -> tuple[bytes, ...]:
        """Return each key's sub-key for `purpose`, newest first: what is worth trying."""
        return tuple(_derive(key, purpose) for key in reversed(self._keys))

    def rotate(self, *, compromise: bool = False) -> None:
        """Sign with a new key from now on, stored before this returns.

        What older keys signed stays good, the last two of them; with
        `compromise` nothing older does.

        Raises:
            StartRefused: the key came from the environment and has to be changed there.
        """
        self.check_ours()
        self.sign_with(new_key(), is_alone=compromise)

    def check_ours(self) -> None:
        """Refuse to replace a key that is not ours.

        Raises:
            StartRefused: the key came from the environment and has to be changed there.
        """
        if self._path is None:
            raise StartRefused("The key comes from COMPANION_SECRET_KEY; change it there.")

    def expect(self, key: bytes) -> None:
        """Take what this key has signed; it will sign here soon."""
        if key not in self._keys:
            self._keys = (key, *self._keys)
            self.generation += 1

    def sign_with(self, key: bytes, *, is_alone: bool = False) -> None:
        """Sign with this key from now on, stored before this returns where the key is a file.

        The last two keys before it stay good, unless it `is_alone`.
        """
        older = tuple(each for each in self._keys if each != key)
        keys = (*(() if is_alone else older[-(MAX_KEYS - 1) :]), key)
        if self._path is not None:
            _replace(self._path, keys)
        self._keys = keys
        self.generation += 1
        self.on_rotation(is_alone)

    @property
    def marks(self) -> list[str]:
        """Return what each key is known by to servers that have it too, the one that signs first."""
        return [mark_of(key) for key in reversed(self._keys)]


def mark_of(key: bytes) -> str:
    """Return what a key is known by, which tells nothing of it."""
    return _derive(key, "mark").hex()[:32]


def _derive(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, f"companion-ws:{purpose}".encode(), sha256)


def new_key() -> bytes:
    """Return a key that nobody has."""
    return secrets.token_hex(KEY_BYTES).encode()


def _lines(text: bytes) -> list[bytes]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read(path: Path) -> bytes:
    if path.is_symlink():
        refuse_foreign(path, path.lstat())
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        # The open file is looked at, not the name: nobody can swap it in between.
        found = os.fstat(descriptor)
        refuse_foreign(path, found)
        refuse_mode(path, found.st_mode)
        return file.read()


def _create(path: Path, keys: Sequence[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(b"\n".join(keys) + b"\n")
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)  # half a key would be taken for a lost one
        raise
    _sync_folder(path.parent)


def _replace(path: Path, keys: Sequence[bytes]) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    _create(fresh, keys)
    fresh.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
