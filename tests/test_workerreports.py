"""Workers' reports: what a worker tells of itself, for how long, and how it is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from rich.console import Console

from engines import ScriptedEngine
from frames import frame, offer
from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held, Outcome
from kinestream.histogram import Histogram
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.overview import stage_table, worker_table
from kinestream.redis import connect
from kinestream.run import Run
from kinestream.workerreports import (
    STAGES,
    WorkerReport,
    merged_stages,
    publish_report,
    read_reports,
    withdraw_report,
)
from kinestream_workers.reporting import Reporter
from pipeline import KINESTREAM
from servers import Server
from waiting import wait_until
from working import wait_for_records, working


def report(name: str = "worker-a") -> WorkerReport:
    stages = {"decoded": Histogram({10: 3}), "inferred": Histogram({20: 2, 21: 1})}
    return WorkerReport(
        name=name, model="m", engine="e", committed=3, rate=1.5, batch=1.2, held=2, stages=stages
    )


OVERFLOW = report().pack().replace('"committed": 3', '"committed": 1e999').encode()


def shown(table: object) -> list[str]:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_report_survives_its_packing() -> None:
    read = WorkerReport.unpack(report().pack().encode())
    assert read is not None
    assert read.pack() == report().pack()
    assert read.stages["inferred"].counts == {20: 2, 21: 1}


@pytest.mark.parametrize(
    "packed",
    [b"", b"[]", b"{}", b"\xff", report().pack().replace("20", "900").encode(), b'{"stages": 3}', OVERFLOW],
)
def test_what_cannot_be_read_is_none(packed: bytes) -> None:
    assert WorkerReport.unpack(packed) is None


async def test_reports_are_found_by_name_until_they_are_withdrawn(redis: Redis, keys: Keys) -> None:
    assert await read_reports(redis, keys=keys) == []
    for name in ("worker-b", "worker-a"):
        await publish_report(redis, report(name), keys=keys)
    assert [found.name for found in await read_reports(redis, keys=keys)] == ["worker-a", "worker-b"]
    assert 0 < await redis.ttl(keys.worker("worker-a")) <= 15
    await withdraw_report(redis, "worker-a", keys=keys)
    assert [found.name for found in await read_reports(redis, keys=keys)] == ["worker-b"]
    await redis.delete(keys.worker("worker-b"))  # as if it had expired
    assert await read_reports(redis, keys=keys) == []


async def test_workers_that_are_long_gone_are_forgotten(redis: Redis, keys: Keys) -> None:
    await redis.zadd(keys.workers, {"of-last-week": 1000})
    await publish_report(redis, report(), keys=keys)
    assert await redis.zrange(keys.workers, 0, -1) == [b"worker-a"]


async def test_a_name_that_is_no_text_hides_no_other_worker(redis: Redis, keys: Keys) -> None:
    await publish_report(redis, report(), keys=keys)
    await redis.zadd(keys.workers, {b"\xff": 9e15})
    assert [found.name for found in await read_reports(redis, keys=keys)] == ["worker-a"]


def test_stages_of_several_workers_are_taken_together() -> None:
    merged = merged_stages([report("a"), report("b")])
    assert [*merged] == ["decoded", "inferred"], "in their order, and only those that were measured"
    assert merged["inferred"].counts == {20: 4, 21: 2}


def ok(seq: int, batch: int, **timings: float) -> Outcome:
    result = PoseResult(camera="c", run=1, seq=seq, status="ok", batch=batch, timings=timings)
    return Outcome(Held("c", 1, seq, b"", 1, 0.0), result)


def test_what_a_worker_measures(redis: Redis, keys: Keys) -> None:
    now = 100.0
    consumer = GroupConsumer(redis, "worker-a", keys=keys)
    reporter = Reporter(consumer, ScriptedEngine(), lambda: 7, clock=lambda: now)
    reporter.count(
        [ok(0, 3, decoded=2, inferred=10), ok(1, 3, decoded=2), ok(2, 3, decoded=2), ok(3, 1, decoded=4)]
    )
    stale = PoseResult(camera="c", run=1, seq=4, status="stale", cause="too-old")
    reporter.count([Outcome(Held("c", 1, 4, b"", 1, 0.0), stale)])
    now = 110.0
    told = reporter.report()
    assert (told.name, told.model, told.committed, told.held) == ("worker-a", "scripted", 5, 7)
    assert told.rate == pytest.approx(0.5) and told.batch == pytest.approx(2.0)
    assert {stage: histogram.total for stage, histogram in told.stages.items() if histogram.total} == {
        "decoded": 4,
        "inferred": 1,
        "end to end": 4,
    }
    assert told.stages["end to end"].quantile(1) == pytest.approx(12, rel=0.2)
    for _ in range(3):
        now += 100
        told = reporter.report()
    assert (told.committed, told.rate) == (5, 0.0), "the rate is that of lately"
    assert merged_stages([told]) == {}


async def test_a_worker_reports_while_it_works_and_not_after(redis: Redis, keys: Keys) -> None:
    run = await Run.begin(redis, "left", lane="every-frame", keys=keys)
    await offer(run, 4)
    async with working(redis, keys, ScriptedEngine()):
        await wait_for_records(redis, keys, 4)

        async def told() -> list[WorkerReport]:
            return [found for found in await read_reports(redis, keys=keys) if found.committed == 4]

        (found,) = await wait_until(told, "a report of four frames")
        assert found.model == "scripted" and 1 <= found.batch <= 2
        assert {"decoded", "inferred", "end to end"} <= merged_stages([found]).keys()
    assert await read_reports(redis, keys=keys) == []


async def test_a_report_that_is_refused_is_no_trouble(keys: Keys, own_server: Callable[..., Server]) -> None:
    server = own_server(maxmemory="20mb")
    async with connect(server.url) as redis:
        run = await Run.begin(redis, "left", lane="every-frame", keys=keys)
        await offer(run, 2)
        with pytest.raises(Exception, match="maxmemory"):
            while True:
                await redis.rpush("ballast", b"x" * 2**16)
        async with working(redis, keys, ScriptedEngine()):
            await wait_for_records(redis, keys, 2)
            await redis.delete("ballast")
            await offer(run, 1)
            await wait_for_records(redis, keys, 3)


def test_how_it_is_shown() -> None:
    lines = shown(worker_table([report()]))
    assert lines[0].split() == ["worker", "model", "committed", "frames/s", "batch", "held"]
    assert lines[1].split() == ["worker-a", "m", "3", "1.5", "1.2", "2"]
    lines = shown(stage_table({STAGES[0]: Histogram({0: 5})}))
    assert lines[0].split() == ["stage", "p50", "ms", "p95", "ms", "p99", "ms", "frames"]
    assert lines[1].split()[0] == "encoded" and lines[1].split()[-1] == "5"


async def test_status_shows_workers_and_stages(place: Path, own_server: Callable[..., Server]) -> None:
    url = own_server().url

    async def status(*words: str) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *(*KINESTREAM, "status", "--redis", url, *words), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode().splitlines()

    async with connect(url) as redis:
        run = await Run.begin(redis, "left", lane="every-frame")
        await run.offer(frame(run, 0))
        await publish_report(redis, report())
        lines = await status()
        assert "balanced: every frame of these runs is accounted for" in lines
        assert [line.split()[0] for line in lines if line.startswith(("worker", "decoded", "inferred"))] == [
            "worker",
            "worker-a",
            "decoded",
            "inferred",
        ]
        camera, worker, decoded, inferred = map(json.loads, await status("--json"))
        assert (camera["camera"], worker["worker"], worker["rate"]) == ("left", "worker-a", 1.5)
        assert (decoded["stage"], inferred["stage"], inferred["frames"]) == ("decoded", "inferred", 3)
        assert inferred["p50_ms"] <= inferred["p95_ms"] <= inferred["p99_ms"]


async def test_status_goes_on_until_it_is_told_to_stop(
    place: Path, own_server: Callable[..., Server]
) -> None:
    url = own_server().url
    async with connect(url) as redis:
        run = await Run.begin(redis, "left", lane="every-frame")
        watching = await asyncio.create_subprocess_exec(
            *(*KINESTREAM, "status", "--redis", url, "--watch", "--json"), stdout=asyncio.subprocess.PIPE
        )
        assert watching.stdout is not None
        produced = []
        for count in (1, 2):
            await offer(run, 1)
            async with asyncio.timeout(30):
                while not produced or produced[-1] < count:
                    produced.append(json.loads(await watching.stdout.readline())["produced"])
        watching.terminate()
        assert await watching.wait() == 0
    assert produced == sorted(produced)
