"""Shells complete verbs, flags and choices: asked of the shells themselves, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from programs import PATIENCE_S, clean_environment
from test_settings import said

from companion_ws.cli import main
from companion_ws.cli.completion import PROGRAM, VARIABLE

BASH = """
source "$1"; shift
complete -p companion-ws >/dev/null || exit 3
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_companion_ws_completion companion-ws
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
autoload -Uz compinit && compinit -u -d "$HOME/zcompdump"
source "$1"; shift
[[ $_comps[companion-ws] == _companion_ws_completion ]] || exit 3
_describe() { local name=$argv[-2]; print -rl -- ${${(P)name}%%:*} }
compadd() { local name=$argv[-1]; print -rl -- ${(P)name} }
words=("$@"); CURRENT=$#
_companion_ws_completion
"""
FISH = "source $argv[1]; complete -C (string join ' ' -- $argv[2..])"
SHELLS = {
    "bash": ["bash", "--norc", "-c", BASH, "bash"],
    "zsh": ["zsh", "-f", "-c", ZSH, "zsh"],
    "fish": ["fish", "--no-config", "-c", FISH],
}
Ask = Callable[..., list[str]]


@pytest.fixture(params=SHELLS)
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Ask:
    """Return what a shell offers after these words, the last of them unfinished."""
    assert shutil.which(request.param), f"README's test command installs {request.param}"
    program = tmp_path / "bin/companion-ws"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom companion_ws.cli import main\nmain()\n")
    program.chmod(0o755)
    code, script, _ = said("completion", request.param, data=tmp_path)
    assert code == 0
    (tmp_path / "script").write_text(script)
    path = f"{program.parent}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    root = str(Path(__file__).parents[2])

    def asked(*words: str) -> list[str]:
        done = subprocess.run(
            [*SHELLS[request.param], str(tmp_path / "script"), "companion-ws", *words],
            env=clean_environment(PATH=path, HOME=str(tmp_path), PYTHONPATH=root),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode in (0, 1), (done.returncode, done.stderr)
        assert done.stderr == ""
        return [line.split("\t")[0] for line in done.stdout.splitlines() if line]

    return asked


def test_a_shell_completes_verbs_and_the_flags_that_need_none(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "companion.toml").write_text("nonsense")  # completing reads no settings
    assert {"serve", "demo", "token", "config", "session"} <= set(ask(""))
    assert ask("--ho") == ["--host"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tok"], {"token"}),
        (["token", ""], {"create", "list", "revoke"}),
        (["session", "list", "--trou"], {"--trouble"}),
        (["--port", "1", "--limit-b"], {"--limit-burst"}),
        (["serve", "--durability", "p"], {"power", "process"}),
        (["--durability", "po"], {"power"}),
        (["config", "check", "--tunn"], {"--tunnel"}),
    ],
)
def test_verbs_flags_and_choices_are_offered(words: list[str], offered: set[str]) -> None:
    shell = ShellComplete(main, {}, PROGRAM, VARIABLE)
    found = shell.get_completions(words[:-1], words[-1])
    assert {completion.value for completion in found} == offered
