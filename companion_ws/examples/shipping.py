"""Server tools of a small shipping desk: quotes from its own rate table, and labels.

Try them: `companion-ws serve --tools companion_ws.examples.shipping`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, NotRequired, TypedDict

from companion_ws import ToolCall, ToolError, tool

MAX_WEIGHT_LB: Final = 150.0
"""What carriers still take as a parcel."""
CUBIC_INCHES_PER_LB: Final = 139.0
"""A light but large parcel is charged as if it weighed its volume divided by this."""
PICKUP_FEE: Final = 4.50


class Quote(TypedDict):
    """One offer; `cost` in `currency`, `eta_days` working days."""

    id: str
    carrier: str
    service: str
    cost: float
    currency: str
    eta_days: int


class Label(TypedDict):
    """A label that was made."""

    carrier: str
    service: str
    tracking_number: str
    label_id: str
    from_zip: NotRequired[str]
    to_zip: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Service:
    """A row of the rate table: first pound, each further pound, both times the zone's factor."""

    id: str
    carrier: str
    name: str
    first_lb: float
    next_lb: float
    per_zone: float
    fastest_days: int
    zones_per_day: int

    def quote(self, zone: int, weight_lb: float, fee: float) -> Quote:
        """Return the offer for a distance and a weight."""
        weight_cost = self.first_lb + self.next_lb * (max(1.0, weight_lb) - 1.0)
        cost = weight_cost * (1.0 + self.per_zone * zone) + fee
        return Quote(
            id=self.id,
            carrier=self.carrier,
            service=self.name,
            cost=round(cost, 2),
            currency="USD",
            eta_days=self.fastest_days + zone // self.zones_per_day,
        )


SERVICES: Final = (
    Service("ground", "FedEx", "Ground", 8.40, 0.55, 0.04, 1, 2),
    Service("priority", "USPS", "Priority Mail", 9.10, 0.85, 0.05, 1, 4),
    Service("second-day", "UPS", "2nd Day Air", 17.20, 1.60, 0.05, 2, 100),
    Service("air", "UPS", "Next Day", 28.90, 2.40, 0.06, 1, 100),
)


@tool(idempotent=True)
async def get_shipping_quotes(
    call: ToolCall,
    from_zip: str,
    to_zip: str,
    weight: float,
    dimensions: str = "",
    pickup_requested: bool = False,
) -> list[Quote]:
    """Get shipping quotes and show them on the companion screen.

    Zip codes have five digits; `weight` is in pounds; `dimensions` in inches,
    for instance "12x10x8".

    Raises:
        ToolError: one of them makes no sense; the sentence says which.
    """
    quotes = rates(from_zip, to_zip, weight, dimensions, pickup_requested)
    shown = {"quotes": quotes, "select": "selected_shipping_option"}
    await call.contextual_update("quote_ready", shown, context_id="shipping_quotes")
    await call.update_state("quotes", quotes)
    return quotes


@tool(idempotent=True)
async def create_label(
    call: ToolCall,
    carrier: str,
    service: str,
    from_zip: str = "",
    to_zip: str = "",
) -> Label:
    """Make the label of a quoted service and show it on the companion screen.

    The same call makes the same label, however often it is run.

    Raises:
        ToolError: no such carrier offers that service.
    """
    offer = _service(carrier, service)
    digits = int.from_bytes(hashlib.sha256(call.tool_call_id.encode()).digest()[:8])
    label = Label(
        carrier=offer.carrier,
        service=offer.name,
        tracking_number=_tracking_number(offer.carrier, digits),
        label_id=f"LBL-{digits % 10**6:06}",
    )
    if from_zip and to_zip:
        label |= {"from_zip": from_zip, "to_zip": to_zip}
    await call.contextual_update("label_created", label, context_id="shipping_label")
    await call.update_state("label", label)
    return label


def rates(
    from_zip: str,
    to_zip: str,
    weight: float,
    dimensions: str = "",
    pickup_requested: bool = False,
) -> list[Quote]:
    """Return what every service costs, cheapest first.

    Raises:
        ToolError: as `get_shipping_quotes`.

    >>> [(quote["id"], quote["cost"]) for quote in rates("94107", "10001", 3.0)]
    [('ground', 12.54), ('priority', 15.12), ('second-day', 28.56), ('air', 49.88)]
    """
    if not 0 < weight <= MAX_WEIGHT_LB:
        raise ToolError(f"A parcel weighs more than 0 and at most {MAX_WEIGHT_LB:g} pounds.")
    zone = _zone(from_zip, to_zip)
    charged_lb = max(weight, _volume(dimensions) / CUBIC_INCHES_PER_LB)
    fee = PICKUP_FEE if pickup_requested else 0.0
    quotes = [service.quote(zone, charged_lb, fee) for service in SERVICES]
    return sorted(quotes, key=lambda quote: quote["cost"])


def _zone(from_zip: str, to_zip: str) -> int:
    """Return the distance of two zip codes: 0 (same region) to 8 (coast to coast)."""
    for zip_code in (from_zip, to_zip):
        if re.fullmatch(r"\d{5}(-\d{4})?", zip_code) is None:
            raise ToolError(f"{zip_code!r} is not a zip code; a zip code has five digits.")
    # First digits run from the east coast (0) to the west coast (9).
    return min(8, abs(int(from_zip[0]) - int(to_zip[0])))


def _volume(dimensions: str) -> float:
    if not dimensions.strip():
        return 0.0
    sides = [part.strip() for part in re.split(r"[x×*]", dimensions.lower())]
    if len(sides) != 3 or any(re.fullmatch(r"\d{1,3}(\.\d+)?", side) is None for side in sides):
        raise ToolError(f"{dimensions!r} are not valid dimensions; use for example 12x10x8.")
    length, width, height = map(float, sides)
    return length * width * height


def _service(carrier: str, service: str) -> Service:
    wanted = f"{carrier} {service}".casefold()
    for offer in SERVICES:
        if wanted == f"{offer.carrier} {offer.name}".casefold():
            return offer
    offered = ", ".join(f"{offer.carrier} {offer.name}" for offer in SERVICES)
    raise ToolError(f"There is no {carrier} {service}; there are {offered}.")


def _tracking_number(carrier: str, digits: int) -> str:
    """Return it as carriers print it, in groups."""
    text = f"{digits % 10**12:012}"
    if carrier == "UPS":
        return f"1Z 999 AA1 {text[2:4]} {text[4:8]} {text[8:]}"
    return f"{text[:4]} {text[4:8]} {text[8:]}"
