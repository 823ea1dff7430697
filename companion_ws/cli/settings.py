"""`config show` and `config check`: what a server started like this would be told, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

from companion_ws.cli import settings_file
from companion_ws.cli.options import (
    SettingsCommand,
    config_of,
    flag_of,
    is_secret,
    json_option,
    name_of,
    named_places,
    secret_of,
    setting_options,
    variable_of,
)
from companion_ws.cli.terminal import aligned, print_json, say
from companion_ws.config import Config

MASK: Final = "********"
_SOURCES: Final = {
    ParameterSource.COMMANDLINE: "flag",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
}
_GIVEN: Final = "given"


class Shown(NamedTuple):
    """One setting: its value, where that came from, and the flag, variable or file of that."""

    name: str
    value: Any
    source: str
    where: str | None


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@setting_options
def show(as_json: bool, **values: Any) -> None:
    """Print every setting, its value and where that came from.

    The source is flag, environment, file or default. Values are as they were given; secrets
    are masked. The flags are those of serve.
    """
    config_of(values)  # what makes no sense is refused as at a start
    shown = list(_shown(click.get_current_context(), values))
    if as_json:
        print_json(
            {row.name: {"value": row.value, "source": row.source, "where": row.where} for row in shown}
        )
    else:
        for line in aligned([[row.name, _in_words(row.value), _origin(row)] for row in shown]):
            say(line)


def _shown(context: click.Context, values: Mapping[str, Any]) -> Iterator[Shown]:
    file, data = named_places({**values, "config": context.meta.get(settings_file.VARIABLE)})
    for field in fields(Config):
        name = name_of(field)
        if is_secret(field):
            is_set = secret_of(field) is not None
            source = "environment" if is_set else "default"
            yield Shown(name, MASK if is_set else field.default, source, _secret_place(field))
            continue
        source = _SOURCES.get(
            context.get_parameter_source(name) or ParameterSource.DEFAULT, "default"
        )
        value = values[name]
        if name == "database" and (place := _secret_place(field)) is not None and source != "flag":
            yield Shown(name, MASK, "environment", place)  # It may hold a password.
            continue
        where = {
            "flag": flag_of(field),
            "environment": variable_of(field),
            "file": str(file or data / settings_file.NAME),
        }.get(source)
        yield Shown(name, str(value) if isinstance(value, Path) else value, source, where)


def _secret_place(field: Field[Any]) -> str | None:
    """Return the variable that gives a secret, or the file with it; None where nothing does."""
    variable = variable_of(field)
    given = (name for name in (variable, f"{variable}_FILE") if os.environ.get(name))
    return next(given, None)


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _origin(row: Shown) -> str:
    return row.source if row.where is None else f"{row.source} {row.where}"


class _Unread(SettingsCommand):
    """A command that is handed its flags as they are: reading them one by one is its work."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, rest, _ = self.make_parser(ctx).parse_args(list(args))
        if self.only_asks(ctx, given):
            return super().parse_args(ctx, args)
        if rest:
            ctx.fail(f"Got unexpected extra argument ({rest[0]})")
        ctx.params[_GIVEN] = given
        return rest


@config.command(cls=_Unread)
@json_option
@setting_options
def check(**values: Any) -> None:
    """Print ok, or a sentence for each fault of the settings (and exit with 2).

    It looks at flags, environment and settings file, at what they name (certificate, key,
    tools, logo), and starts nothing. The flags are those of serve.
    """
    from companion_ws.cli.settings_check import faults_of  # it needs all of a server

    given = values[_GIVEN]
    as_json = given.pop("as_json", False)
    faults = list(dict.fromkeys(faults_of(given)))
    for fault in faults or ["ok"]:
        if as_json:
            print_json({"finding": fault})
        else:
            say(fault, err=bool(faults))
    if faults:
        raise SystemExit(2)


COMMANDS: Final = [config]
