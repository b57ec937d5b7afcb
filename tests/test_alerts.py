"""The files in deploy/: Prometheus's own checker reads them and plays the alerts; the dashboard is sound.

That they ask for metrics which are served is for `test_metrics.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from kinestream.commands.metrics import PORT, metrics
from kinestream_ingest.cli import ingest
from kinestream_workers.cli import worker
from promtool import needs_promtool, promtool

ROOT = Path(__file__).parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "kinestream.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def check(*words: str | Path) -> None:
    done = subprocess.run([promtool(), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_configuration_and_the_alerts() -> None:
    check("check", "config", PROMETHEUS / "prometheus.yml")


@needs_promtool
def test_every_alert_comes_when_it_should_and_only_then(tmp_path: Path) -> None:
    played = (ROOT / "tests" / "alerts_test.yml").read_text()
    (tmp_path / "play.yml").write_text(played.replace("ALERTS", str(PROMETHEUS / "alerts.yml")))
    check("test", "rules", tmp_path / "play.yml")


def test_every_alert_is_played() -> None:
    played = yaml.safe_load((ROOT / "tests" / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in played for case in test["alert_rule_test"]]
    for rule in rules():
        of_it = [case for case in cases if case["alertname"] == rule["alert"]]
        assert any(case.get("exp_alerts") for case in of_it), f"{rule['alert']} never comes"
        assert any(not case.get("exp_alerts") for case in of_it), f"{rule['alert']} never stays away"
    assert {case["alertname"] for case in cases} == {rule["alert"] for rule in rules()}


def test_every_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["alert"].startswith("Kinestream")
        assert {*rule["annotations"]} == {"summary", "description"}
        asked = {*re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))}
        assert asked <= {"camera", "cause", "instance", "job"}


def test_the_configuration_looks_where_the_exporter_is() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs["kinestream"] == [f"127.0.0.1:{PORT}"]
    assert all(job.startswith("kinestream") for job in jobs)  # as the alerts and the dashboard expect
    assert config["rule_files"] == ["alerts.yml"]


@needs_promtool
def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    filled = [text.replace("$__rate_interval", "1m").replace("$camera", ".*") for text in expressions]
    recorded = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(filled)]
    asked = {"groups": [{"name": "dashboard", "rules": recorded}]}
    (tmp_path / "dashboard.yml").write_text(yaml.safe_dump(asked))
    check("check", "rules", tmp_path / "dashboard.yml")
    assert len(filled) > 30 and not any("$" in text for text in filled)


def test_the_service_with_comment_marks_would_work() -> None:
    compose = (ROOT / "compose.yaml").read_text()
    found = re.search(r"^  # metrics:\n(?:  #   .*\n)+", compose, re.M)
    assert found
    service = yaml.safe_load(found[0].replace("  # ", "").replace("<<: *kinestream", "shared: true"))[
        "metrics"
    ]
    entrypoint, environment = service["entrypoint"], service["environment"]
    assert entrypoint[:2] == ["kinestream", "metrics"] and environment == {
        "KINESTREAM_REDIS_URL": "redis://redis:6379"
    }
    context = metrics.make_context("metrics", entrypoint[2:])
    assert context.params["metrics_host"] == "0.0.0.0"
    assert context.params["heartbeat_file"] == Path("/tmp/heartbeat")  # as the shared healthcheck wants it


def test_the_commands_of_the_page_and_of_the_configuration_are_commands() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    lines = re.findall(r"^kinestream .*?(?=  |$)", page, re.M)
    configuration = (PROMETHEUS / "prometheus.yml").read_text()
    lines += re.findall(r"^#   (kinestream .*?)(?=  |$)", configuration, re.M)
    assert len(lines) == 6
    for line in lines:
        _, name, *words = line.split()
        command = {"metrics": metrics, "worker": worker, "ingest": ingest}[name]
        port = command.make_context(name, words).params["metrics_port"]
        assert (port is None) == (name == "metrics")


def test_the_panels_are_sound() -> None:
    assert [
        n for n, count in Counter(panel["id"] for panel in DASHBOARD["panels"]).items() if count > 1
    ] == []
    for panel in PANELS:
        assert panel["title"] and panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "camera"}
