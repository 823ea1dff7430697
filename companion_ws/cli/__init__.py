"""The command line: `companion-ws` serves, its verbs look after what it serves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from companion_ws import __version__
from companion_ws.cli.options import SettingsCommand, setting_options
from companion_ws.cli.terminal import OutputClosed, closing_quietly, say

VERBS: Final = {
    "asyncapi": "documents",
    "completion": "completion",
    "config": "settings",
    "connect": "connect",
    "db": "data",
    "demo": "demo",
    "docs": "documents",
    "doctor": "doctor",
    "elevenlabs": "voice",
    "erase": "data",
    "fake-elevenlabs": "voice",
    "key": "tokens",
    "mcp": "mcp",
    "open": "tokens",
    "openapi": "documents",
    "replay": "voice",
    "screen": "sessions",
    "send": "sessions",
    "serve": "serve",
    "session": "sessions",
    "token": "tokens",
    "tools": "voice",
    "watch": "sessions",
}
"""The verbs and their modules, each with its commands in `COMMANDS`."""


class _Verbs(MutableMapping[str, click.Command]):
    """The commands by their names; a module is imported once somebody wants a command of it.

    Most verbs talk to a server that runs: they start without all that makes a server.
    """

    def __init__(self) -> None:
        self._known: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._known:
            for command in import_module(f"{__name__}.{VERBS[name]}").COMMANDS:
                _name_defaults(command)
                self._known[str(command.name)] = command
        return self._known[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)

    def __contains__(self, name: object) -> bool:
        return name in VERBS


class _ServesByDefault(click.Group):
    """Without a verb it is `serve`, flags and all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        completes = ctx.resilient_parsing and not args  # what is typed now may be a verb
        if not completes and (not args or (args[0].startswith("-") and args[0] not in own)):
            args = self._verb_first(ctx, args)
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete verbs, and the flags of `serve`, which need none."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            of_serve = click.Context(_settings(), ctx, resilient_parsing=True)
            known = {completion.value for completion in found}
            found += [
                completion
                for completion in of_serve.command.shell_complete(of_serve, incomplete)
                if completion.value not in known
            ]
        return found

    def _verb_first(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put options that stand before a verb behind it; without a verb they are those of `serve`."""
        taking = {
            name: parameter.nargs if not getattr(parameter, "is_flag", False) else 0
            for parameter in _settings().get_params(ctx)
            for name in parameter.opts
        }
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] != "--":
            at += 1 + (0 if "=" in args[at] else taking.get(args[at], 0))
        if at >= len(args) or args[at] not in self.commands:
            return ["serve", *args]
        before, after = args[:at], args[at:]
        end = after.index("--") if "--" in after else len(after)
        return [*after[:end], *before, *after[end:]]

    def main(self, *arguments: Any, **extra: Any) -> NoReturn:
        """Run a verb; what it could not do is one sentence in which nothing acts."""
        try:
            try:
                code = super().main(*arguments, **{**extra, "standalone_mode": False})
            except click.ClickException as error:
                _complain(error)
                code = error.exit_code
            except click.Abort:
                say("Aborted!", err=True)
                code = 1
            except SystemExit:
                if "PacifyFlushWrapper" not in type(sys.stdout).__name__:
                    raise
                raise OutputClosed from None  # click's own words for it, when it printed help
            with closing_quietly():
                sys.stdout.flush()
        except OutputClosed:
            _forget_output()
            code = 0
        except BaseExceptionGroup as group:
            if group.subgroup(OutputClosed) is None:
                raise
            _forget_output()
            code = 0
        sys.exit(code if isinstance(code, int) else 0)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """After the verbs, the flags of `serve`: it is what runs without a verb."""
        rows = [
            row
            for parameter in _settings().get_params(ctx)
            if parameter.name != "help" and (row := parameter.get_help_record(ctx)) is not None
        ]
        with formatter.section("Options of serve, and without a command"):
            formatter.write_dl(rows)


def _settings() -> click.Command:
    """Return a command with the flags of `serve`, which needs all of a server to be imported."""
    command = setting_options(SettingsCommand("serve"))
    _name_defaults(command)
    return command


def _complain(error: click.ClickException) -> None:
    """Say what click, or a verb, has against what was asked: usage first, then the sentence."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        say(error.ctx.get_usage(), err=True, lines=True)
        say(f"Try '{error.ctx.command_path} --help' for help.", err=True)
        say(err=True)
    say(f"Error: {error.format_message()}", err=True)


def _forget_output() -> None:
    """Have nothing more to say: Python itself would complain about it at the very end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _name_defaults(command: click.Command) -> None:
    """Let `--help` name the default of every option, none and off included."""
    for option in command.params:
        if isinstance(option, click.Option) and not option.required and not option.show_default:
            # click marks what has no default in a way of its own, which differs by version.
            has_one = isinstance(option.default, str | int | float | Path) and not option.is_flag
            option.show_default = has_one or ("off" if option.is_flag else "none")
    if isinstance(command, click.Group) and not isinstance(command.commands, _Verbs):
        for inner in command.commands.values():
            _name_defaults(inner)


@click.group(
    cls=_ServesByDefault,
    commands=_Verbs(),
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="companion-ws")
def main() -> None:
    """Give a voice agent a screen.

    Without a command the server starts: companion-ws --lan is companion-ws serve --lan.
    """


_name_defaults(main)
