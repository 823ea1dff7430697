"""The YAML of docs/agents.md, run as Home Assistant runs it: it asks, a phone is tapped, it speaks."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer

DOCS = Path(__file__).parents[2] / "docs/agents.md"
_COMMAND: set[str] = {"url", "method", "timeout", "content_type", "headers", "payload", "username",
                      "password", "verify_ssl", "authentication"}  # fmt: skip
_ACTION = {"action", "data", "target", "response_variable"}


class FakeHomeAssistant:
    """Loads a configuration and runs a sequence; strict about the keys it has. `said` is spoken."""

    def __init__(self, configuration: str, secrets: dict[str, str], at: str) -> None:
        loader = type("Loader", (yaml.SafeLoader,), {})
        loader.add_constructor("!secret", lambda _, node: secrets[node.value])  # type: ignore[attr-defined]
        self._commands = yaml.load(configuration, loader)["rest_command"]
        self._at = at
        self.said: list[str] = []
        for command in self._commands.values():
            assert set(command) <= _COMMAND

    async def run(self, sequence: str) -> None:
        variables: dict[str, Any] = {}
        for step in yaml.safe_load(sequence):
            assert set(step) <= _ACTION
            domain, _, name = step["action"].partition(".")
            data = _rendered(step["data"], variables)
            if domain == "rest_command":
                variables[step["response_variable"]] = await self._request(name, data)
            else:
                assert (domain, name) == ("tts", "speak")
                assert step["target"]["entity_id"].startswith("tts.")
                assert set(data) == {"media_player_entity_id", "message"}
                self.said.append(data["message"])

    async def _request(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        command = self._commands[name]
        url = re.sub(r"^http://companion\.local:8000", self._at, command["url"])
        timeout = aiohttp.ClientTimeout(total=command.get("timeout", 10))
        headers = {**command["headers"], "Content-Type": command["content_type"]}
        payload = _rendered(command["payload"], data).encode()
        async with aiohttp.ClientSession(timeout=timeout) as http:
            async with http.request(command["method"], url, data=payload, headers=headers) as answer:
                is_json = answer.content_type == "application/json"
                content = await (answer.json() if is_json else answer.text())
                return {"status": answer.status, "content": content}


def _rendered(value: Any, variables: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _rendered(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [_rendered(each, variables) for each in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\{\{(.+?)\}\}", lambda found: _evaluated(found[1], variables), value, flags=re.S)


def _evaluated(template: str, variables: dict[str, Any]) -> str:
    """Return what a template of names, `to_json` and `default` comes to, as Jinja has it."""
    name, *filters = [part.strip() for part in template.split("|")]
    found = _looked_up(name, variables)
    for each in filters:
        if each == "to_json":
            return json.dumps(found)
        default = re.fullmatch(r"default\((.+)\)", each)
        assert default is not None, f"no such filter: {each}"
        found = _looked_up(default[1], variables) if found is None else found
    assert isinstance(found, str), template
    return found


def _looked_up(name: str, variables: Any) -> Any:
    for part in name.split("."):
        assert isinstance(variables, dict), f"UndefinedError: {name}"
        variables = variables.get(part)
    return variables


@pytest.fixture
def recipe() -> list[str]:
    _, _, section = DOCS.read_text(encoding="utf-8").partition("\n## Home Assistant\n")
    return re.findall(r"```yaml\n(.+?)```", section.partition("\n## ")[0], re.DOTALL)


async def test_the_recipe_asks_and_speaks_what_was_tapped_or_how_to_get_there(
    recipe: list[str], companion_server: CompanionServer
) -> None:
    configuration, sequence = recipe
    assert len(configuration.splitlines()) <= 10
    summary = await companion_server.sessions.create("home")
    secrets = {
        "companion_bearer": f"Bearer {companion_server.token('home')}",
        "companion_session": summary.session_id,
    }
    home = FakeHomeAssistant(configuration, secrets, companion_server.url)
    await home.run(sequence)
    assert "Nobody has opened the companion screen yet." in home.said.pop()
    screen = companion_server.client("home", session_id=summary.session_id, role="ui", after=0)
    async with Phone(screen) as phone:
        asking = asyncio.create_task(home.run(sequence))
        await phone.choose("heat")
        await asking
    assert home.said == ["Heat"]
