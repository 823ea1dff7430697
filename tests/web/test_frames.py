"""Frames of a client are read whole, however the bytes come, and broken ones are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion_ws.web.socket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameError,
    FrameReader,
    Message,
    read_close,
)


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, mask: bytes = b"\x01\x9a\xff\x00") -> bytes:
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + size.to_bytes(2)
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8)
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


def read(pieces: list[bytes], limit_bytes: int = 0) -> list[Message]:
    reader = FrameReader(limit_bytes)
    heard = []
    for piece in pieces:
        reader.feed(piece)
        while (message := reader.next()) is not None:
            heard.append(message)
    return heard


messages = st.lists(
    st.tuples(
        st.sampled_from([TEXT, BINARY]),
        st.text(max_size=200),
        st.binary(min_size=4, max_size=4),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=5,
)


@given(messages, st.lists(st.integers(1, 80), min_size=1, max_size=20))
def test_whole_messages_come_out_however_the_bytes_come_in(
    said: list[tuple[int, str, bytes, int, bool]], sizes: list[int]
) -> None:
    sent, expected = b"", []
    for opcode, text, mask, count, pinged in said:
        payload = text.encode()
        step = len(payload) // count + 1
        parts = [payload[at : at + step] for at in range(0, max(len(payload), 1), step)]
        for number, part in enumerate(parts):
            sent += frame(part, opcode if not number else CONTINUATION, fin=number == len(parts) - 1, mask=mask)
            if pinged and number < len(parts) - 1:
                sent += frame(b"in between", PING, mask=mask)
                expected.append(Message(PING, b"in between"))
        expected.append(Message(opcode, payload))
    pieces, at, turn = [], 0, 0
    while at < len(sent):
        size = sizes[turn % len(sizes)]
        pieces.append(sent[at : at + size])
        at, turn = at + size, turn + 1

    assert read(pieces) == expected


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_a_message_of_any_length_is_read(size: int) -> None:
    payload = b"x" * size
    sent = frame(payload)

    assert read([sent]) == [Message(TEXT, payload)]
    assert read([sent[n : n + 4096] for n in range(0, len(sent), 4096)]) == [Message(TEXT, payload)]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\xc1\x80" + bytes(4), 1002),  # a reserved bit
        (b"\x81\x01x", 1002),  # no mask
        (frame(b"", 0x3), 1002),
        (frame(b"", 0xB), 1002),
        (frame(b"x" * 126, PING), 1002),
        (frame(b"", CLOSE, fin=False), 1002),
        (frame(b"", CONTINUATION), 1002),
        (frame(b"a", TEXT, fin=False) + frame(b"b", TEXT), 1002),
        (b"\x81\xff" + b"\xff" * 8 + bytes(4), 1002),
        (frame(b"\xff\xfe"), 1007),
        (frame(b"\xc3", TEXT, fin=False) + frame(b"\x28", CONTINUATION), 1007),
        (frame(b"x" * 101)[:2], 1009),
        (frame(b"x" * 1000)[:4], 1009),
        (frame(b"x" * 60, fin=False) + frame(b"x" * 41, CONTINUATION)[:2], 1009),
    ],
)
def test_a_broken_frame_is_named_by_its_close_code(sent: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        read([sent], limit_bytes=100)

    assert caught.value.code == code


def test_a_message_at_the_limit_is_read_and_the_next_begins_at_nothing() -> None:
    sent = frame(b"x" * 60, fin=False) + frame(b"y" * 40, CONTINUATION) + frame(b"z" * 100)

    assert [len(message.payload) for message in read([sent], limit_bytes=100)] == [100, 100]


def test_control_frames_count_against_no_message() -> None:
    sent = frame(b"x" * 100, fin=False) + frame(b"p" * 125, PONG) + frame(b"", CONTINUATION)

    assert [message.opcode for message in read([sent], limit_bytes=100)] == [PONG, TEXT]


@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_bytes_break_the_reader(data: bytes, limit_bytes: int) -> None:
    codes = []
    try:
        for message in read([data], limit_bytes):
            if message.opcode == CLOSE:
                read_close(message.payload)
    except FrameError as error:
        codes.append(error.code)

    assert set(codes) <= {1002, 1007, 1009}


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_a_close_code_nobody_may_send_is_refused(code: int) -> None:
    with pytest.raises(FrameError):
        read_close(code.to_bytes(2))


def test_a_close_frame_says_why() -> None:
    assert read_close(b"") == (1005, "")
    assert read_close((4408).to_bytes(2) + "zu spät".encode()) == (4408, "zu spät")
    with pytest.raises(FrameError):
        read_close(b"\x03")
