"""Which event loops the tests of this folder run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

ON_BOTH = (
    "test_a_screen_and_an_agent_on_two_servers_see_everything_in_order",
    "test_a_reader_who_stops_holds_64_kib_at_the_entrance_and_gets_all_of_it_later",
    "test_a_socket_whose_owner_is_lost_is_closed_1012",
    "test_a_client_that_goes_while_it_is_carried_is_gone_at_the_owner",
)
"""Their transports differ in what a joined pair of them is made of."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    own: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return {**own, "uvloop": uvloop.new_event_loop} if item.name.startswith(ON_BOTH) else own
