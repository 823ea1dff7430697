"""What strangers may write: nothing makes the decoder fail in a way of its own.

A long run by name: `pytest -m slow tests/core tests/access`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion_ws.core import protocol
from companion_ws.core.commands import COMMANDS
from companion_ws.core.errors import InvalidMessage, UnknownType

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=4,
)
FIELDS = sorted({field for kind in COMMANDS.values() for field in kind.__struct_fields__})
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(COMMANDS)) | st.text()},
    optional={
        "requestId": st.text() | VALUES,
        **{field: VALUES | st.text(max_size=8) for field in FIELDS},
    },
)


def read(text: str | bytes) -> None:
    """Read a message as the gateway does; only our own refusals may come of it."""
    try:
        message = protocol.parse(text)
        protocol.request_id_of(message)
        command, _ = protocol.decode(message)
    except (InvalidMessage, UnknownType) as refusal:
        protocol.error_message(refusal, None, None, 0).decode()
        return
    assert command.type in COMMANDS
    # Whatever was let in can be written again, in valid UTF-8.
    protocol.encode(command).decode()


@given(message=MESSAGES)
@settings(max_examples=100, deadline=None)
def test_a_message_of_known_names_and_any_values_is_read_or_refused(message: Any) -> None:
    read(json.dumps(message))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(message=MESSAGES)
@settings(max_examples=5_000, deadline=None)
def test_five_thousand_messages_of_known_names_are_read_or_refused(message: Any) -> None:
    read(json.dumps(message))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(text=st.binary(max_size=200) | st.text(max_size=200))
@settings(max_examples=50_000, deadline=None)
def test_fifty_thousand_texts_are_read_or_refused(text: str | bytes) -> None:
    read(text)
