"""The npm package as its users have it: packed, installed, imported, type-checked, run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import WAIT_S, Running

from companion_ws import __version__
from companion_ws.testing.phone import Phone
from tests.npm import npm, npm_installed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "static" / "js"
ALONGSIDE = {"package.json", "README.md", "LICENSE"}
IMPORT = re.compile(r"""^\s*(?:import|export)\b[^;"']*?from\s*["'](\.[^"']+)["']""", re.MULTILINE)
LATER = re.compile(r"""import\(\s*["'](\.[^"']+)["']\s*\)""")
MANIFEST = json.loads((PACKAGE / "package.json").read_text())


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has installed what `npm pack` made, and nothing else."""
    project = tmp_path_factory.mktemp("project")
    packed = run(npm(), "pack", "--silent", "--pack-destination", project, cwd=PACKAGE).split()[-1]
    (project / "package.json").write_text('{"private": true, "type": "module"}')
    options = ("--offline", "--no-audit", "--no-fund", "--ignore-scripts")
    run(npm(), "install", *options, f"./{packed}", cwd=project)
    return project


def tools() -> Path:
    return npm_installed(HERE / "package.json") / "node_modules"


def entrances() -> list[str]:
    targets = [target for target in MANIFEST["exports"].values() if isinstance(target, dict)]
    return [path.removeprefix("./") for target in targets for path in target.values()]


def reached(files: list[str]) -> set[str]:
    """Return these files with all that they import."""
    found: set[str] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        text = (PACKAGE / file).read_text(encoding="utf-8")
        for name in (*IMPORT.findall(text), *LATER.findall(text)):
            path = os.path.normpath(Path(file).parent / name)
            waiting.append(path.replace(".js", ".d.ts") if file.endswith(".d.ts") else path)
    return found


def test_it_has_the_version_and_the_licence_of_the_server() -> None:
    assert MANIFEST["version"] == __version__
    assert MANIFEST["license"] == "MIT"
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_holds_what_its_entrances_need_and_nothing_else(installed: Path) -> None:
    home = installed / "node_modules" / "companion-ws"
    packed = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert packed == reached(entrances()) | ALONGSIDE


def test_it_names_no_package_that_must_be_there_and_runs_nothing_when_it_is_installed() -> None:
    assert not {"dependencies", "scripts", "bundleDependencies"} & MANIFEST.keys()
    peers = MANIFEST["peerDependencies"]
    assert all(MANIFEST["peerDependenciesMeta"][peer]["optional"] for peer in peers)


@pytest.mark.parametrize("name", ["companion-ws", "companion-ws/client", "companion-ws/elevenlabs"])
def test_each_entrance_is_a_module(installed: Path, name: str) -> None:
    script = f"console.log(Object.keys(await import('{name}')).sort().join())"
    names = run("node", "--input-type=module", "-e", script, cwd=installed).strip().split(",")
    assert {"CompanionClient", "ToolFailed"} <= set(names) or name.endswith("elevenlabs")
    assert "companion" in names or name.endswith("client")


def config(project: Path, name: str, **options: Any) -> Path:
    path = project / f"{name}.json"
    strict = {
        "strict": True,
        "noEmit": True,
        "skipLibCheck": False,
        "target": "es2022",
        "types": [],
    }
    compiler = {**strict, "lib": ["es2022", "esnext.disposable", "dom"], **options}
    path.write_text(json.dumps({"compilerOptions": compiler, "files": [f"{name}.ts"]}))
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"module": "nodenext", "moduleResolution": "nodenext"},
        {"module": "esnext", "moduleResolution": "bundler", "exactOptionalPropertyTypes": True},
    ],
    ids=["node", "bundler"],
)
def test_what_users_write_is_type_checked(installed: Path, options: dict[str, Any]) -> None:
    (installed / "use.ts").write_text((HERE / "use.ts").read_text())
    run(
        "node",
        tools() / "typescript/bin/tsc",
        "-p",
        config(installed, "use", **options),
        cwd=installed,
    )


NAMES = """
const { CompanionClient, ...others } = await import("companion-ws/client")
const client = new CompanionClient("http://127.0.0.1:1", { token: "t", WebSocket: class { close() {} } })
const all = [...Reflect.ownKeys(CompanionClient.prototype), ...Reflect.ownKeys(client)]
const names = all.filter((name) => name !== "constructor").map((name) => (
  name === Symbol.asyncDispose ? "[Symbol.asyncDispose]" : name
))
console.log(JSON.stringify({ names, others: Object.keys(others) }))
client.close()
"""


def test_the_types_name_exactly_what_there_is(installed: Path) -> None:
    """So that neither a member nor an export can be there for one side alone."""
    found = json.loads(run("node", "--input-type=module", "-e", NAMES, cwd=installed))
    members = ", ".join(f"{name}: 0" for name in found["names"])
    exports = ", ".join(f"{name}: 0" for name in ["CompanionClient", *found["others"]])
    (installed / "names.ts").write_text(
        'import * as all from "companion-ws/client"\n'
        f"export const members = {{ {members} }} satisfies Record<keyof all.CompanionClient, 0>\n"
        f"export const exports = {{ {exports} }} satisfies Record<keyof typeof all, 0>\n"
    )
    options = {"module": "nodenext", "moduleResolution": "nodenext"}
    path = config(installed, "names", **options)
    run("node", tools() / "typescript/bin/tsc", "-p", path, cwd=installed)


def test_the_types_of_the_messages_are_made_from_the_servers_own_document() -> None:
    made = run(sys.executable, "-m", "companion_ws", "asyncapi", "--typescript", cwd=ROOT)
    assert (PACKAGE / "messages.d.ts").read_text(encoding="utf-8") == made, "run .ci/types"


PROGRAM = """
import { CompanionClient } from "companion-ws"
const { COMPANION_URL, COMPANION_TOKEN } = process.env
const companion = new CompanionClient(COMPANION_URL, { token: COMPANION_TOKEN })
try {
  console.log((await companion.setState("step", 1)).value)
} catch (error) {
  console.log(error.name, error.code, error.message)
}
companion.close()
"""


async def start(project: Path, server: Running, program: str) -> asyncio.subprocess.Process:
    (project / "main.mjs").write_text(program)
    # Where Node has a WebSocket it is taken away: Node 20 is what is tried.
    return await asyncio.create_subprocess_exec(
        "node", "--import", "data:text/javascript,delete globalThis.WebSocket", "main.mjs", cwd=project,
        env={**os.environ, "COMPANION_URL": server.url, "COMPANION_TOKEN": server.token()},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def says(project: Path, server: Running, program: str) -> str:
    running = await start(project, server, program)
    async with asyncio.timeout(WAIT_S):
        out, _ = await running.communicate()
    return out.decode().strip()


async def test_node_20_says_what_it_lacks_and_uses_the_package_ws_once_it_is_there(
    installed: Path, server: Running
) -> None:
    told = await says(installed, server, PROGRAM)
    assert told.startswith("CompanionClosed null There is no WebSocket here")
    assert '"npm install ws"' in told

    ws = installed / "node_modules" / "ws"
    ws.symlink_to(tools() / "ws")
    assert await says(installed, server, PROGRAM) == "1"
    ws.unlink()

    handed = PROGRAM.replace("{ token: COMPANION_TOKEN }", "{ token: COMPANION_TOKEN, WebSocket }")
    handed = f"import {{ WebSocket }} from '{(tools() / 'ws/wrapper.mjs').as_uri()}'\n{handed}"
    assert await says(installed, server, handed) == "1"


async def test_the_program_of_its_readme_runs_as_it_is_written(
    installed: Path, server: Running
) -> None:
    [program] = re.findall(
        r"```javascript\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL
    )
    ws = installed / "node_modules" / "ws"
    ws.symlink_to(tools() / "ws")
    running = await start(installed, server, program)
    assert running.stdout is not None
    async with asyncio.timeout(WAIT_S):
        told = re.fullmatch(
            rf"open {server.url}/c and type (\d{{9}})\n", (await running.stdout.readline()).decode()
        )
        assert told is not None
        async with await Phone.pair(server.url, told[1]) as phone:
            await phone.choose("Air")
            assert await running.stdout.read() == b"answer: chosen\n"
    await running.wait()
    ws.unlink()
