"""The dashboard and the alarms of deploy/ name figures that there are, and alarms ring when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from companion_ws.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus/rules.yml"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        (DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8")
    )["panels"]
    return found


def shown() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def exposed() -> dict[str, set[str]]:
    """Return the labels of every series that /metrics has, by its name."""
    metrics = Metrics()
    metrics.recorded("contextual_update")
    metrics.refused("not_found")
    metrics.joined("ui", "none")
    metrics.rendered(0.1)
    metrics.question("shown", 0.1)
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def selected(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each series that an expression names, with the labels it selects or groups by."""
    grouped = {
        label.strip()
        for labels in re.findall(r"\bby \(([^)]*)\)", expression)
        for label in labels.split(",")
    }
    for name, matchers in re.findall(r"\b(companion_\w+)(?:\{([^}]*)\})?", expression):
        yield name, grouped | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))


def test_every_series_and_label_that_is_named_is_one_the_server_has() -> None:
    there = exposed()
    expressions = [*shown(), *(rule["expr"] for rule in rules())]
    named = [pair for expression in expressions for pair in selected(expression)]
    assert len(named) > 20
    for name, labels in named:
        assert name in there, name
        assert labels - {"instance", "job"} <= there[name], (name, labels)


def test_the_dashboard_shows_every_figure_there_is() -> None:
    figures = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed()}
    drawn = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for expression in shown()
        for name, _ in selected(expression)
    }
    assert drawn == figures
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)


def test_every_alarm_says_what_it_means_and_has_a_test() -> None:
    tested = {
        case["alertname"]
        for group in yaml.safe_load((RULES.parent / "rules.test.yml").read_text("utf-8"))["tests"]
        for case in group.get("alert_rule_test", [])
    }
    alarms = [rule for rule in rules() if "alert" in rule]
    assert {alarm["alert"] for alarm in alarms} == tested
    assert all(alarm["annotations"]["summary"] and alarm["labels"]["severity"] for alarm in alarms)


def unpacked(package: str, program: str, folder: Path) -> str:
    """Return a program of a Debian package, which is not installed: that would start a service."""
    found = shutil.which(program)
    if found is not None:
        return found
    subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True, timeout=100)
    [archive] = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    return str(folder / "usr/bin" / program)


def test_prometheus_itself_takes_rules_panels_and_figures(tmp_path: Path) -> None:
    promtool = unpacked("prometheus", "promtool", tmp_path)

    def run(*arguments: str, stdin: bytes = b"") -> None:
        done = subprocess.run(
            [promtool, *arguments], input=stdin, capture_output=True, cwd=RULES.parent, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode()

    run("check", "rules", "rules.yml")
    run("test", "rules", "rules.test.yml")
    drawn = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(shown())
    ]
    (tmp_path / "panels.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": drawn}]}), encoding="utf-8"
    )
    run("check", "rules", str(tmp_path / "panels.yml"))
    run("check", "metrics", stdin=Metrics().text())
