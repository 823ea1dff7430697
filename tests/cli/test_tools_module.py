"""`--tools` as people give it: a module beside them, a file, and one with a mistake in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import Served, run_to_its_end

GOOD = '''
from companion_ws import tool
import beside

@tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b
'''
BROKEN = {
    "a syntax error": ("from companion_ws import tool\n\n@tool\ndef add(:\n    pass\n", 4, "invalid"),
    "a wrong indent": ("def add():\npass\n", 2, "indent"),
    "a name nobody knows": ("import json\n\nnot_there()\n", 3, "NameError"),
    "a module that is not installed": ("\nimport no_such_package\n", 2, "no_such_package"),
    "an exit": ("import sys\nsys.exit(3)\n", 2, "SystemExit"),
    "a failure elsewhere": ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
    "an annotation nobody knows": (
        "from __future__ import annotations\nfrom companion_ws import tool\n\n"
        "@tool\ndef add(a: Money) -> int:\n    return 1\n",
        4,
        "Money",
    ),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "own_tools.py").write_text(GOOD)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "beside.py").write_text("")
    (tmp_path / "shop" / "own_tools.py").write_text(GOOD.replace("add", "multiply"))
    return tmp_path


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_to_its_end(*arguments, folder=home, **environment)


@pytest.mark.parametrize(
    ("named", "tool"),
    [
        ("own_tools", "add"),
        ("./own_tools.py", "add"),
        ("own_tools.py", "add"),
        ("shop/own_tools.py", "multiply"),
        ("{home}/own_tools.py", "add"),
    ],
)
def test_the_configuration_of_an_agent_knows_own_tools(named: str, tool: str, home: Path) -> None:
    done = run(home, "elevenlabs", "agent-config", "--url", "https://voice.example",
               "--tools", named.format(home=home))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert tool in [one["name"] for one in json.loads(done.stdout)["tools"]]


def test_the_environment_names_tools_for_both_verbs(home: Path) -> None:
    done = run(home, "elevenlabs", "agent-config", "--url", "https://voice.example",
               COMPANION_TOOLS="./own_tools.py")  # fmt: skip
    assert "add" in [one["name"] for one in json.loads(done.stdout)["tools"]]


@pytest.mark.parametrize("what", BROKEN)
def test_a_tools_module_with_a_mistake_is_one_sentence_with_file_and_line(
    what: str, home: Path
) -> None:
    source, line, why = BROKEN[what]
    (home / "own_tools.py").write_text(source)
    for named in ("own_tools", "./own_tools.py"):
        for verb in (["serve", "--port", "0"],
                     ["elevenlabs", "agent-config", "--url", "https://voice.example"]):  # fmt: skip
            failed = run(home, *verb, "--tools", named)
            assert failed.returncode == 1
            [sentence] = failed.stderr.strip().splitlines()
            assert f"{home / 'own_tools.py'}, line {line}: " in sentence
            assert why in sentence


@pytest.mark.parametrize("named", ["./not_there.py", "not_there", "./shop", "."])
def test_a_tools_module_that_is_not_there_is_one_sentence(named: str, home: Path) -> None:
    failed = run(home, "serve", "--port", "0", "--tools", named)
    assert failed.returncode == 1
    [sentence] = failed.stderr.strip().splitlines()
    assert named.strip("./") in sentence


def test_a_server_reloads_tools_given_by_their_path(
    start: Callable[..., Any], home: Path
) -> None:
    served: Served = start("--reload", "--tools", str(home / "own_tools.py"))
    served.until("Phones cannot")
    (home / "own_tools.py").write_text(GOOD.replace("add", "subtract"))
    served.until("ready at")
    served.until("Phones cannot")
    assert served.stop() == 0
