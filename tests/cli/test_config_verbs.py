"""`config show` says what a server would be told, `config check` all that is wrong with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_settings import said, write

KEY = "k" * 40
ROOT = Path(__file__).parents[2]


def shown(*flags: str, data: Path, **environment: str) -> dict[str, dict[str, object]]:
    code, out, errors = said("config", "show", "--json", *flags, data=data, **environment)
    assert code == 0, errors
    answer: dict[str, dict[str, object]] = json.loads(out)
    return answer


def test_every_setting_is_shown_with_where_it_came_from(tmp_path: Path) -> None:
    file = write(tmp_path / "data/companion.toml", 'keep-ended = "2h"\nlan = true\nlimit_burst = 9\n')
    rows = shown(
        "--port", "81", "--allow-host", "a.example", "--limit-burst", "3",
        data=tmp_path / "data", COMPANION_LOG_FORMAT="json", COMPANION_LAN="0",
        COMPANION_TRUST_PROXY="10.0.0.1, 10.0.0.2",
    )  # fmt: skip
    assert rows["port"] == {"value": 81, "source": "flag", "where": "--port"}
    assert rows["allow_host"] == {
        "value": ["a.example"], "source": "flag", "where": "--allow-host"
    }  # fmt: skip
    assert rows["limit_burst"] == {"value": 3, "source": "flag", "where": "--limit-burst"}
    assert rows["log_format"] == {
        "value": "json", "source": "environment", "where": "COMPANION_LOG_FORMAT",
    }  # fmt: skip
    assert rows["lan"] == {"value": False, "source": "environment", "where": "COMPANION_LAN"}
    assert rows["trust_proxy"]["value"] == ["10.0.0.1", "10.0.0.2"]
    assert rows["keep_ended"] == {"value": "2h", "source": "file", "where": str(file)}
    assert rows["host"] == {"value": "127.0.0.1", "source": "default", "where": None}
    assert rows["data"]["source"] == "environment"
    assert not (tmp_path / "data/secret.key").exists(), "nothing is made by looking"


def test_no_setting_is_missing_and_the_table_says_the_same(tmp_path: Path) -> None:
    from dataclasses import fields

    from companion_ws.cli.options import name_of
    from companion_ws.config import Config

    names = [name_of(field) for field in fields(Config)]
    assert list(shown(data=tmp_path)) == names
    code, out, _ = said("config", "show", "--lan", data=tmp_path)
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert (code, list(lines)) == (0, names)
    assert lines["lan"] == ["on", "flag", "--lan"]
    assert lines["tools"] == ["none", "default"]


def test_no_secret_is_shown_be_it_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("SECRET-of-a-file\n")
    environment = {
        "COMPANION_SECRET_KEY": f"SECRET-{KEY}",
        "COMPANION_ELEVENLABS_API_KEY_FILE": str(tmp_path / "key"),
        "COMPANION_ELEVENLABS_WEBHOOK_SECRET": "SECRET-webhook",
    }
    for flags in ([], ["--json"]):
        code, out, errors = said("config", "show", *flags, data=tmp_path / "data", **environment)
        assert code == 0
        assert "SECRET-" not in out + errors
    rows = shown(data=tmp_path / "data", **environment)
    assert rows["secret_key"] == {
        "value": "********", "source": "environment", "where": "COMPANION_SECRET_KEY",
    }  # fmt: skip
    assert rows["elevenlabs_api_key"]["where"] == "COMPANION_ELEVENLABS_API_KEY_FILE"
    assert rows["elevenlabs_tool_secret"] == {"value": None, "source": "default", "where": None}


def test_a_file_that_is_named_is_where_its_settings_come_from(tmp_path: Path) -> None:
    file = write(tmp_path / "etc/shop.toml", f'data = "{tmp_path}/there"\nport = 12\n')
    rows = shown("--config", str(file), data=Path(), COMPANION_DATA="")
    assert rows["port"]["where"] == str(file)
    assert rows["data"] == {"value": f"{tmp_path}/there", "source": "file", "where": str(file)}


def test_settings_that_are_good_are_ok(tmp_path: Path) -> None:
    write(tmp_path / "data/companion.toml", 'session-ttl = "2h"\n')
    code, out, errors = said(
        "config", "check", "--port", "9", "--tools", "companion_ws.examples.shipping",
        data=tmp_path / "data", COMPANION_LIMIT_BURST="0", COMPANION_SECRET_KEY=KEY,
    )  # fmt: skip
    assert (code, out, errors) == (0, "ok\n", "")


def test_programs_get_each_fault_as_a_json_line(tmp_path: Path) -> None:
    code, out, errors = said(
        "config", "check", "--json", "--brand-accent", "red", "--tls-cert", "chain.pem", data=tmp_path / "data"
    )
    assert (code, errors) == (2, "")
    faults = [json.loads(line)["finding"] for line in out.splitlines()]
    assert any("'red' is not a valid colour" in fault for fault in faults)
    assert any("--tls-cert and --tls-key go together" in fault for fault in faults)
    assert said("config", "check", "--json", data=tmp_path / "data") == (0, '{"finding":"ok"}\n', "")


def test_every_fault_is_named_at_once_with_the_place_it_stands_in(tmp_path: Path) -> None:
    write(
        tmp_path / "data/companion.toml",
        'prot = 1\nsecret_key = "x"\nlan = 3\nkeep_ended = "soon"\nno-transcripts = true\n'
        'public_url = "ftp://x.example"\n',
    )
    code, out, errors = said(
        "config", "check", "--limit-burst", "-1", "--allow-origin", "*", "--allow-origin", "x",
        "--tls-cert", "chain.pem", "--brand-accent", "red", "--tools", "no.such.module",
        data=tmp_path / "data", COMPANION_PORT="70000", COMPANION_LOG_FORMAT="xml",
        COMPANION_SECRET_KEY="short", COMPANION_ELEVENLABS_API_KEY_FILE=str(tmp_path / "no"),
    )  # fmt: skip
    assert (code, out) == (2, "")
    lines = errors.splitlines()
    expected = [
        "has prot, which is not a setting. Is it port?",
        "has secret_key, a secret. Give it as COMPANION_SECRET_KEY",
        "companion.toml: lan is true or false",
        "companion.toml, keep_ended: 'soon' is not a valid duration",
        "companion.toml, public_url: 'ftp://x.example' is not a valid public URL",
        "--limit-burst: -1 is not in the range",
        "--allow-origin: '*' is not a valid origin",
        "COMPANION_PORT: 70000 is not in the range",
        "COMPANION_LOG_FORMAT: 'xml' is not one of",
        "COMPANION_SECRET_KEY: ",
        f"COMPANION_ELEVENLABS_API_KEY_FILE: {tmp_path}/no cannot be read",
        "'red' is not a valid colour",
        "--tls-cert and --tls-key go together",
        "A module cannot be imported",
    ]
    for sentence in expected:
        assert sum(sentence in line for line in lines) == 1, (sentence, errors)
    assert len(lines) == len(expected)
    assert "short" not in errors.replace("too short", "")


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [("port = ", 0o600, "is not valid TOML"), ("port = 1", 0o666, "chmod go-w")],
)
def test_a_file_that_cannot_be_used_at_all_is_a_fault_beside_the_others(
    text: str, mode: int, sentence: str, tmp_path: Path
) -> None:
    write(tmp_path / "data/companion.toml", text, mode)
    code, _, errors = said("config", "check", data=tmp_path / "data", COMPANION_PORT="x")

    assert code == 2
    assert len(errors.splitlines()) == 2
    assert sentence in errors
    assert "COMPANION_PORT: 'x' is not" in errors


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["--trust-proxy", "127.0.0.1", "--port", "7", "--admin-port", "7"], "are both 7"),
        (["--tls-cert", "a.pem", "--tls-key", "b.pem"], "The certificate a.pem with its key b.pem"),
        (["--brand-logo", "none.png"], "none.png"),
        (["--tools", "./broken.py"], "there is no file"),
    ],
)
def test_settings_that_do_not_go_together_or_name_nothing_are_faults(
    settings: list[str], sentence: str, tmp_path: Path
) -> None:
    code, _, errors = said("config", "check", *settings, data=tmp_path)
    assert code == 2
    assert sentence in errors


def test_help_needs_no_settings_that_are_good(tmp_path: Path) -> None:
    write(tmp_path / "companion.toml", "nonsense")
    for verb in (["serve"], ["config", "show"], ["config", "check"]):
        code, out, _ = said(*verb, "--help", data=tmp_path)
        assert (code, out.startswith("Usage: ")) == (0, True)


def test_a_flag_that_is_unknown_is_refused_by_both(tmp_path: Path) -> None:
    for verb in ("show", "check"):
        code, _, errors = said("config", verb, "--prot", "1", data=tmp_path)
        assert (code, "No such option" in errors and "--prot" in errors) == (2, True)
        assert said("config", verb, "word", data=tmp_path)[0] == 2


def test_traces_need_their_extra(tmp_path: Path) -> None:
    without = tmp_path / "without/opentelemetry"
    without.mkdir(parents=True)
    (without / "__init__.py").write_text("raise ImportError('not here')\n")
    flags = ["--data", str(tmp_path / "data"), "--port", "0", "--traces-to", "http://127.0.0.1:4318"]
    for verb, code in ((["config", "check"], 2), (["serve"], 1)):
        done = subprocess.run(
            [sys.executable, "-m", "companion_ws", *verb, *flags], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": f"{without.parent}:{ROOT}"},
        )  # fmt: skip
        assert done.stderr.count("pip install 'companion-ws[otel]'") == 1, done.stderr
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_a_password_in_the_address_for_traces_is_not_repeated(tmp_path: Path) -> None:
    code, _, errors = said(
        "config", "check", "--traces-to", "http://me:SECRET-pw@host", data=tmp_path / "data"
    )
    assert (code, "not a valid URL" in errors, "SECRET-" in errors) == (2, True, False)
