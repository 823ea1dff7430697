"""The catalogue of messages against every place that has to know of a message.

A new message is written in companion_ws/core/commands.py; these tests then name what else
it needs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from companion_ws.core import session
from companion_ws.core.commands import (
    COMMANDS,
    EVERYBODY,
    RECORDS,
    SAID,
    SCREENS,
    TOLD,
    AnswerCall,
    Command,
    EndSession,
    Passed,
    Relayed,
)
from companion_ws.core.gists import GISTS
from companion_ws.sessions.phone_calls import HEARD_IN
from companion_ws.web.docs import samples

ROOT = Path(__file__).parents[1]
GOLDEN = json.loads((ROOT / "tests/wire/messages/catalogue.json").read_text(encoding="utf-8"))
PAGES = ("core/session.js", "core/cards.js", "elements", "pages", "screen")
WITHOUT_GIST = {"user_activity"}
"""Told so often that the inspector leaves it out."""


def golden_entry(kind: type[Command]) -> dict[str, object]:
    """Return what tests/wire/messages/catalogue.json holds of a command."""
    return {
        "roles": sorted(kind.roles),
        "fate": kind.fate,
        "becomes": [] if kind.fate == "unanswered" else [*(kind.becomes or (kind.type,))],
        "by_entrance": kind.by_entrance,
        "relayed": issubclass(kind, Relayed),
    }


def without_example(golden: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in golden.items() if name != "example"}


def places_without(kind: type[Command]) -> list[str]:
    """Return the places that do not know a command yet, which should."""
    name, outcome = kind.type, kind.outcome()
    knows = {
        "companion_ws/core/commands.py: COMMANDS": COMMANDS.get(name) is kind,
        "tests/wire/messages/catalogue.json": without_example(GOLDEN["commands"].get(name, {}))
        == golden_entry(kind),
        "companion_ws/web/docs/samples.py: SENT": name in samples.SENT,
        "docs/protocol.md": f"`{name}`" in text_of("docs/protocol.md"),
    }
    if not kind.by_entrance:
        # Those of a kind have one decider together, as soon as they are in COMMANDS.
        decides = kind in session._DECIDERS or issubclass(kind, (Passed, Relayed))
        knows["companion_ws/core/session.py: _DECIDERS"] = decides
    if kind.fate != "unanswered":
        has_example = outcome in samples.SAID or outcome in samples.SENT
        knows["companion_ws/core/commands.py: SAID"] = outcome in SAID
        knows["companion_ws/web/docs/samples.py: SAID"] = has_example
    if kind.fate in ("passed", "unanswered") or kind.by_entrance or issubclass(kind, Relayed):
        known = f'"{name}"' in text_of("static/js/core/commands.js")
        knows["static/js/core/commands.js"] = known
    if kind.fate == "passed":
        knows["static/js: a page that sends or handles it"] = is_in_pages(outcome)
    if kind.fate in ("passed", "recorded") and outcome not in WITHOUT_GIST:
        has_gist = f"\n  {outcome}: (" in text_of("static/js/core/gists.js")
        knows["companion_ws/core/gists.py: GISTS"] = outcome in GISTS
        knows["static/js/core/gists.js: GISTS"] = has_gist
    return [place for place, is_known in knows.items() if not is_known]


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def is_in_pages(name: str) -> bool:
    files = [
        file
        for path in PAGES
        for file in [ROOT / "static/js" / path, *(ROOT / "static/js" / path).glob("*.js")]
        if file.is_file()
    ]
    return any(f'"{name}"' in file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_place_knows_every_command(name: str) -> None:
    missing = places_without(COMMANDS[name])
    assert not missing, f"`{name}` is missing in: {', '.join(missing)}"


def test_every_command_of_the_module_is_listed() -> None:
    listed = {*COMMANDS.values(), AnswerCall, EndSession}
    left_out = [kind.__name__ for kind in kinds_of(Command) if kind not in listed]
    assert not left_out, f"COMMANDS does not list {', '.join(left_out)}"


def kinds_of(base: type[Command]) -> list[type[Command]]:
    """Return the commands of the catalogue, those of the tests left out."""
    kinds = [each for kind in base.__subclasses__() for each in (kind, *kinds_of(kind))]
    return [
        kind
        for kind in kinds
        if kind.__module__ == "companion_ws.core.commands" and isinstance(kind.__dict__.get("type"), str)
    ]


def test_what_shows_that_somebody_is_on_the_line_is_recorded() -> None:
    assert RECORDS.keys() >= HEARD_IN


def test_the_golden_catalogue_holds_what_python_says() -> None:
    assert [*GOLDEN["commands"]] == [*COMMANDS]
    assert (GOLDEN["records"], GOLDEN["told"]) == ([*RECORDS], [*TOLD])


class ImaginedWave(Passed, frozen=True, kw_only=True):
    """The agent waves at the screens; nobody has written more of it than this."""

    type = "imagined_wave"
    roles = frozenset({"agent"})
    to = SCREENS


class ImaginedShrug(Command, frozen=True, kw_only=True):
    """A record that nobody has written more of than this."""

    type = "imagined_shrug"


class ImaginedCough(Command, frozen=True, kw_only=True):
    """The entrance hears it, and nobody has written more of it than this."""

    type = "imagined_cough"
    roles = EVERYBODY
    fate = "unanswered"
    by_entrance = True


def test_of_a_new_message_every_place_that_lacks_it_is_named() -> None:
    everywhere = [
        "companion_ws/core/commands.py: COMMANDS",
        "tests/wire/messages/catalogue.json",
        "companion_ws/web/docs/samples.py: SENT",
        "docs/protocol.md",
    ]
    said = ["companion_ws/core/commands.py: SAID", "companion_ws/web/docs/samples.py: SAID"]
    gist = ["companion_ws/core/gists.py: GISTS", "static/js/core/gists.js: GISTS"]

    assert places_without(ImaginedWave) == [
        *everywhere,
        *said,
        "static/js/core/commands.js",
        "static/js: a page that sends or handles it",
        *gist,
    ]
    assert places_without(ImaginedShrug) == [
        *everywhere,
        "companion_ws/core/session.py: _DECIDERS",
        *said,
        *gist,
    ]
    assert places_without(ImaginedCough) == [*everywhere, "static/js/core/commands.js"]
