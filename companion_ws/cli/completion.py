"""`completion`: what a shell needs to complete this program's verbs and flags."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from companion_ws.cli.terminal import say

PROGRAM: Final = "companion-ws"
VARIABLE: Final = "_COMPANION_WS_COMPLETE"
"""Where the script asks the program; click derives the same name from the program's."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    bash: eval "$(companion-ws completion bash)" in ~/.bashrc; zsh likewise in ~/.zshrc, after
    compinit; fish: companion-ws completion fish > ~/.config/fish/completions/companion-ws.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    root = click.get_current_context().find_root()
    say(kind(root.command, {}, PROGRAM, VARIABLE).source(), lines=True)


COMMANDS: Final = [completion]
