"""The settings file: `--config FILE`, else `companion.toml` in the data folder, and nowhere else."""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import click

from companion_ws.data_folder import StartRefused

NAME: Final = "companion.toml"
VARIABLE: Final = "COMPANION_CONFIG"
Kind = Literal["switch", "one", "several"]
"""What a setting holds."""
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def read_settings(
    path: Path,
    *,
    settings: Mapping[str, Kind],
    secrets: Collection[str],
    is_of_data: bool = False,
    faults: list[str] | None = None,
) -> dict[str, Any]:
    """Return what a file sets, by the names of the flags; `-` and `_` are the same there.

    `settings` says what each name holds. With `is_of_data` the file lies in
    the data folder and need not be there. With `faults` a key that cannot be
    used is left out, and the sentence about it stands there.

    Raises:
        click.UsageError: it is no TOML, or has a key or a value that means nothing here.
        StartRefused: others could write it, or it cannot be read.
    """
    text = _text(path, may_be_missing=is_of_data)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise click.UsageError(f"{path} is not valid TOML: {error}.") from None
    values: dict[str, Any] = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        try:
            _check_key(path, key, name, settings, secrets)
            if name in values:
                raise click.UsageError(f"{path} sets {key} twice.")
            if is_of_data and name == "data":
                raise click.UsageError(f"{path} is in the data folder and cannot name another.")
            values[name] = _value(path, key, value, settings[name])
        except click.UsageError as error:
            if faults is None:
                raise
            faults.append(error.message)
    return values


def _text(path: Path, *, may_be_missing: bool) -> str:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise click.UsageError(f"{path} is not a file.")
            if found.st_mode & _OTHERS_WRITE:
                raise StartRefused(
                    f"{path} can be written by other accounts (mode"
                    f" {stat.S_IMODE(found.st_mode):04o}). If nobody else has changed it, run:"
                    f" chmod go-w {path}"
                )
            if found.st_uid not in (os.geteuid(), 0):
                raise StartRefused(f"{path} belongs to another account, which could change it.")
            return file.read().decode()
    except (FileNotFoundError, NotADirectoryError):
        if may_be_missing:
            return ""
        raise click.UsageError(f"There is no settings file {path}.") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{path} is not valid TOML: it is not UTF-8.") from None
    except OSError as error:
        raise StartRefused(f"{path} cannot be read: {error.strerror}.") from None


def _check_key(
    path: Path, key: str, name: str, settings: Mapping[str, Kind], secrets: Collection[str]
) -> None:
    if name in secrets or name.removesuffix("_file") in secrets:
        variable = f"COMPANION_{name.removesuffix('_file').upper()}"
        raise click.UsageError(
            f"{path} has {key}, a secret. Give it as {variable}, or a file with it as {variable}_FILE."
        )
    if name not in settings:
        near = difflib.get_close_matches(name, settings, 1)
        hint = f" Is it {near[0]}?" if near else ""
        raise click.UsageError(f"{path} has {key}, which is not a setting.{hint}")


def _value(path: Path, key: str, value: Any, kind: Kind) -> Any:
    parts = value if isinstance(value, list) and kind == "several" else [value]
    if kind == "switch":
        if not isinstance(value, bool):
            raise click.UsageError(f"{path}: {key} is true or false.")
        return value
    if not all(type(part) in (str, int, float) for part in parts):
        many = ", or a list of them" if kind == "several" else ""
        raise click.UsageError(f"{path}: {key} is a text or a number{many}.")
    return [str(part) for part in parts] if kind == "several" else value
