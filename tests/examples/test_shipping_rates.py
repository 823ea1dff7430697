"""The rate table of the shipping example."""

from __future__ import annotations

import pytest

from companion_ws import ToolError
from companion_ws.examples.shipping import PICKUP_FEE, rates


def cost(*arguments: object, **options: object) -> dict[str, float]:
    return {quote["id"]: quote["cost"] for quote in rates(*arguments, **options)}  # type: ignore[arg-type]


def test_quotes_come_cheapest_first_and_complete() -> None:
    quotes = rates("94107", "10001", 5.0)

    assert [quote["cost"] for quote in quotes] == sorted(quote["cost"] for quote in quotes)
    assert set(quotes[0]) == {"id", "carrier", "service", "cost", "currency", "eta_days"}
    assert {(quote["carrier"], quote["service"]) for quote in quotes} >= {
        ("FedEx", "Ground"),
        ("UPS", "Next Day"),
    }


def test_farther_heavier_larger_and_picked_up_costs_more() -> None:
    near = cost("94107", "90001", 3.0)

    assert cost("94107", "10001", 3.0)["ground"] > near["ground"]
    assert cost("94107", "90001", 9.0)["ground"] > near["ground"]
    assert cost("94107", "90001", 3.0, "30x20x20")["ground"] > near["ground"]
    assert cost("94107", "90001", 3.0, pickup_requested=True)["ground"] == pytest.approx(
        near["ground"] + PICKUP_FEE
    )
    assert rates("94107", "10001", 3.0)[0]["eta_days"] > rates("94107", "90001", 3.0)[0]["eta_days"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("9410", "10001", 1.0),
        ("94107", "SW1A 1AA", 1.0),
        ("94107", "10001", 0.0),
        ("94107", "10001", 151.0),
        ("94107", "10001", float("nan")),
        ("94107", "10001", 1.0, "big"),
        ("94107", "10001", 1.0, "1x2"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(arguments: tuple[object, ...]) -> None:
    with pytest.raises(ToolError, match=r"\.$"):
        rates(*arguments)  # type: ignore[arg-type]
