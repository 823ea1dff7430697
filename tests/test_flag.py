from __future__ import annotations

import asyncio

import pytest

from companion_ws.flag import Flag


async def test_everybody_who_waits_hears_of_it_once_it_is_set() -> None:
    flag = Flag()
    waiting = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    flag.set()
    flag.clear()
    await asyncio.gather(*waiting)
    late = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    assert not late.done()
    flag.set()
    await late
    await flag.wait()


async def test_one_who_gives_up_takes_nobody_along() -> None:
    flag = Flag()
    waiting, gone = asyncio.create_task(flag.wait()), asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert not waiting.done()
    flag.set()
    await waiting
