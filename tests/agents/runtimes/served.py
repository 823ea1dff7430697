"""Runs a program beside a real server and a phone that taps, and sees what it printed."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer

PATIENCE_S = 60


async def main(*command: str) -> None:
    async with CompanionServer() as server, asyncio.timeout(PATIENCE_S):
        session_id = (await server.sessions.create("agent")).session_id
        token = server.token("agent")
        screen = server.client("agent", session_id=session_id, role="ui", after=0)
        async with Phone(screen) as phone:
            program = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE,
                env={
                    **os.environ, "COMPANION_URL": server.url, "COMPANION_TOKEN": token,
                    "COMPANION_SESSION": session_id,
                },
            )
            await phone.choose("air")
            printed, _ = await program.communicate()
        assert program.returncode == 0, program.returncode
        assert json.loads(printed) == {"status": "chosen", "id": "air", "label": "UPS Next Day"}
        state = await server.sessions.get_session_state(session_id, "step")
        assert state == 1, state
    print(f"{os.path.basename(command[0])}: asked, tapped, told")


asyncio.run(main(*sys.argv[1:]))
