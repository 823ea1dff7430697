"""The command line: `companion-ws` serves, its verbs look after what it serves."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from companion_ws import __version__

GROUPS: Final = (
    "serve",
    "connect",
    "tokens",
    "sessions",
    "data",
    "documents",
    "doctor",
    "demo",
    "voice",
)
"""The modules with verbs; each has its commands in `COMMANDS`."""


class _ServesByDefault(click.Group):
    """Without a verb it is `serve`, flags and all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """After the verbs, the flags of `serve`: it is what runs without a verb."""
        serve = self.commands["serve"]
        rows = [
            row
            for parameter in serve.get_params(ctx)
            if parameter.name != "help" and (row := parameter.get_help_record(ctx)) is not None
        ]
        with formatter.section("Options of serve, and without a command"):
            formatter.write_dl(rows)


@click.group(cls=_ServesByDefault, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="companion-ws")
def main() -> None:
    """Give a voice agent a screen.

    Without a command the server starts: companion-ws --lan is companion-ws serve --lan.
    """


for _name in GROUPS:
    for _command in import_module(f"{__name__}.{_name}").COMMANDS:
        main.add_command(_command)
