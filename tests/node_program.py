"""A Node program that runs the JavaScript a test hands it; `kept` lives as long as it does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from running import WAIT_S

from tests.voice.node import node_modules

ROOT = Path(__file__).parents[1]


class Thrown(Exception):
    """What the JavaScript threw; `name` is its class, `code` its own."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['name']}: {error['message']}")
        self.name, self.code = error["name"], error.get("code")


class NodeProgram:
    """`js/program.mjs`, running."""

    async def __aenter__(self) -> Self:
        options = {"modules": str(node_modules()), "js": str(ROOT / "static" / "js")}
        self._process = await asyncio.create_subprocess_exec(
            "node", str(ROOT / "tests" / "js" / "program.mjs"), json.dumps(options),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=2**24,
        )  # fmt: skip
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._reading
        await self._process.communicate()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                message = json.loads(line)
            except ValueError:
                continue
            answer = self._answers.pop(message["id"])
            if answer.done():
                continue
            if "error" in message:
                answer.set_exception(Thrown(message["error"]))
            else:
                answer.set_result(message.get("result"))
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(AssertionError("the program ended"))

    def start(self, code: str, **given: Any) -> asyncio.Future[Any]:
        """Run code; return what will be its result."""
        assert self._process.stdin is not None
        number = id(given)
        answer = asyncio.get_running_loop().create_future()
        while number in self._answers:
            number += 1
        self._answers[number] = answer
        self._process.stdin.write(
            json.dumps({"id": number, "code": code, "given": given}).encode() + b"\n"
        )
        return answer

    async def run(self, code: str, **given: Any) -> Any:
        """Run code; return its result, as JSON has it. Raises `Thrown`."""
        async with asyncio.timeout(WAIT_S):
            return await self.start(code, **given)

    async def client(self, **options: Any) -> None:
        """Have a joined `CompanionClient` in `kept.companion`."""
        await self.run(
            """
            const { CompanionClient } = await load("client.js")
            kept.companion = new CompanionClient(given.url, given)
            await kept.companion.ready
            """,
            **options,
        )
