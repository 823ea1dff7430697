"""Settings: what makes no sense is refused at once, for whoever builds a `Config`."""

from __future__ import annotations

import math
from typing import Any

import pytest

from companion_ws.config import Config, duration_s


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"public_url": "ftp://x.example"}, "not a valid public URL"),
        ({"public_url": "x.example"}, "not a valid public URL"),
        ({"node_url": "x.example:8000"}, "not a valid URL of a server"),
        ({"public_url": ""}, "not a valid public URL"),
        ({"public_url": "https://"}, "not a valid public URL"),
        ({"public_url": "https://x.example/?q=1"}, "not a valid public URL"),
        ({"public_url": "https://x.example/#top"}, "not a valid public URL"),
        ({"public_url": "https://x.example:70000"}, "not a valid public URL"),
        ({"public_url": "https://alice:secret@x.example"}, "not a valid public URL"),
        ({"allow_origin": ("*",)}, "'\\*' is not a valid origin"),
        ({"allow_origin": ("null",)}, "not a valid origin"),
        ({"allow_origin": ("https://a.example", "a.example")}, "'a.example' is not a valid origin"),
        ({"allow_origin": ("https://a.example/path",)}, "not a valid origin"),
        ({"allow_host": ("https://a.example",)}, "not a valid host name"),
        ({"allow_host": ("*",)}, "not a valid host name"),
        ({"trust_proxy": ("proxy",)}, "'proxy' does not appear"),
        ({"session_ttl": 0}, "ends every session at once"),
        ({"session_ttl": "0h"}, "ends every session at once"),
        ({"session_ttl": -1.0}, "not a valid duration"),
        ({"session_ttl": math.inf}, "not a valid duration"),
        ({"keep_ended": math.nan}, "not a valid duration"),
        ({"keep_ended": -1}, "not a valid duration"),
        ({"keep_ended": "40000d"}, "not a valid duration"),
        ({"limit_messages_per_s": math.nan}, "limit_messages_per_s is nan"),
        ({"limit_messages_per_s": math.inf}, "limit_messages_per_s is inf"),
        ({"limit_records": -1}, "limit_records is -1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Config(**settings)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"public_url": "https://shop.example/companion/"}, "https://shop.example/companion"),
        ({"public_url": "http://192.168.1.20:8000"}, "http://192.168.1.20:8000"),
        ({"public_url": "HTTP://[2001:db8::9]:8000/"}, "HTTP://[2001:db8::9]:8000"),
        ({"allow_origin": ("https://a.example/", "http://[::1]:8090")}, None),
        ({"allow_host": ("shop.internal", "shop_2:8000", "[::1]")}, None),
        ({"trust_proxy": ("10.0.0.0/8", "::1")}, None),
        ({"session_ttl": "1ms", "keep_ended": 0, "limit_records": 0}, None),
    ],
)
def test_a_setting_that_makes_sense_is_believed(settings: dict[str, Any], kept: str | None) -> None:
    assert Config(**settings).public_url == kept


def test_durations_are_numbers_of_seconds_or_text_with_a_unit() -> None:
    assert [duration_s(x) for x in ("90", " 1h ", "1.5m", "36500d", 2)] == [
        *(90.0, 3600.0, 90.0, 36_500 * 86_400.0, 2.0),
    ]
    for text in ("", "-5", "1w", "1e3", "9" * 400):
        with pytest.raises(ValueError, match="is not a valid duration"):
            duration_s(text)
