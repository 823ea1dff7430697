"""`If-Match` and `If-None-Match` mean what HTTP says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from multidict import CIMultiDict
from running import Running

from companion_ws.core.errors import BadRequest
from companion_ws.web.api.conditions import Condition

PUTS: list[tuple[dict[str, str], int, bool]] = [
    # Headers, the revision that is there (0: none), whether it is written.
    ({"If-Match": '"1"'}, 1, True),
    ({"If-Match": '"1"'}, 2, False),
    ({"If-Match": '"1"'}, 0, False),
    ({"If-Match": '"7", "2"'}, 2, True),
    ({"If-Match": '"7" , ,"2",'}, 2, True),
    ({"If-Match": '"7", "8"'}, 2, False),
    ({"If-Match": "*"}, 2, True),
    ({"If-Match": "*"}, 0, False),
    ({"If-Match": 'W/"2"'}, 2, False),
    ({"If-Match": '"a,b", "2"'}, 2, True),
    ({"If-None-Match": "*"}, 0, True),
    ({"If-None-Match": "*"}, 2, False),
    ({"If-None-Match": '"2"'}, 2, False),
    ({"If-None-Match": 'W/"2"'}, 2, False),
    ({"If-None-Match": '"1", "2"'}, 2, False),
    ({"If-None-Match": '"1", "3"'}, 2, True),
    ({"If-None-Match": '"2"'}, 0, True),
    ({"If-Match": '"2"', "If-None-Match": '"2"'}, 2, False),
    ({"If-Match": '"2"', "If-None-Match": '"1"'}, 2, True),
]


@pytest.mark.parametrize(("headers", "there", "written"), PUTS)
async def test_a_key_is_set_and_deleted_only_where_the_headers_allow(
    server: Running, headers: dict[str, str], there: int, written: bool
) -> None:
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/state/k"
    for number in range(there):
        await server.http("PUT", path, number)

    set_ = await server.http("PUT", path, "new", headers=headers)
    assert set_.status == (200 if written else 412), set_
    if not written:
        assert (set_.code, set_.body["revision"]) == ("precondition_failed", there)
        assert set_.body["value"] == (there - 1 if there else None)
        assert (await server.http("DELETE", path, headers=headers)).status == 412
    elif not there:
        await server.http("DELETE", path)
        assert (await server.http("DELETE", path, headers=headers)).status == 404


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("text", ["2", '"2', "W/2", '"2" "3"', '"2"3', '*, "2"', ",", '"a b"', " ," * 3000 + "x"])
async def test_what_is_no_list_of_tags_is_a_bad_request(server: Running, name: str, text: str) -> None:
    with pytest.raises(BadRequest):
        Condition.of(CIMultiDict({name: text}))
    session_id = await server.new_session()
    if len(text) < 1000:
        answer = await server.http("PUT", f"/sessions/{session_id}/state/k", 1, headers={name: text})
        assert (answer.status, answer.code) == (400, "bad_request")


async def test_a_read_is_answered_304_where_nothing_changed(server: Running) -> None:
    path = f"/sessions/{await server.new_session()}/state/k"
    await server.http("PUT", path, 1)
    for tags in ('"1"', 'W/"1"', "*", '"9", "1"'):
        same = await server.http("GET", path, headers={"If-None-Match": tags})
        assert (same.status, same.headers["ETag"]) == (304, '"1"')
    assert (await server.http("GET", path, headers={"If-None-Match": '"2"'})).status == 200
    assert (await server.http("GET", path, headers={"If-Match": '"2"'})).status == 412


@pytest.mark.parametrize("headers", [{"If-Match": "*"}, {"If-None-Match": '"1"'}])
async def test_a_condition_that_holds_whoever_is_faster_is_no_conflict(
    start: Any, headers: dict[str, str]
) -> None:
    server = await start(limit_messages_per_s=0)
    path = f"/sessions/{await server.new_session()}/state/k"
    for number in range(2):
        await server.http("PUT", path, number)
    answers = await asyncio.gather(
        *(server.http("PUT", path, number, headers=headers) for number in range(10))
    )
    assert {answer.status for answer in answers} == {200}
