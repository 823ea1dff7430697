"""A coding agent that works while you are away: your phone shows it, and decides what it may run.

    COMPANION_TOKEN=$(companion-ws token create --user me) python coding_agent.py "mend the tests"

Run it in a repository. Nothing runs that the phone has not allowed; what you type there steers it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import uuid
from typing import Any

from companion_ws import CompanionClient

URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
PLAN = ["git status --short", "git diff --stat", "git stash"]


async def think(heard: list[str]) -> str | None:
    """Yours: ask your model for the next command; None when it is done."""
    wanted = [each.removeprefix("run ") for each in heard if each.startswith("run ")]
    return next((each for each in [*wanted, *PLAN] if not {f"ran {each}", f"not {each}"} & {*heard}), None)


async def ask(companion: CompanionClient, tool: str, **parameters: Any) -> dict[str, Any]:
    """Ask on the phone, and wait for as long as it takes: a late answer is a message."""
    while True:
        call_id = uuid.uuid4().hex
        record = await companion.call(tool, parameters, tool_call_id=call_id, timeout_ms=120_000)
        answer: dict[str, Any] = json.loads(record["result"])
        if answer["status"] not in ("no_screen", "no_answer"):
            return answer
        try:
            async with asyncio.timeout(480):  # the question stays open for ten minutes
                async for record in companion.records():
                    if record.get("in_reply_to") == call_id and "result" in record:
                        return json.loads(record["result"])  # type: ignore[no-any-return]
        except TimeoutError:
            continue


async def run(command: str) -> dict[str, Any]:
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    process = await asyncio.create_subprocess_exec(*shlex.split(command), **pipes)
    output = (await process.communicate())[0].decode(errors="replace")[-2000:]
    return {"exit_code": process.returncode, "output": output}


async def listen(companion: CompanionClient, heard: list[str]) -> None:
    async for record in companion.records():
        if record["type"] == "user_message" and "in_reply_to" not in record:
            heard.append(record["text"])


async def main(task: str) -> None:
    async with CompanionClient(URL, token=os.environ["COMPANION_TOKEN"]) as companion:
        await companion.http("PATCH", f"/sessions/{companion.session_id}", {"title": task})
        companion.accompany(listen(companion, heard := [task]))
        way_in = await companion.pair()
        print(f"Scan {way_in.url} or type {way_in.code} at {way_in.code_url}", flush=True)
        while (command := await think(heard)) is not None:
            ticks = "`" * (1 + command.count("`"))  # what is allowed is what runs, whatever stands in it
            code = f"{ticks} {command} {ticks}"
            answer = await ask(companion, "companion_confirm", title="Run this?", text=code,
                               confirm_label="Run it", cancel_label="Skip it")  # fmt: skip
            if answer["status"] != "confirmed":
                heard.append(f"not {command}")
                continue
            await companion.contextual_update(code, done := await run(command))
            heard += [f"ran {command}", done["output"]]
        await companion.contextual_update("Done", {"task": task}, context_id="done")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "tidy up"))
