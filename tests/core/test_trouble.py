"""What counts as trouble, at its bounds."""

from __future__ import annotations

from companion_ws.core.trouble import SLOW_MS, of_rendering, of_result


def test_a_server_tool_is_slow_from_three_seconds_on_and_a_person_never() -> None:
    def slow(is_server_tool: bool, took_ms: int) -> bool:
        return "slow" in of_result(
            "done", is_error=False, is_server_tool=is_server_tool, took_ms=took_ms
        )

    assert (slow(True, SLOW_MS - 1), slow(True, SLOW_MS), slow(False, 60_000)) == (False, True, False)


def test_no_answer_failed_and_no_screen_is_of_its_own_kind() -> None:
    def kinds(result: str) -> tuple[str, ...]:
        return of_result(result, is_error=False, is_server_tool=False, took_ms=0)

    assert kinds('{"status":"no_answer"}') == ("failed",)
    assert kinds('{"status":"no_screen"}') == ("no_screen",)
    assert kinds('{"status":"declined"}') == kinds("no_answer") == kinds("[1]") == ()


def test_only_the_first_screen_that_shows_a_question_can_be_slow() -> None:
    def kinds(problem: str | None, is_question: bool, is_first: bool, after_ms: int) -> tuple[str, ...]:
        return of_rendering(
            problem, is_question=is_question, is_first=is_first, after_ms=after_ms
        )

    assert kinds(None, True, True, SLOW_MS) == ("slow",)
    assert kinds(None, True, True, SLOW_MS - 1) == ()
    assert kinds(None, True, False, SLOW_MS) == kinds(None, False, True, SLOW_MS) == ()
    assert kinds("no picture", False, False, 0) == ("failed",)
