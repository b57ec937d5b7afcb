"""The counting behind the metrics of single processes: histograms, batches, a source that comes back.

Not for: what is counted by camera (`test_metrics_exporter.py`), nor serving it (`test_metrics.py`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import Metric
from redis.asyncio import Redis

from kinestream.errors import Fenced, SourceError
from kinestream.histogram import BOUNDS_MS
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.messages import PoseResult
from kinestream.metrics.causes import CAUSES, INGEST_CAUSES
from kinestream.metrics.cumulative import Cumulative
from kinestream.metrics.families import seconds_family
from kinestream.run import Run
from kinestream_ingest.capture import SIZE_CHANGED
from kinestream_ingest.encoder import EncodeError
from kinestream_ingest.feed import Feed
from kinestream_ingest.metrics import IngestMetrics
from kinestream_ingest.offering import REDIS_FULL
from kinestream_workers import outcomes
from kinestream_workers.metrics import WorkerMetrics
from kinestream_workers.totals import Totals
from scraping import told
from scripted import ScriptedSource, scripted_frame
from waiting import wait_until


@dataclass(eq=False)
class Collected:
    """A collector that says what it was given."""

    made: tuple[Metric, ...]

    def collect(self) -> tuple[Metric, ...]:
        return self.made


def test_the_causes_are_those_that_are_given() -> None:
    given = {outcomes.UNDECODABLE, outcomes.ENGINE_FAILED, outcomes.UNPREPARED, outcomes.GIVEN_UP}
    assert {*CAUSES["failed"]} == given and CAUSES["stale"] == (outcomes.TOO_OLD,)
    assert {REDIS_FULL, SIZE_CHANGED, EncodeError("").cause} < {*INGEST_CAUSES}


def test_a_histogram_is_cumulative_and_in_seconds() -> None:
    counted = Cumulative()
    for ms in (-5.0, 0.05, 1.0, 30.0, 30.0, 1e9):
        counted.add(ms)
    scrape = told(Collected((seconds_family("x_seconds", "Of a test.", "stage", {"a": counted}),)))
    buckets = {s.labels["le"]: s.value for s in scrape.families["x_seconds"].samples if "le" in s.labels}
    assert scrape.sum("x_seconds_count") == buckets["+Inf"] == 6
    assert scrape.sum("x_seconds_sum") == pytest.approx((0.05 + 1 + 30 + 30 + 1e9) / 1000)
    bounds = [float(le) for le in buckets]
    assert bounds == sorted(bounds) and bounds[-2] == pytest.approx(BOUNDS_MS[75] / 1000, rel=1e-3)
    assert max(value for le, value in buckets.items() if float(le) < 0.03) == 3
    assert min(value for le, value in buckets.items() if 0.06 < float(le) < 100) == 5


def test_batches_are_counted_once(keys: Keys) -> None:
    totals = Totals()
    for batch, frames in ((1, 3), (2, 4), (4, 8), (3, 2)):  # of the last one, a frame was another worker's
        for _ in range(frames):
            result = PoseResult(camera="cam", run=1, seq=0, status="ok", batch=batch, timings={"queued": 1.0})
            totals.add(result)
    demand = SimpleNamespace(decision=SimpleNamespace(batch=4, window_ms=0.0), target=None)
    worker = SimpleNamespace(totals=totals, held=2, demand=demand)
    engine = SimpleNamespace(name="model", description="engine")
    scrape = told(WorkerMetrics(worker, engine, "w"))  # type: ignore[arg-type]
    name = "kinestream_worker_batch_frames"
    assert [scrape.sum(f"{name}_bucket", le=le) for le in ("1.0", "2.0", "4.0", "256.0", "+Inf")] == [
        3,
        5,
        7,
        7,
        7,
    ]
    assert scrape.sum(f"{name}_sum") == 3 + 4 + 8
    assert scrape.sum("kinestream_worker_stage_seconds_sum", stage="end-to-end") == pytest.approx(0.017)
    assert scrape.sum("kinestream_worker_info", worker="w", model="model", engine="engine") == 1


async def test_a_source_that_breaks_and_comes_back_is_counted_on(redis: Redis, keys: Keys) -> None:
    """Two connections of one camera: each number is the sum of both, and the ledgers' own."""
    first, second = ScriptedSource(), ScriptedSource()
    first.give(*map(scripted_frame, range(3)), SourceError("unplugged"))
    stop = asyncio.Event()
    feed = Feed(
        redis,
        first,
        camera="cam",
        lane="every-frame",
        reopen=lambda: second,
        stop=stop,
        keys=keys,  # type: ignore[arg-type]
    )
    metrics = IngestMetrics(lambda: [feed])

    def value(name: str) -> float:
        return told(metrics).sum(f"kinestream_ingest_{name}", camera="cam")

    producing = asyncio.create_task(feed.produce())
    await wait_until(lambda: value("connected") == 0, "the source is away")
    assert value("run_open") == 0
    assert value("offered_frames_total") == 3
    await wait_until(lambda: value("runs_total") == 2, "it is back")
    assert value("connected") == value("run_open") == 1
    second.give(scripted_frame(0), scripted_frame(1, image=broken()), scripted_frame(2))
    await wait_until(lambda: value("offered_frames_total") == 5, "the frames of the second connection")
    assert value("captured_frames_total") == value("source_frames_total") == 6
    assert value("given_up_frames_total") == 1
    assert told(metrics).sum("kinestream_ingest_given_up_frames_total", cause="encoder-failed") == 1
    assert value("encode_seconds_count") == 5
    ledgers = [await read_ledger(redis, "cam", run, keys=keys) for run in feed.runs]
    assert [ledger.produced for ledger in ledgers if ledger] == [3, 3]
    assert [ledger.dropped for ledger in ledgers if ledger] == [0, 1]
    stop.set()
    await producing
    assert value("connected") == value("run_open") == 0


async def test_a_camera_that_another_process_has_begun_is_not_connected_here(
    redis: Redis, keys: Keys
) -> None:
    source = ScriptedSource()
    source.give(scripted_frame(0))
    feed = Feed(redis, source, camera="cam", lane="live", keys=keys)
    metrics = IngestMetrics(lambda: [feed])

    def told_of_it() -> list[float]:
        scrape = told(metrics)
        return [scrape.sum(f"kinestream_ingest_{name}", camera="cam") for name in ("connected", "run_open")]

    producing = asyncio.create_task(feed.produce())
    await wait_until(lambda: feed.offered == 1, "its first frame is offered")
    assert told_of_it() == [1, 1]
    await Run.begin(redis, "cam", lane="live", keys=keys)
    source.give(scripted_frame(1))
    with pytest.raises(Fenced):
        await producing
    assert told_of_it() == [0, 0]


def broken() -> Any:
    """No picture at all: the encoder refuses it."""
    import numpy as np

    return np.zeros((0, 0, 3), np.uint8)
