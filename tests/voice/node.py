"""The JavaScript SDK for tests: fetched once into a cache, run in Node."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.npm import npm_installed

HERE = Path(__file__).parent / "js"
BRIDGE = Path(__file__).parents[2] / "static" / "js" / "elevenlabs.js"


def node_modules() -> Path:
    """Return a folder with the SDK in its node_modules, made once per version."""
    return npm_installed(HERE / "package.json", _bundle_widget)


def _bundle_widget(folder: Path) -> None:
    """The widget comes as modules for a bundler; its React is Preact, and only one of it."""
    (folder / "widget.mjs").write_text(
        'import { registerWidget } from "@elevenlabs/convai-widget-core"\nregisterWidget()\n'
    )
    core = "node_modules/@elevenlabs/convai-widget-core/node_modules/preact"
    preact = f"./{core if (folder / core).exists() else 'node_modules/preact'}"
    aliases = {
        "preact": preact,
        "react": f"{preact}/compat",
        "react-dom": f"{preact}/compat",
        "react/jsx-runtime": f"{preact}/jsx-runtime",
    }
    command = ["node", "node_modules/esbuild/bin/esbuild", "widget.mjs", "--bundle"]
    command += ["--format=esm", "--outfile=widget.js", '--define:process.env.NODE_ENV="production"']
    command += [f"--alias:{name}={path}" for name, path in aliases.items()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)


class NodeAgent:
    """`js/agent.mjs` as a program of its own."""

    def __init__(self, companion: dict[str, Any], elevenlabs: str) -> None:
        self._options = {
            "modules": str(node_modules()),
            "bridge": str(BRIDGE),
            "companion": companion,
            "elevenlabs": elevenlabs,
        }

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "agent.mjs"),
            json.dumps(self._options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def order(self, word: str, answer: str) -> Any:
        """Give an order; return what comes under `answer`, passing over what else is said."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        return await self.says(answer)

    async def says(self, key: str) -> Any:
        """Return the next thing said under `key`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(40):
            while line := await self._process.stdout.readline():
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # the SDK talks to the console
                assert "error" not in message, message
                if key in message:
                    return message[key]
        raise AssertionError("the agent ended")
