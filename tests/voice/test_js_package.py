"""The bridge as an npm package: what is packed runs by itself and says the right version."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from companion_ws import __version__

PACKAGE = Path(__file__).parents[2] / "static" / "js"


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def test_it_has_the_version_of_the_server() -> None:
    assert json.loads((PACKAGE / "package.json").read_text())["version"] == __version__


def test_what_is_packed_can_be_imported_by_its_name(tmp_path: Path) -> None:
    packed = run("npm", "pack", "--pack-destination", str(tmp_path), cwd=PACKAGE).split()[-1]
    home = tmp_path / "node_modules" / "companion-ws"
    home.mkdir(parents=True)
    run("tar", "xzf", str(tmp_path / packed), "-C", str(home), "--strip-components=1", cwd=tmp_path)
    script = "const { companion } = await import('companion-ws'); console.log(typeof companion)"
    (tmp_path / "use.mjs").write_text(script)
    assert run("node", "use.mjs", cwd=tmp_path).strip() == "function"
    assert (home / "elevenlabs.d.ts").exists()
    script = "const { CompanionClient } = await import('companion-ws/client'); console.log(typeof CompanionClient)"
    (tmp_path / "use.mjs").write_text(script)
    assert run("node", "use.mjs", cwd=tmp_path).strip() == "function"
    assert (home / "client.d.ts").exists()
