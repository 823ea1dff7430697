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
from click.core import ParameterSource

from companion_ws.cli import settings_file
from companion_ws.cli.run_verb import sentences
from companion_ws.config import Config, has_password
from companion_ws.core.text import visible

PREFIX: Final = "COMPANION_"
DATABASE: Final = "COMPANION_DATABASE"
_HINTS: Final = get_type_hints(Config)

Command = TypeVar("Command", bound=Callable[..., Any])


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar=settings_file.VARIABLE,
    show_envvar=True,
    show_default="companion.toml in the data folder",
    is_eager=True,
    expose_value=False,
    callback=lambda context, parameter, path: _remember(context, path),
    help="Settings file (TOML).",
)


class SettingsCommand(click.Command):
    """A command whose flags stand in the settings file, too: flag, environment, file, default."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        if not self.only_asks(ctx, given):
            ctx.default_map = file_settings(*named_places(given))
        return super().parse_args(ctx, args)

    def only_asks(self, ctx: click.Context, given: Mapping[str, Any]) -> bool:
        """Return whether a person wants help, or a shell completes: no setting matters then."""
        asked = self.get_help_option(ctx)
        return ctx.resilient_parsing or (asked is not None and bool(given.get(str(asked.name))))


def named_places(given: Mapping[str, Any]) -> tuple[Path | None, Path]:
    """Return the settings file that flags or environment name, if one, and the data folder."""
    config = given.get("config") or os.environ.get(settings_file.VARIABLE)
    data = given.get("data") or os.environ.get(PREFIX + "DATA") or "data"
    return Path(config) if config else None, Path(data)


def setting_options(command: Command) -> Command:
    """Give a command a flag for every setting; its parameters are the fields of `Config`."""
    command = config_option(command)
    for field in reversed(fields(Config)):
        if not is_secret(field):
            command = _option(field)(command)
    return command


def data_option(command: Command) -> Command:
    """Give a verb the flags that say which data folder it works on."""
    command = config_option(command)
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("data"),
        show_default=True,
        envvar="COMPANION_DATA",
        show_envvar=True,
        callback=_chosen_data,
        help="Folder of database and key.",
    )(command)


def _remember(context: click.Context, path: Path | None) -> None:
    context.meta[settings_file.VARIABLE] = path


def _chosen_data(context: click.Context, parameter: click.Parameter, data: Path) -> Path:
    """Return the folder a verb was told, be it by the settings file."""
    config = context.meta.get(settings_file.VARIABLE)
    if context.get_parameter_source("data") is ParameterSource.DEFAULT and config is not None:
        return Path(file_settings(config, data).get("data", data))
    return data


def file_settings(
    config: Path | None, data: Path, faults: list[str] | None = None
) -> dict[str, Any]:
    """Return what the settings file says: the one that was named, else the data folder's.

    With `faults` what cannot be used is left out, and the sentence about it stands there.
    """
    kinds = {name_of(field): _kind(field) for field in fields(Config) if not is_secret(field)}
    secrets = {field.name for field in fields(Config) if is_secret(field)}
    with sentences():
        return settings_file.read_settings(
            config or data / settings_file.NAME,
            settings=kinds,
            secrets=secrets,
            is_of_data=config is None,
            faults=faults,
        )


def _kind(field: Field[Any]) -> settings_file.Kind:
    hint = _HINTS[field.name]
    if hint is bool:
        return "switch"
    return "several" if get_origin(hint) is tuple else "one"


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
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
        given = secret_of(field, environ) if is_secret(field) else None
        if given is not None:
            settings[field.name] = given
    _take_database(settings, environ)
    try:
        config = Config(**settings)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    if (config.tls_cert is None) != (config.tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    return config


def _take_database(settings: dict[str, Any], environ: Mapping[str, str]) -> None:
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source("database") if context is not None else None
    refuse_open_password(settings.get("database"), source)
    if environ.get(f"{DATABASE}_FILE") and source is not ParameterSource.COMMANDLINE:
        settings["database"] = _from_file(DATABASE, environ)


def refuse_open_password(url: str | None, source: ParameterSource | None) -> None:
    """See to it that no password of the database stands where others may read it.

    Raises:
        click.UsageError: it does.
    """
    if url and source is not ParameterSource.ENVIRONMENT and has_password(url):
        raise click.UsageError(
            "The URL of the database has a password, which others can read there. Give the whole URL"
            f" in a file that {DATABASE}_FILE names, or the password in PGPASSWORD or ~/.pgpass."
        )


def secret_of(field: Field[Any], environ: Mapping[str, str] = os.environ) -> str | None:
    """Return a secret from its variable, or from the file that `VARIABLE_FILE` names.

    Raises:
        click.UsageError: both are set, or the file cannot be read or says nothing.
    """
    return _from_file(variable_of(field), environ)


def _from_file(variable: str, environ: Mapping[str, str]) -> str | None:
    given, path = environ.get(variable), environ.get(f"{variable}_FILE")
    if not path:
        return given or None
    if given:
        raise click.UsageError(f"{variable} and {variable}_FILE are both set; set one of them.")
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape").strip("\r\n")
    except OSError as error:
        raise click.UsageError(f"{variable}_FILE: {path} cannot be read: {error.strerror}.") from None
    if not text:
        raise click.UsageError(f"{variable}_FILE: {path} is empty.")
    return text


def environment_config(data: Path) -> Config:
    """Return the settings a verb works with: the environment's and the file's, and its data folder."""
    outer = click.get_current_context(silent=True)
    config = outer.meta.get(settings_file.VARIABLE) if outer is not None else None
    arguments = ["--data", str(data), *(["--config", str(config)] if config is not None else [])]
    command = setting_options(SettingsCommand("settings"))
    with command.make_context("settings", arguments) as context:
        return config_of({**context.params, "data": data})


def flag_of(field: Field[Any]) -> str:
    """Return the flag of a setting.

    >>> [flag_of(field) for field in fields(Config) if field.name == "public_url"]
    ['--public-url']
    """
    return str(field.metadata.get("flag") or "--" + field.name.replace("_", "-"))


def name_of(field: Field[Any]) -> str:
    """Return what a setting is called as a parameter and in the settings file.

    >>> [name_of(field) for field in fields(Config) if field.name == "transcripts"]
    ['no_transcripts']
    """
    return flag_of(field).removeprefix("--").replace("-", "_")


def variable_of(field: Field[Any]) -> str:
    """Return the environment variable of a setting.

    >>> [variable_of(field) for field in fields(Config) if field.name == "transcripts"]
    ['COMPANION_NO_TRANSCRIPTS']
    """
    return PREFIX + name_of(field).upper()


def is_secret(field: Field[Any]) -> bool:
    """Return whether a setting is never a flag, and never shown."""
    return bool(field.metadata.get("secret"))


def _option(field: Field[Any]) -> Callable[[Command], Command]:
    flag = flag_of(field)
    hint = _HINTS[field.name]
    default = None if field.default is MISSING else field.default
    options: dict[str, Any] = {
        "help": field.metadata["help"] + (" 0: no limit." if "limit_" in field.name else ""),
        "envvar": variable_of(field),
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
