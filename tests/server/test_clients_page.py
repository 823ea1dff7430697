"""The programs of docs/clients.md, run as they stand."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from running import WAIT_S, Running

from tests.voice.node import node_modules

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


async def said_by(server: Running, *command: str, cwd: Path) -> list[str]:
    program = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "COMPANION_URL": server.url, "COMPANION_TOKEN": server.token()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(3 * WAIT_S):  # They wait, and start beside each other.
        out, err = await program.communicate()
    assert program.returncode == 0, err.decode()
    return re.sub(r"(?<=open ).*", "…", out.decode()).split("\n")[:-1]


async def test_the_programs_run_as_they_are_written(server: Running, tmp_path: Path) -> None:
    with_loop, without = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "main.py").write_text(with_loop)
    (tmp_path / "without.py").write_text(without)
    [program] = re.findall(r"```javascript\n(.*?)```", PAGE, re.DOTALL)
    home = tmp_path / "node_modules" / "companion-ws"
    home.parent.mkdir()
    home.symlink_to(ROOT / "static" / "js")
    (tmp_path / "main.mjs").write_text(program)
    (tmp_path / "node_modules" / "ws").symlink_to(node_modules() / "node_modules" / "ws")
    # Each waits some seconds for somebody to join.
    first, second, third = await asyncio.gather(
        said_by(server, sys.executable, "main.py", cwd=tmp_path),
        said_by(server, sys.executable, "-W", "error", "without.py", cwd=tmp_path),
        # The package is linked, not installed: its own imports are looked for beside the link.
        said_by(server, "node", "--preserve-symlinks", "main.mjs", cwd=tmp_path),
    )
    assert first == ["step is 1", "open …", "answer: no_screen"]
    assert second == [
        "open …", "answer: no_screen", "records: ['contextual_update', 'state_updated']",
    ]  # fmt: skip
    assert third == ["step is 1", "open …", "answer: no_screen"]
