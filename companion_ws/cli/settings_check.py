"""What is wrong with the settings that flags, environment and settings file give: all of it, not the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from companion_ws.access.keys import Keys
from companion_ws.cli import settings_file
from companion_ws.cli.options import (
    file_settings,
    flag_of,
    is_secret,
    name_of,
    named_places,
    refuse_open_password,
    secret_of,
    setting_options,
    variable_of,
)
from companion_ws.cli.run_verb import find_modules_here
from companion_ws.cli.server import refuse_one_port, tls_of
from companion_ws.config import Config
from companion_ws.data_folder import StartRefused
from companion_ws.sessions.tools import load_tools
from companion_ws.traces import check_extra
from companion_ws.web.brand import Brand

_BRAND: Final = {
    "brand_accent": "accent", "brand_radius": "radius_px", "brand_font": "font", "brand_logo": "logo",
}  # fmt: skip


def faults_of(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each fault of the settings, those of flags as click's parser gave them."""
    named, data = named_places(given)
    file = named or data / settings_file.NAME
    in_file: list[str] = []
    stored: dict[str, Any] = {}
    try:
        stored = file_settings(named, data, in_file)
    except click.ClickException as error:
        in_file.append(error.message)
    yield from in_file
    command = setting_options(click.Command("settings"))
    context = click.Context(command, default_map=stored)
    options = {option.name: option for option in command.params}
    values: dict[str, Any] = {}
    for field in fields(Config):
        try:
            if is_secret(field):
                value = secret_of(field)
            else:
                value = _value(field, options[name_of(field)], context, given, file)
        except click.UsageError as error:
            yield error.message
        else:
            if value is not None:
                values[field.name] = value
    yield from _faults_together(Config(**values))


def _value(
    field: Field[Any],
    option: click.Parameter,
    context: click.Context,
    given: Mapping[str, Any],
    file: Path,
) -> Any:
    """Return the value of a setting that is a flag; None where it has its default.

    Raises:
        click.UsageError: it makes no sense; the sentence says where it stands.
    """
    name = name_of(field)
    try:
        option.handle_parse_result(context, given, [])
        if context.get_parameter_source(name) is ParameterSource.DEFAULT:
            return None
        value: Any = context.params[name]
        if name == "database":
            refuse_open_password(value, context.get_parameter_source(name))
        parts = value if isinstance(value, tuple) else [value]
        for part in parts:
            alone: dict[str, Any] = {field.name: (part,) if isinstance(value, tuple) else part}
            Config(**alone)
    except click.UsageError as error:
        why = error.message
    except ValueError as error:
        why = f"{error}."
    else:
        return not value if field.name == "transcripts" else value
    where = {
        ParameterSource.ENVIRONMENT: variable_of(field),
        ParameterSource.DEFAULT_MAP: f"{file}, {name}",
    }.get(context.get_parameter_source(name) or ParameterSource.COMMANDLINE, flag_of(field))
    raise click.UsageError(f"{where}: {why}")


def _faults_together(config: Config) -> Iterator[str]:
    """Yield what is wrong with settings that make sense each, and with the files they name."""
    for setting, part in _BRAND.items():
        yield from _why_not(partial(Brand, **{part: getattr(config, setting)}))
    if (config.tls_cert is None) != (config.tls_key is None):
        yield "--tls-cert and --tls-key go together."
    else:
        yield from _why_not(partial(tls_of, config))
    yield from _why_not(partial(refuse_one_port, config))
    if config.secret_key is not None or (config.data / "secret.key").exists():
        yield from _why_not(partial(Keys.load, config.data, config.secret_key))
    if config.traces_to is not None:
        yield from _why_not(check_extra)
    if config.tools is not None:
        find_modules_here()
        yield from _why_not(partial(load_tools, config.tools))


def _why_not(step: Callable[[], object]) -> Iterator[str]:
    try:
        step()
    except ImportError as error:
        yield f"A module cannot be imported: {error}."
    except (StartRefused, ValueError, OSError) as error:
        yield f"{str(error).rstrip('.')}."
