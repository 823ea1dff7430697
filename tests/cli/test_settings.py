"""Where settings come from, and what the program says of those it cannot use."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from programs import Program, Served, clean_environment, prepare

from companion_ws.cli import main
from companion_ws.cli.options import environment_config

Start = Callable[..., Served]


def verbs(group: click.Group, before: str = "") -> list[str]:
    found: list[str] = []
    for name, command in group.commands.items():
        inner = before + name
        found += verbs(command, inner + " ") if isinstance(command, click.Group) else [inner]
    return found


def test_every_verb_that_lists_prints_json_lines_too() -> None:
    lists = {"list", "find", "check", "doctor", "watch"}
    found = [verb for verb in verbs(main) if verb.split()[-1] in lists]
    assert len(found) >= 7
    for verb in found:
        command: click.Command = main
        for name in verb.split():
            assert isinstance(command, click.Group)
            command = command.commands[name]
        assert any("--json" in parameter.opts for parameter in command.params), verb


def said(*arguments: str, data: Path, **environment: str) -> tuple[int, str, str]:
    cleared = {name: None for name in clean_environment() if name.startswith("COMPANION_")}
    variables = {**cleared, "COMPANION_DATA": str(data), **environment}
    done = CliRunner().invoke(main, arguments, env=variables)
    return done.exit_code, done.stdout, done.stderr


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


# The file.


def test_the_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(
    start: Start, program: Program
) -> None:
    write(
        program.data / "companion.toml",
        'public-url = "http://file.example"\nadmin_port = 0\nport = 0\nlimit_burst = 7\n'
        'allow_origin = ["https://a.example", "https://b.example"]\nno-transcripts = true\n',
    )
    served = start()
    assert served.until(r"Phones open (\S+)")[1] == "http://file.example/c"
    served.stop()
    served = start(COMPANION_PUBLIC_URL="http://env.example")
    assert served.until(r"Phones open (\S+)")[1] == "http://env.example/c"
    served.stop()
    served = start("--public-url", "http://flag.example", COMPANION_PUBLIC_URL="http://e.example")
    assert served.until(r"Phones open (\S+)")[1] == "http://flag.example/c"


def test_every_kind_of_setting_may_stand_in_the_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(
        data / "companion.toml",
        'allow_origin = ["https://a.example"]\nallow_host = "b.example"\nno_transcripts = true\n'
        'session_ttl = 90\nkeep-ended = "2h"\nlimit_messages_per_s = 2.5\nlan = false\n'
        'tls_cert = "chain.pem"\ntls_key = "key.pem"\nbrand_radius = 3\nlog_format = "json"\n',
    )
    config = environment_config(data)
    assert config.allow_origin == ("https://a.example",)
    assert config.allow_host == ("b.example",)
    assert config.transcripts is False
    assert (config.session_ttl_s, config.keep_ended_s) == (90, 7200)
    assert (config.limit_messages_per_s, config.brand_radius) == (2.5, 3)
    assert (config.tls_cert, config.log_format) == (Path("chain.pem"), "json")


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("prot = 1", 2, "has prot, which is not a setting. Is it port?"),
        ('secret_key = "x"', 2, "a secret. Give it as COMPANION_SECRET_KEY, or a file"),
        ('elevenlabs-api-key = "x"', 2, "COMPANION_ELEVENLABS_API_KEY_FILE"),
        ('secret_key_file = "x"', 2, "a secret"),
        ("port = 1\nport = 2", 2, "is not valid TOML"),
        ("port", 2, "is not valid TOML"),
        ("tls_key = 1\ntls-key = 2", 2, "sets tls-key twice"),
        ('data = "x"', 2, "cannot name another"),
        ("lan = 1", 2, "lan is true or false"),
        ("port = true", 2, "port is a text or a number"),
        ("port = [1]", 2, "port is a text or a number"),
        ("allow_host = [[1]]", 2, "or a list of them"),
        ("[port]\nx = 1", 2, "port is a text or a number"),
        ("admin_port = 70000", 2, "70000"),
        ('session_ttl = "soon"', 2, "is not a valid duration"),
        ("log_format = 3", 2, "log-format"),
    ],
)
def test_what_makes_no_sense_in_the_file_is_refused_and_named(
    text: str, code: int, sentence: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    write(data / "companion.toml", text)
    for arguments in (["serve", "--port", "0"], ["doctor"]):
        exit_code, out, errors = said(*arguments, data=data)
        assert (exit_code, out) == (code, "")
        assert sentence in errors.splitlines()[-1]
    assert not (data / "companion.db").exists()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_others_can_write_is_refused(mode: int, tmp_path: Path) -> None:
    path = write(tmp_path / "data/companion.toml", "port = 0", mode)
    code, _, errors = said("serve", data=path.parent)

    assert code == 1
    assert f"chmod go-w {path}" in errors


def test_another_file_is_named_by_flag_or_variable_and_may_say_where_the_data_is(
    start: Start, program: Program, tmp_path: Path
) -> None:
    prepare(program.data)
    write(program.data / "companion.toml", "nonsense")
    file = write(
        tmp_path / "etc/shop.toml", f'data = "{program.data}"\npublic_url = "http://x.example"\n'
        "admin_port = 0\n",
    )
    served = start("--config", str(file), COMPANION_DATA="")
    assert served.until(r"Phones open (\S+)")[1] == "http://x.example/c"
    assert (program.data / "server.json").exists(), "the data is where the file says"
    for more in (["--config", str(file)], []):
        environment = {} if more else {"COMPANION_CONFIG": str(file)}
        code, _, errors = said("token", "list", *more, data=Path(), COMPANION_DATA="", **environment)
        assert code == 0, errors
    code, _, errors = said("serve", "--config", str(tmp_path / "no.toml"), data=program.data)
    assert code == 2
    assert "There is no settings file" in errors


# Secrets.


def test_every_secret_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("SECRET_KEY", "ELEVENLABS_API_KEY", "ELEVENLABS_AGENT_ID", "ELEVENLABS_TOOL_SECRET",
             "ELEVENLABS_WEBHOOK_SECRET", "ELEVENLABS_BASE_URL", "ELEVENLABS_USER")  # fmt: skip
    for name in names:
        file = tmp_path / name
        file.write_text(f"{name.lower()}-{'x' * 32}\n")
        monkeypatch.delenv(f"COMPANION_{name}", raising=False)
        monkeypatch.setenv(f"COMPANION_{name}_FILE", str(file))
    config = environment_config(tmp_path / "data")

    for name in names:
        assert getattr(config, name.lower()) == f"{name.lower()}-{'x' * 32}"


@pytest.mark.parametrize(
    ("content", "also", "sentence"),
    [
        (None, "", "cannot be read: No such file"),
        ("", "", "is empty"),
        ("y" * 40, "z" * 40, "are both set"),
    ],
)
def test_a_secret_s_file_that_says_nothing_is_refused(
    content: str | None, also: str, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    code, _, errors = said(
        "serve", "--port", "0", data=tmp_path / "data",
        COMPANION_SECRET_KEY=also, COMPANION_SECRET_KEY_FILE=str(file),
    )  # fmt: skip
    assert code == 2
    assert "COMPANION_SECRET_KEY_FILE" in errors
    assert sentence in errors


# Asking for help.


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_default_and_meaning_of_every_option_of_every_verb(
    flag: str, tmp_path: Path
) -> None:
    for verb in verbs(main):
        code, shown, _ = said(*verb.split(), flag, data=tmp_path)
        assert code == 0
        options = re.split(r"\n  (?=-)", shown.partition("\nOptions:")[2])[1:]
        assert options, verb
        for option in options:
            text = " ".join(option.split())
            if "--help" in text:
                continue
            assert re.search(r"default: |required", text), (verb, text)
            assert re.search(r" [A-Z][\w-]* \w+", text.partition("[default")[0]), (verb, text)
    assert said(flag, data=tmp_path)[1].startswith("Usage: ")


def test_help_names_the_unit_of_every_limit_and_duration(tmp_path: Path) -> None:
    shown = " ".join(said("serve", "--help", data=tmp_path)[1].split())

    for name, unit in {
        "--limit-message-bytes": "Bytes", "--limit-messages-per-s": "per second",
        "--session-ttl": "duration", "--keep-ended": "duration", "--brand-radius": "px",
        "--limit-log-bytes": "Bytes", "--limit-burst": "Messages", "--port": "Port",
    }.items():  # fmt: skip
        assert unit in shown.partition(f" {name} ")[2].partition("[env var")[0], name
    assert "COMPANION_SECRET_KEY" in shown
    assert "docs/" not in shown, "no wheel holds docs"


def test_options_before_the_verb_are_understood(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    nowhere = tmp_path / "nowhere"
    for arguments in (
        ["--data", str(tmp_path / "data"), "token", "list"],
        [f"--data={tmp_path / 'data'}", "session", "list", "--json"],
        ["--data", str(tmp_path / "data"), "db", "check"],
    ):
        code, _, errors = said(*arguments, data=nowhere)
        assert code == 0, errors
    code, shown, _ = said("--data", str(tmp_path / "data"), "doctor", data=nowhere)
    assert f"data is stored in {tmp_path / 'data'}" in shown
    code, _, errors = said("--port", "8", "doctor", data=nowhere)
    assert (code, "No such option" in errors and "--port" in errors) == (2, True)


def test_python_m_is_the_same_program(program: Program) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "companion_ws", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("companion-ws, version ")
