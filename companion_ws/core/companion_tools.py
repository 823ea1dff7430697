"""The catalogue of companion tools: what the CompanionUI answers with no code of the agent's author.

A tool stands here once; what agents are offered, what is read of what they write, and what becomes
of a call are read from this file. JavaScript, the docs and the rest are held to it by
tests/wire/companion_tools/list.json and tests/core/test_companion_tools.py, which names each
place that a new tool has not reached.

Source: docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from companion_ws.core.forms import fault_in
from companion_ws.core.schemas import FORMATS, MAX_FIELDS, is_askable, plain, properties_of

Schema = dict[str, Any]
Parameters = Mapping[str, Any]

MAX_OPTIONS: Final = 100
"""What the CompanionUI reads of a list. Source: static/js/core/questions.js."""


@dataclass(frozen=True, slots=True)
class CompanionTool:
    """A tool: what agents are offered, what makes it a question, what its result says."""

    name: str
    when: str
    """When an agent should call it: how the sentence "Call … " goes on."""
    description: str
    how: str
    """What makes a good call: one or two sentences for the agent's prompt."""
    schema: Schema
    """JSON Schema of what agents are offered. An object of unknown shape is JSON text there:
    ElevenLabs takes no other."""
    answers: Mapping[str, tuple[str, ...]]
    """The statuses a result may have, each with what else it may say."""
    also_read: tuple[str, ...] = ()
    """Parameters that screens read besides those offered."""
    is_question: bool = True
    """Whether somebody is asked; otherwise it is looked at and not answered."""
    is_changeable: bool = False
    """Whether a person may change their mind after the answer, which tells the agent once more."""
    fault: Callable[[Parameters], str | None] = lambda parameters: None
    """Return what is wrong with a call that would leave a person nothing to tap."""
    fault_in_result: Callable[[Parameters, str], str | None] | None = None
    """Return what is wrong with an answer, where that can be told."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """All that screens read."""
        return (*self.schema["properties"], *self.also_read)


def object_schema(
    properties: Schema, required: Iterable[str] = (), description: str = ""
) -> Schema:
    """Return the JSON Schema of an object."""
    schema: Schema = {"type": "object", "properties": properties, "required": list(required)}
    return {**schema, "description": description} if description else schema


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _number(description: str) -> Schema:
    return {"type": "number", "description": description}


def _integer(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _no_options(parameters: Parameters) -> str | None:
    options = parameters.get("options")
    if isinstance(options, list) and any(map(_is_option, options[:MAX_OPTIONS])):
        return None
    return "companion_choose needs options: a list of {id, label}, one at least."


def _is_option(option: Any) -> bool:
    return option_name(option) is not None


def option_name(option: Any) -> tuple[str, str] | None:
    """Return the id and the label of one of the options, as screens read it; None where it has none.

    >>> option_name({"id": 7, "label": "Air"}), option_name("Ground"), option_name({"price": 1})
    (('7', 'Air'), ('Ground', 'Ground'), None)
    """
    if not isinstance(option, dict):
        return (option, option) if isinstance(option, str) and option else None
    names = (option.get(key) for key in ("id", "value", "label"))
    chosen = next((name for name in names if name is not None), None)
    if not isinstance(chosen, str | int | float) or isinstance(chosen, bool):
        return None
    label = option.get("label")
    return str(chosen), label if isinstance(label, str) and label.strip() else str(chosen)


def _no_fields(parameters: Parameters) -> str | None:
    schema = parameters.get("schema")
    form = plain(schema, schema)
    fields = islice(properties_of(form, schema), MAX_FIELDS) if form is not None else ()
    if any(is_askable(field, schema) for _, field in fields):
        return None
    return "companion_form needs a schema with properties: one field at least."


_OPTION: Final = object_schema(
    {
        "id": _text("Short id that you recognise in the answer."),
        "label": _text("Text that the caller reads."),
        "description": _text("One more line, if it helps to choose."),
        "price": _number("Price, if there is one."),
        "currency": _text("Currency of the price, for example EUR."),
        "image": _text("Address of a picture, https."),
        "badge": _text("A word that sets it apart, for example Fastest."),
    },
    ["id", "label"],
    "One option.",
)
_LINE: Final = object_schema(
    {"label": _text("Text that the caller reads."), "amount": _number("Price.")},
    ["label", "amount"],
    "One line of the bill.",
)
_FORM_SCHEMA: Final = (
    "JSON Schema of an object, as JSON text. Each of its properties is one field; give every one a "
    "`title` in the caller's language, and name those that must be filled in in `required`. Types: "
    "string (with `format` "
    f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}, with `pattern`, `minLength`, `maxLength`); number "
    "and integer (with `minimum`, `maximum`, `multipleOf`, and `x-unit` for what stands behind the "
    "number, as kg); boolean; `enum`, or `oneOf` with a `const` and a `title` for each choice; array "
    "with `items` that have an `enum`, for several of them (`minItems`, `maxItems`); object with "
    "`properties` of its own, for a group. `description` is a hint, `examples` shows what an answer "
    "looks like, `default` fills it in."
)

SHOW: Final = CompanionTool(
    "companion_show",
    when="when you speak about something with more than two facts: prices, dates, addresses. "
    "Say one sentence about it; do not read the card aloud.",
    description="Shows a card on the caller's companion screen. Does not wait for the caller.",
    how="",
    schema=object_schema(
        {
            "title": _text("Heading of the card."),
            "data": _text(
                'The rows of the card as JSON text, for example {"Price": "12 EUR"}; a picture by '
                'its address (https) under "image".'
            ),
        },
        ["title"],
    ),
    also_read=("ui", "labels"),
    answers={"shown": ()},
    is_question=False,
)
CHOOSE: Final = CompanionTool(
    "companion_choose",
    when="when the caller must pick one of several things, or some of them.",
    description="Lets the caller tap one of several options on the screen and returns which.",
    how="Give each option its price as a number with its currency, one line of description and, for "
    "the one that stands out, a badge. For several at once set multiple, with min and max.",
    schema=object_schema(
        {
            "title": _text("The question."),
            "options": {"type": "array", "description": "The options to choose from.", "items": _OPTION},
            "multiple": {"type": "boolean", "description": "Several may be chosen."},
            "min": _integer("How many must be chosen, with multiple; 1 unless you say so."),
            "max": _integer("How many may be chosen, with multiple."),
        },
        ["title", "options"],
    ),
    answers={"chosen": ("id", "label", "ids", "labels")},
    is_changeable=True,
    fault=_no_options,
)
FORM: Final = CompanionTool(
    "companion_form",
    when="when you need something spelled: names, addresses, numbers, dates.",
    description="Lets the caller fill in a form on the screen and returns the values.",
    how="Ask only for what you need, at most eight fields at a time, each with a title in the "
    "caller's language and the narrowest type: the screen checks the answers by it.",
    schema=object_schema(
        {"title": _text("Title of the form."), "schema": _text(_FORM_SCHEMA)},
        ["title", "schema"],
    ),
    answers={"submitted": ("values",)},
    is_changeable=True,
    fault=_no_fields,
    fault_in_result=lambda parameters, result: fault_in(parameters.get("schema"), result),
)
CONFIRM: Final = CompanionTool(
    "companion_confirm",
    when="before anything that costs money or cannot be undone.",
    description="Asks the caller to confirm or decline on the screen.",
    how="Where it costs money give amount and currency, what it is made of as items, and who is "
    "paid as merchant.",
    schema=object_schema(
        {
            "title": _text("The question."),
            "text": _text("Details of what is confirmed."),
            "amount": _number("Total to pay; the largest thing on the screen."),
            "currency": _text("Currency of the amounts, for example EUR."),
            "items": {
                "type": "array",
                "description": "The lines of the bill.",
                "items": _LINE,
            },
            "merchant": _text("The payee."),
            "confirm_label": _text("The button that confirms."),
            "cancel_label": _text("The button that declines."),
        },
        ["title"],
    ),
    answers={"confirmed": (), "declined": ()},
)

PAIR: Final = CompanionTool(
    "companion_pair",
    when="when the caller, on the telephone, would like the screen and nobody has opened it.",
    description="Texts the caller a link that opens the companion screen on their phone. Ask them "
    "first whether you may.",
    how="Set consent once they have said yes to a message; never without. It goes to the number "
    "they call from, so do not ask for one.",
    schema=object_schema(
        {"consent": {"type": "boolean", "description": "The caller has agreed to get a message."}},
        ["consent"],
    ),
    answers={"sent": ("number",), "ask_first": ()},
    is_question=False,
)
"""For agents on the telephone; the server answers it, no screen does. Source: voice/sent_links.py."""

COMPANION_TOOLS: Final = {tool.name: tool for tool in (SHOW, CHOOSE, FORM, CONFIRM)}
"""Every companion tool that screens answer, by its name."""

OPTION_FIELDS: Final = tuple(_OPTION["properties"])
"""Of each entry of `options`."""
LINE_FIELDS: Final = tuple(_LINE["properties"])
"""Of each entry of `items`."""


def is_question(tool_name: str) -> bool:
    """Whether this companion tool asks somebody; False for tools of the agent's author."""
    tool = COMPANION_TOOLS.get(tool_name)
    return tool is not None and tool.is_question


def is_card(tool_name: str) -> bool:
    """Whether this companion tool only shows something."""
    tool = COMPANION_TOOLS.get(tool_name)
    return tool is not None and not tool.is_question


def is_companion_ui(tools: Set[str]) -> bool:
    """Whether a screen that names these tools is the CompanionUI.

    It may name more: pages of another version, or with tools of their own.
    """
    return COMPANION_TOOLS.keys() <= tools
