"""Metrics of real processes on a real server: what they say, and that page, alerts and dashboard name it.

Not for: health (`test_metrics_health.py`), nor the counting inside (`test_metrics_counts.py`).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import servers
from metricsrun import FRAMES, RECORDS, ROOM, Scraped, play
from promtool import needs_promtool, promtool

ROOT = Path(__file__).parent.parent
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "kinestream.json").read_text())
DOCS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """A camera that fills its stream while nobody works, then a worker; looked at before and after."""
    if not servers.BINARIES:
        pytest.skip("no redis-server here")
    folder = tmp_path_factory.mktemp("metrics")
    server = servers.Server([*servers.BINARIES.values()][-1], maxmemory="200mb").start()
    try:
        yield play(server.url, folder)
    finally:
        server.remove()


def test_a_stream_that_is_full_is_the_same_from_both_sides(scraped: Scraped) -> None:
    ingest, exporter = scraped.full["ingest"], scraped.full["metrics"]
    assert ingest.sum("kinestream_ingest_offered_frames_total", camera="hall") == ROOM
    assert ROOM < ingest.sum("kinestream_ingest_captured_frames_total", camera="hall") <= FRAMES
    assert ingest.sum("kinestream_ingest_given_up_frames_total", camera="hall") == 0
    assert ingest.sum("kinestream_ingest_encode_seconds_count", camera="hall") > ROOM
    for name, value in {"connected": 1, "run_open": 1, "runs_total": 1}.items():
        assert ingest.sum(f"kinestream_ingest_{name}", camera="hall") == value
    for name, value in {
        "produced_frames_total": ROOM,
        "in_flight_frames": ROOM,
        "waiting_frames": ROOM,
        "held_frames": 0,
        "unaccounted_frames": 0,
        "run_open": 1,
        "frames_total": 0,
    }.items():
        assert exporter.sum(f"kinestream_camera_{name}", camera="hall") == value, name
    assert exporter.sum("kinestream_camera_oldest_waiting_seconds", camera="hall") > 0
    assert exporter.sum("kinestream_workers") == 0
    assert exporter.sum("kinestream_redis_memory_limit_bytes") == 200 * 2**20
    assert 0 < exporter.sum("kinestream_redis_memory_bytes") < 200 * 2**20


def test_the_counters_are_those_of_the_ledger(scraped: Scraped) -> None:
    exporter, worker = scraped.done["metrics"], scraped.done["worker"]
    assert {*scraped.ledgers} == {"hall", "spoilt"}
    for camera, ledger in scraped.ledgers.items():
        assert ledger.balanced and ledger.state == "ended"
        assert exporter.sum("kinestream_camera_produced_frames_total", camera=camera) == ledger.produced
        for status in ("ok", "dropped", "stale", "failed", "lost"):
            told = exporter.sum("kinestream_camera_frames_total", camera=camera, status=status)
            assert told == getattr(ledger, status), (camera, status)
        assert exporter.sum("kinestream_camera_in_flight_frames", camera=camera) == 0
        assert exporter.sum("kinestream_camera_oldest_waiting_seconds", camera=camera) == 0
        assert exporter.sum("kinestream_camera_run_open", camera=camera) == 0
    failed = {"status": "failed", "cause": "undecodable"}
    assert exporter.sum("kinestream_camera_frames_total", camera="spoilt", **failed) == 1
    assert exporter.sum("kinestream_dead_letters") == 1
    assert exporter.sum("kinestream_results_records") == RECORDS
    assert exporter.sum("kinestream_results_bytes") > 0
    assert scraped.done["watch"].sum("kinestream_watch_records_total", status="ok") == FRAMES
    assert scraped.done["watch"].sum("kinestream_watch_records_total", status="missing") == 0
    assert scraped.done["record"].sum("kinestream_record_records_total") in (
        FRAMES,
        FRAMES + 1,
    )  # and the end
    assert scraped.done["record"].sum("kinestream_record_pictures_total") == 0
    assert worker.sum("kinestream_worker_frames_total", status="ok") == FRAMES
    assert worker.sum("kinestream_worker_frames_total", **failed) == 1


def test_the_histograms_hold_every_frame_that_became_ok(scraped: Scraped) -> None:
    worker = scraped.done["worker"]
    stages = {"encoded", "queued", "decoded", "waited", "inferred", "end-to-end"}
    name = "kinestream_worker_stage_seconds"
    assert {sample.labels["stage"] for sample in worker.families[name].samples} == stages
    for stage in stages:
        assert worker.sum(f"{name}_count", stage=stage) == FRAMES
        buckets = [s for s in worker.families[name].samples if s.labels == {**s.labels, "stage": stage}]
        counts = [s.value for s in buckets if s.name.endswith("_bucket")]
        assert counts == sorted(counts) and counts[-1] == FRAMES
    parts = sum(worker.sum(f"{name}_sum", stage=stage) for stage in stages - {"end-to-end"})
    assert worker.sum(f"{name}_sum", stage="end-to-end") == pytest.approx(parts)
    assert worker.sum("kinestream_worker_batch_frames_sum") == FRAMES
    assert FRAMES / 4 <= worker.sum("kinestream_worker_batch_frames_count") <= FRAMES
    assert worker.sum("kinestream_worker_held_frames") == 0
    assert worker.sum("kinestream_worker_info", model="testcard-dynamic") == 1


@pytest.mark.parametrize("process", ["metrics", "worker", "watch"])
def test_counters_only_grow(scraped: Scraped, process: str) -> None:
    before, after = scraped.full[process].counters(), scraped.done[process].counters()
    assert before.keys() <= after.keys()
    assert {key: (old, after[key]) for key, old in before.items() if after[key] < old} == {}
    assert any(after[key] > old for key, old in before.items())


def test_names_and_labels_are_as_prometheus_wants_them(scraped: Scraped) -> None:
    for process, scrape in scraped.done.items():
        for family in scrape.families.values():
            assert family.documentation.endswith("."), (process, family.name)
            assert family.name.startswith(("kinestream_", "process_"))
            assert not re.search(r"_(ms|milliseconds|us|kb|mb)(_|$)", family.name)
            for sample in family.samples:
                if family.name.startswith("kinestream_"):
                    allowed = {
                        "camera",
                        "lane",
                        "status",
                        "cause",
                        "state",
                        "stage",
                        "worker",
                        "model",
                        "engine",
                    }
                    assert {*sample.labels} <= allowed | {"version", "le"}, sample
                assert (family.type == "counter") == sample.name.endswith("_total"), sample


def served_names(scraped: Scraped) -> set[str]:
    return set().union(*(scrape.names for scrape in (*scraped.full.values(), *scraped.done.values())))


def documented() -> dict[str, set[str]]:
    """Name -> labels of every metric in the page's tables; those of the client have no labels."""
    table = re.findall(r"^\| (`.*?`) \|", DOCS.partition("## What is served")[2], re.M)
    names = re.findall(r"`((?:kinestream|process)_\w+)(?:\{([\w,]+)\})?`", " ".join(table))
    return {name: set(filter(None, labels.split(","))) for name, labels in names}


def test_the_page_lists_what_is_served_and_nothing_else(scraped: Scraped) -> None:
    served: dict[str, set[str]] = {}
    for scrape in (*scraped.full.values(), *scraped.done.values()):
        for family in scrape.families.values():
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            served[name] = served.get(name, set()) | labels
    assert documented() == served


def test_the_page_lists_the_causes_that_are_there_from_the_beginning(scraped: Scraped) -> None:
    rows = re.findall(r"^\| (?:`(\w+)`)? *\| ((?:`[\w-]+`(?:, )?)+) \|", DOCS.partition("## Causes")[2], re.M)
    told: set[tuple[str, str]] = {("ok", "")}
    status = ""
    for named, causes in rows:
        status = named or status
        told |= {(status, cause) for cause in re.findall(r"`([\w-]+)`", causes)}
    family = scraped.full["metrics"].families["kinestream_camera_frames"]
    assert told == {(s.labels["status"], s.labels["cause"]) for s in family.samples}


def expressions() -> dict[str, str]:
    """What the alerts and the dashboard ask Prometheus, by where it stands."""
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    found = {rule["alert"]: rule["expr"] for rule in rules}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    variables: list[dict[str, Any]] = DASHBOARD["templating"]["list"]
    found |= {v["name"]: v["query"]["query"] for v in variables if v["type"] == "query"}
    return found


def test_alerts_and_dashboard_ask_for_what_is_served(scraped: Scraped) -> None:
    asked = {
        where: {*re.findall(r"\b(?:kinestream|process)_\w+", expr)} for where, expr in expressions().items()
    }
    assert len(asked) > 40 and all(asked[where] or "up{" in expr for where, expr in expressions().items())
    missing = {where: names - served_names(scraped) for where, names in asked.items()}
    assert {where: names for where, names in missing.items() if names} == {}


@needs_promtool
@pytest.mark.parametrize("process", ["metrics", "worker", "ingest", "watch", "record"])
def test_prometheus_has_no_objections(scraped: Scraped, process: str) -> None:
    text = scraped.done[process].text
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
