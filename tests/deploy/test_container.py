"""The container's files: what they say, and the commands they run, without an engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from companion_ws.testing.server import free_port
from tests.cli.programs import PATIENCE_S, Running, clean_environment

ROOT = Path(__file__).parents[2]
USER = 65532


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the last stage, their lines joined."""
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8")
    joined = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    last = max(at for at, (name, _) in enumerate(lines) if name == "FROM")
    return [(name, rest.strip()) for name, rest in lines[last:]]


def said(name: str) -> str:
    (found,) = [rest for each, rest in instructions() if each == name]
    return found


def variables(data: Path) -> dict[str, str]:
    found = dict(part.split("=", 1) for part in shlex.split(said("ENV")))
    assert found.pop("PATH").startswith("/opt/companion-ws/bin:")
    return {name: value.replace("/data", str(data)) for name, value in found.items()}


def as_in_a_container(command: list[str], data: Path) -> list[str]:
    """Return a command that runs as the container's account on a root that takes no writes.

    Only root may arrange that. The account may read everything, since these tests run
    programs out of a folder of root's.
    """
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return command
    os.chown(data, USER, USER)
    closed = (
        'mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
    )
    user = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups",
            "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]  # fmt: skip
    return ["unshare", "--mount", "sh", "-c", closed, str(data), *user, *command]


class Contained(Running):
    """The server as the container runs it."""


@pytest.fixture
def volume() -> Iterator[Path]:
    """A folder that another account reaches, as it does not reach those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_the_container_s_server_runs_as_nobody_and_writes_into_its_volume_alone(
    volume: Path,
) -> None:
    port, data = free_port(), volume
    program = [sys.executable, "-m", "companion_ws"]
    entry, command = json.loads(said("ENTRYPOINT")), json.loads(said("CMD"))
    assert entry == ["companion-ws"]
    Contained.command = tuple(as_in_a_container(program, data))
    environment = {**variables(data), "PYTHONPATH": str(ROOT)}
    served = Contained(*command, "--port", str(port), **environment, data=data)
    try:
        served.until(r"ready at (http://\S+)")
        health = said("HEALTHCHECK").partition("CMD ")[2].replace(":8000/", f":{port}/")
        python, *rest = json.loads(health)
        assert python == "python"
        checked = subprocess.run([sys.executable, *rest], timeout=PATIENCE_S, check=False)
        assert checked.returncode == 0
        made = subprocess.run(
            [*Contained.command, "token", "create", "--user", "alice"],
            env=clean_environment(**environment), capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert made.stdout.startswith("cwu_"), made.stderr
        assert served.stop(signal.SIGTERM) == 0
        gone = subprocess.run(
            [sys.executable, *rest], capture_output=True, timeout=PATIENCE_S, check=False
        )
        assert gone.returncode != 0
    finally:
        served.close()
    assert {path.name for path in data.iterdir()} >= {"companion.db", "secret.key"}


def test_the_image_holds_an_account_a_volume_and_no_tools_to_build_with() -> None:
    assert said("USER") == f"{USER}:{USER}"
    assert said("VOLUME") == "/data"
    assert said("STOPSIGNAL") == "SIGTERM"
    names = [name for name, _ in instructions()]
    assert names.count("COPY") == 1, "only the environment the first stage made"
    assert said("COPY") == "--from=build /opt/companion-ws /opt/companion-ws"
    assert "apk add" not in str(instructions())
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(set(bases)) == 1, "an environment belongs to the Python that made it"
    assert "--only-binary :all:" in text, "so no architecture needs a compiler"


def test_everything_the_wheel_is_made_of_reaches_the_build_and_nothing_else() -> None:
    lines = (ROOT / "deploy/Containerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / name).exists() for name in kept)
    assert {"companion_ws", "static", "migrations", "setup.cfg", "pyproject.toml"} <= kept
    assert not kept & {"tests", "data", ".venv", ".git", ".ci"}


@pytest.fixture
def service() -> dict[str, object]:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    assert set(compose["volumes"]) == {"data"}
    found: dict[str, object] = compose["services"]["companion"]
    return found


def test_compose_closes_all_but_the_volume_and_a_port_of_this_machine(
    service: dict[str, object],
) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["data:/data"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["build"] == {"context": "..", "dockerfile": "deploy/Containerfile"}


def test_compose_gives_settings_that_the_server_takes(
    service: dict[str, object], tmp_path: Path
) -> None:
    given = service["environment"]
    assert isinstance(given, dict)
    settings = {
        name: re.sub(r"\$\{.*such as (\S+)\}", r"\1", str(value)) for name, value in given.items()
    }
    done = subprocess.run(
        [sys.executable, "-m", "companion_ws", "config", "show", "--json"],
        env=clean_environment(**variables(tmp_path), **settings), cwd=ROOT,
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    rows = json.loads(done.stdout)
    assert rows["public_url"]["value"] == "https://companion.example.org"
    for name in settings:
        row = rows[name.removeprefix("COMPANION_").lower()]
        assert (row["source"], row["where"]) == ("environment", name)


@pytest.fixture
def pair() -> dict[str, dict[str, dict[str, object]]]:
    """What `compose-two.yaml` says."""
    text = (ROOT / "deploy/compose-two.yaml").read_text(encoding="utf-8")
    found: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(text)
    return found


def address(service: dict[str, object]) -> str:
    networks = service["networks"]
    assert isinstance(networks, dict)
    return str(networks["companion"]["ipv4_address"])


def test_two_servers_are_where_the_proxy_and_each_other_look_for_them(
    pair: dict[str, dict[str, dict[str, object]]],
) -> None:
    services = pair["services"]
    proxy = (ROOT / "deploy/haproxy-two.cfg").read_text(encoding="utf-8")
    assert set(re.findall(r"^    server (\w+) ", proxy, re.MULTILINE)) == {"one", "two"}
    for name in ("one", "two"):
        assert f"    server {name} {address(services[name])}:8000\n" in proxy
        given = services[name]["environment"]
        assert isinstance(given, dict)
        assert given["COMPANION_NODE_URL"] == f"http://{address(services[name])}:8000"
        assert given["COMPANION_TRUST_PROXY"] == address(services["proxy"])
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    assert f"@{address(services['database'])}/companion" in (
        ROOT / "deploy/compose-two.yaml"
    ).read_text(encoding="utf-8")
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8")
    assert "/src[fast,postgres]" in text


def test_two_servers_are_given_settings_that_a_server_takes(
    pair: dict[str, dict[str, dict[str, object]]], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        given = pair["services"][name]["environment"]
        assert isinstance(given, dict)
        settings = {
            each: re.sub(r"\$\{.*such as (\S+)\}", r"\1", str(value)) for each, value in given.items()
        }
        for secret in ("key", "database"):
            file = tmp_path / secret
            file.write_text("postgresql://me@127.0.0.1/companion" if secret == "database" else "0" * 64)
            settings = {k: v.replace(f"/run/secrets/{secret}", str(file)) for k, v in settings.items()}
        done = subprocess.run(
            [sys.executable, "-m", "companion_ws", "config", "show", "--json"],
            env=clean_environment(**variables(tmp_path), **settings), cwd=ROOT,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        rows = json.loads(done.stdout)
        for each in settings:
            row = rows[each.removeprefix("COMPANION_").removesuffix("_FILE").lower()]
            assert row["where"] == each, row
