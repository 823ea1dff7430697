"""Pages under hostile messages: any JSON in any field, in Chromium.

A small seeded run with every change. The large one is

    COMPANION_FUZZ_SEEDS=200 .venv/bin/pytest -q -m slow tests/browser/test_fuzz.py
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from .conftest import PIXEL, NewWorld, World

SEEDS = range(3)
MANY = range(3, 3 + int(os.environ.get("COMPANION_FUZZ_SEEDS", "40")))
BATCHES = 4
BATCH = 25
# A second is the promise; beside other programs on two cores a page may wait for its turn.
LONGEST_MS = float(os.environ.get("COMPANION_FUZZ_LONGEST_MS", "5000"))
NAMES = ["__proto__", "constructor", "toString", "valueOf", "hasOwnProperty", "then", "", "a b", "🎉",
         "\u202eabc", "x" * 300, "/a/b", "root", "s", "cost", "currency", "created_at", "quotes",
         "options", "select", "label", "title", "id", "url", "email", "phone", "color"]  # fmt: skip
WORDS = ["", " ", "quote_ready", "<b>x</b>", "javascript:alert(1)", "https://e.example/x.png", "USD", "usd!",
         "2026-11-23T10:00:00Z", "2026-99-99", "#336699", "a@b.example", "+49 30 1234567", "\ud83d\ude00" * 40,
         "\u0000\u0007", "line\nline", "- a\n- b", "**bold** _x_ `y`", "${/a} ${formatString(value:${/a})}",
         "^(a+)+$", "(", "9" * 400, "long " * 800]  # fmt: skip
TYPES = ["contextual_update", "state_updated", "state_deleted", "client_tool_call", "client_tool_result",
         "client_tool_cancel", "user_message", "ui_action", "user_transcript", "agent_response",
         "agent_response_correction", "conversation_initiation_metadata", "presence", "screen", "rendered",
         "screen_command", "session_expiring", "error", "pong", "interruption", "no_such", "constructor"]  # fmt: skip
FIELDS = ["text", "data", "ui", "context_id", "labels", "locked", "key", "value", "revision", "sender", "timestamp",
          "requestId", "tool_name", "tool_call_id", "parameters", "client_tool_call", "result", "is_error", "name",
          "target", "surface_id", "context", "in_reply_to", "handled_by", "answered_by", "released", "open_until",
          "joins", "connection_id", "device", "device_id", "role", "event", "screen", "problem", "of_seq",
          "user_transcription_event", "agent_response_event", "agent_response_correction_event",
          "conversation_initiation_metadata_event", "expires_at", "code", "message", "retry_after_ms"]  # fmt: skip
TOOLS = ["companion_show", "companion_choose", "companion_form", "companion_confirm", "get_quotes", "__proto__"]
COMPONENTS = ["Text", "Image", "Icon", "Video", "AudioPlayer", "Row", "Column", "List", "Card", "Divider", "Tabs",
              "Modal", "Button", "TextField", "CheckBox", "Slider", "DateTimeInput", "ChoicePicker",
              "constructor", "Nope"]  # fmt: skip
PARTS = ["id", "component", "text", "child", "children", "label", "value", "url", "name", "variant", "checks", "action",
         "options", "tabs", "trigger", "content", "min", "max", "weight", "accessibility", "validationRegexp",
         "displayStyle", "justify", "align", "axis", "direction"]  # fmt: skip


class Hostile:
    """Messages by chance, the same for the same seed; none of their texts is a word no page may show."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._seq = 10_000

    def value(self, depth: int = 3) -> Any:
        pick = self._random.randrange(10 if depth else 6)
        if pick < 2:
            return self._random.choice(WORDS)
        if pick == 2:
            return self._random.choice([0, -1, 1, 2**53, -(2**53), 1e308, 0.1, 1_764_000_000_000, 9e15])
        if pick == 3:
            return self._random.choice([True, False])
        if pick < 6:
            return self._random.choice([None, [], {}, [None], {"a": None}])
        size = self._random.choice([1, 2, 3, 3, 30])
        if pick < 8:
            return [self.value(depth - 1) for _ in range(size)]
        return {self._random.choice(NAMES): self.value(depth - 1) for _ in range(size)}

    def component(self) -> Any:
        ids = ["root", "a", "b", "__proto__"]
        known: dict[str, Any] = {
            "id": self._random.choice(ids),
            "component": self._random.choice(COMPONENTS),
            "child": self._random.choice(ids),
            "text": {"path": "/a"},
            "children": self._random.choice([ids, {"path": "/a", "componentId": "a"}]),
        }
        return self._spoiled(known, PARTS, 0.3)

    def design(self) -> Any:
        surface = self._random.choice(["s", "t"])
        components = [self.component() for _ in range(self._random.choice([1, 4, 40]))]
        messages: list[Any] = [
            {"version": "v0.9", "createSurface": {"surfaceId": surface}},
            {"version": "v0.9", "updateComponents": {"surfaceId": surface, "components": components}},
            {"version": "v0.9", "updateDataModel": {"surfaceId": surface, "value": self.value()}},
        ]
        self._random.shuffle(messages)
        return {"messages": messages[: self._random.randrange(4)]}

    def message(self) -> dict[str, Any]:
        self._seq += 1
        call: dict[str, Any] = {
            "tool_name": self._random.choice(TOOLS),
            "tool_call_id": f"c{self._random.randrange(40)}",
            "parameters": {
                "title": self._random.choice(WORDS), "options": self.value(), "schema": {"properties": self.value()},
                "data": self.value(), "text": self.value(),
            },
        }  # fmt: skip
        known: dict[str, Any] = {
            "type": self._random.choice([*TYPES, "contextual_update", "client_tool_call", "contextual_update"]),
            "seq": self._seq,
            "timestamp": 1_764_000_000_000,
            "sender": {"role": "agent"},
            "text": self._random.choice(WORDS),
            "data": self.value(4),
            "key": self._random.choice(NAMES),
            "value": self.value(),
            "revision": self._seq,
            "client_tool_call": self._spoiled(call, list(call), 0.2),
            "tool_call_id": call["tool_call_id"],
            "result": self._random.choice([json.dumps(self.value()), '{"status": "chosen", "labels": 1}', self.value()]),
        }
        if self._random.random() < 0.4:
            known["ui"] = self.design() if self._random.random() < 0.8 else self.value()
        if self._random.random() < 0.3:
            known["context_id"] = self._random.choice(NAMES)
        return {**self._spoiled(known, FIELDS, 0.1), "type": known["type"]}

    def joined(self, real: dict[str, Any]) -> dict[str, Any]:
        """What a server says to one who joins, with anything in anything but what names the session."""
        kept = {"type", "session_id", "epoch", "seq", "role", "recovery"}
        spoiled = self._spoiled(real, [name for name in real if name not in kept], 0.4)
        cards = [self.message() for _ in range(5)]
        return {**spoiled, **{name: real[name] for name in kept}, "cards": self._random.choice([cards, self.value()])}

    def good(self, text: str) -> dict[str, Any]:
        self._seq += 1
        return {"type": "contextual_update", "text": text, "data": {"carrier": "FedEx"}, "seq": self._seq,
                "timestamp": 1_764_000_000_000, "sender": {"role": "agent"}}  # fmt: skip

    def _spoiled(self, known: dict[str, Any], names: list[str], chance: float) -> dict[str, Any]:
        spoiled = dict(known)
        for name in names:
            if self._random.random() < chance:
                spoiled[name] = self.value()
            elif self._random.random() < chance / 3:
                spoiled.pop(name, None)
        return spoiled


HEARTBEAT = """() => { window.longest = 0; let last = performance.now()
  setInterval(() => { const now = performance.now(); longest = Math.max(longest, now - last); last = now }, 20) }"""
EMPTY = """() => [...document.querySelectorAll('main article, .timeline-rows > li')].filter(
  (each) => (each.localName === 'li' ? each.textContent : each.innerText).trim() === '' && each.checkVisibility()
).map((each) => each.outerHTML.slice(0, 200))"""
"""A line of the timeline that is out of sight is not laid out, and then has no `innerText`."""


async def fuzzed(world: World, page: Page, address: str, seed: int, shown: str) -> None:
    """Open `address` with a server that tells it hostile things; see that it stays what it is."""
    hostile = Hostile(seed)
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        server = socket.connect_to_server()

        def told(text: str | bytes) -> None:
            message = json.loads(text)
            is_join = message["type"] == "session_joined"
            socket.send(json.dumps(hostile.joined(message) if is_join else message))

        server.on_message(told)

    await page.route_web_socket("**/ws*", connect)
    await page.goto(address)
    await page.evaluate(HEARTBEAT)
    for batch in range(BATCHES):
        await expect(page.locator("main").first).to_be_visible()
        await page.wait_for_function("() => document.body.innerText.trim().length > 20")
        for _ in range(20):
            if sockets:
                break
            await page.wait_for_timeout(50)
        for _ in range(BATCH):
            sockets[-1].send(json.dumps(hostile.message()))
        name = f"still here {batch}"
        sockets[-1].send(json.dumps(hostile.good(name)))
        await expect(page.get_by_text(shown.format(name=name)).first).to_be_visible(timeout=20_000)
        body = await page.locator("body").inner_text()
        for word in ("null", "undefined", "NaN", "[object"):
            assert word not in body, f"seed {seed} batch {batch}: …{body[max(0, body.find(word) - 200):][:300]}"
        assert await page.evaluate(EMPTY) == [], f"seed {seed} batch {batch}"
    longest = await page.evaluate("() => longest")
    assert longest < LONGEST_MS, f"seed {seed}: {longest} ms"


async def fuzz_all(world: World, seed: int) -> None:
    agent = await world.agent()
    token = world.server.token()
    made = await world.ask("POST", f"/sessions/{agent.session_id}/tokens", role="ui", ttl_s=3600)
    base, desk = world.server.url, {"viewport": {"width": 1280, "height": 900}}
    admin = world.server.token("root", "admin")
    places: list[tuple[dict[str, Any], str, str]] = [
        (PIXEL, f"/ui?session_id={agent.session_id}#token={made['token']}", "{name}"),
        (desk, f"/sessions/{agent.session_id}/pair#token={token}", "Devices in this session"),
        (desk, f"/admin?session={agent.session_id}#token={admin}", "{name}"),
    ]
    for look, address, shown in places:
        page = await world.page(**look)
        await fuzzed(world, page, base + address, seed, shown)
        await page.context.close()
    await agent.leave()


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_json_in_any_field_leaves_every_page_in_words(new_world: NewWorld, seed: int) -> None:
    await fuzz_all(await new_world(limit_messages_per_s=0), seed)


@pytest.mark.slow
@pytest.mark.timeout(0)
async def test_many_seeds_of_any_json_in_any_field(new_world: NewWorld) -> None:
    world = await new_world(limit_messages_per_s=0)
    for seed in MANY:
        await fuzz_all(world, seed)
