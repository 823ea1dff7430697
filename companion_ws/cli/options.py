"""The settings as command line flags: each field of `Config` is one, with its environment variable."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from companion_ws.config import Config
from companion_ws.core.text import visible

PREFIX: Final = "COMPANION_"
_HINTS: Final = get_type_hints(Config)

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(command: Command) -> Command:
    """Give a command a flag for every setting; its parameters are the fields of `Config`."""
    for field in reversed(fields(Config)):
        if not _is_secret(field):
            command = _option(field)(command)
    return command


def data_option(command: Command) -> Command:
    """Give a verb the flag that says which data folder it works on."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("data"),
        show_default=True,
        envvar="COMPANION_DATA",
        show_envvar=True,
        help="Folder of database and key.",
    )(command)


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def ask_before(deed: str, *, yes: bool) -> None:
    """Go on only if the person at the terminal, or `--yes`, says so.

    Raises:
        click.UsageError: there is no terminal, and no `--yes`.
        click.Abort: the person said no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{deed}? Nobody is at a terminal to ask; add --yes to do it.")
    click.confirm(f"{visible(deed)}?", abort=True, err=True)


def config_of(values: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Config:
    """Return the settings of parsed flags, secrets from the environment among them.

    Raises:
        click.UsageError: a value makes no sense; the sentence says which.
    """
    settings = {name: value for name, value in values.items() if name in _HINTS}
    if "no_transcripts" in values:
        settings["transcripts"] = not values["no_transcripts"]
    for field in fields(Config):
        given = environ.get(PREFIX + field.name.upper())
        if _is_secret(field) and given:
            settings[field.name] = given
    try:
        config = Config(**settings)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    if (config.tls_cert is None) != (config.tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    return config


def environment_config(data: Path) -> Config:
    """Return the settings a verb works with: the environment's, and its data folder."""
    command = setting_options(click.Command("settings"))
    with command.make_context("settings", []) as context:
        return config_of({**context.params, "data": data})


def flag_of(field: Field[Any]) -> str:
    """Return the flag of a setting.

    >>> [flag_of(field) for field in fields(Config) if field.name == "public_url"]
    ['--public-url']
    """
    return str(field.metadata.get("flag") or "--" + field.name.replace("_", "-"))


def _is_secret(field: Field[Any]) -> bool:
    return bool(field.metadata.get("secret"))


def _option(field: Field[Any]) -> Callable[[Command], Command]:
    flag = flag_of(field)
    hint = _HINTS[field.name]
    default = None if field.default is MISSING else field.default
    options: dict[str, Any] = {
        "help": field.metadata["help"] + (" 0: no limit." if "limit_" in field.name else ""),
        "envvar": PREFIX + flag.removeprefix("--").replace("-", "_").upper(),
        "show_envvar": True,
    }
    if hint is bool:
        options |= {"is_flag": True, "default": False}
    elif get_origin(hint) is tuple:
        options |= {"multiple": True, "type": _Several()}
    else:
        options |= {"type": _type(field.name, hint), "default": default}
        options["show_default"] = default is not None
    return click.option(flag, **options)


class _Several(click.ParamType[str]):
    """A repeatable flag; in its variable the values stand with spaces or commas between."""

    name = "text"

    def split_envvar_value(self, rv: str) -> list[str]:
        return rv.replace(",", " ").split()


def _type(name: str, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        # Durations are numbers or text like 90s; Config reads both.
        return str if str in kinds else _type(name, kinds[0])
    if hint is int:
        return click.IntRange(0, 65_535 if name.endswith("port") else None)
    if hint is float:
        return click.FloatRange(0)
    if hint is Path:
        return click.Path(path_type=Path)
    return str
