"""Killed and frozen processes: no frame is lost or told twice, and nobody survives whom they belong to.

Not for: the delivery scripts' own promises (see `test_delivery_property.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from films import write_film
from kinestream.delivery import untyped
from kinestream.embedded import find_redis_url
from kinestream.keys import Keys
from kinestream.ledger import read_ledgers
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream.testcard import TestCard
from pipeline import TIMEOUT_S, Command, counts, read_to_the_end, redis_and_workers, run, seqs
from waiting import wait_until, wait_until_sync

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

CARD = "testcard://?athletes=3&fps=15&size=640x360&loop=1"
"""Without an end, and cheap: a test says when the story is over."""

LANES = {"gate": "every-frame", "hall": "every-frame", "court": "live"}

FROZEN_S = 5.0


async def test_one_worker_is_killed_and_one_is_frozen(place: Path, tmp_path: Path) -> None:
    with redis_and_workers(tmp_path, workers=2, options=["--lease-ms", "1500"]) as (first, second):
        url = find_redis_url(None)
        with contextlib.ExitStack() as stack:
            cameras = [
                stack.enter_context(Command(tmp_path / f"{name}.txt", *ingest(name))) for name in LANES
            ]
            reading = asyncio.create_task(read_to_the_end(url, LANES))
            async with connect(url) as redis:
                await frames_are_inferred(redis)
                first_takes_over, second_takes_over = takes_over(first), takes_over(second)
                await stop_with_frames_in_hand(redis, second)
                frozen_s = time.monotonic()
                await wait_until(first_takes_over, "the first worker to take over", timeout=TIMEOUT_S)
                await stop_with_frames_in_hand(redis, first)
                first.signal(signal.SIGKILL)
                await asyncio.sleep(max(0.0, frozen_s + FROZEN_S - time.monotonic()))
                second.signal(signal.SIGCONT)
                await wait_until(second_takes_over, "the second worker to take over", timeout=TIMEOUT_S)
                await frames_are_inferred(redis)
            for camera in cameras:
                camera.signal(signal.SIGTERM)
                assert await asyncio.to_thread(camera.wait) == 0, camera.said
        async with asyncio.timeout(TIMEOUT_S):
            records = await reading
        await check_sums(url, records)
        assert first.wait() == -signal.SIGKILL
        second.signal(signal.SIGTERM)
        assert second.wait() == 0, second.said
    assert {record.worker for record in records if record.status == "ok"} == {"worker-1", "worker-2"}


def ingest(camera: str) -> list[str]:
    return ["ingest", CARD, "--camera", camera, "--lane", LANES[camera], "--realtime"]


async def frames_are_inferred(redis: Redis) -> None:
    """Wait until every camera has had some more results."""
    before = {ledger.camera: ledger.ok for ledger in await read_ledgers(redis)}

    async def some_more() -> bool:
        ledgers = await read_ledgers(redis)
        return len(ledgers) == len(LANES) and all(
            ledger.ok >= before.get(ledger.camera, 0) + 10 for ledger in ledgers
        )

    await wait_until(some_more, "ten more results of every camera", timeout=TIMEOUT_S)


async def stop_with_frames_in_hand(redis: Redis, worker: Command) -> None:
    """Freeze a worker at a moment when it holds frames, which then are nobody's for a lease."""

    async def frozen_with_frames() -> bool:
        worker.signal(signal.SIGSTOP)
        if await held_by(redis, worker.log.stem):
            return True
        worker.signal(signal.SIGCONT)
        return False

    await wait_until(frozen_with_frames, "a worker to hold frames")


async def held_by(redis: Redis, worker: str) -> int:
    held = 0
    for camera in LANES:
        consumers = await untyped(redis).xinfo_consumers(Keys().frames(camera), "workers")
        held += sum(found["pending"] for found in consumers if found["name"] == worker.encode())
    return held


def takes_over(worker: Command) -> Callable[[], bool]:
    """Whether a worker has swept up frames of another one since this call."""
    before = worker.said.count("go to others")
    return lambda: worker.said.count("go to others") > before


async def check_sums(url: str, records: Sequence[PoseResult]) -> None:
    """Hold what a subscriber was given in order against the stream itself, and both against the ledgers."""
    async with connect(url) as redis:
        ledgers = {ledger.camera: ledger for ledger in await read_ledgers(redis)}
        entries = await untyped(redis).xrange(Keys().results)
    published = [PoseResult.unpack(fields[b"result"]) for _, fields in entries]
    for camera, lane in LANES.items():
        own = [record for record in records if record.camera == camera]
        *frames, end = own
        assert end.status == "end" and end.seq > 20
        assert {record.run for record in own} == {end.run}
        assert seqs(own) == list(range(end.seq)), f"{camera}: every frame once, in order"
        told = Counter(seqs(record for record in published if record.camera == camera))
        assert told == Counter(range(end.seq)), f"{camera}: every frame is published once"
        counted = counts(frames)
        assert set(counted) <= ({"ok"} if lane == "every-frame" else {"ok", "dropped", "stale"})
        ledger = ledgers[camera]
        assert (ledger.state, ledger.produced, ledger.in_flight) == ("ended", end.seq, 0)
        assert ledger.balanced
        assert {status: getattr(ledger, status) for status in counted} == counted


# ---- The end of the owner


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a test card, long enough to be interrupted."""
    card = TestCard(width=320, height=180)
    times_s = [number / 30 for number in range(150)]
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", card, times_s)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.parametrize(("command", "children"), [("redis", 1), ("process", 3), ("demo", 5)])
def test_a_killed_owner_takes_all_along_and_the_next_command_works(
    place: Path,
    tmp_path: Path,
    film: Path,
    nothing_left: Callable[[], list[int]],
    command: str,
    children: int,
) -> None:
    output = tmp_path / "output"
    words: dict[str, tuple[list[str | Path], str, int]] = {
        "redis": (["redis"], "Redis is ready", 1),
        "process": (["process", film, "-o", output, "--model", "testcard"], " begins, ", 1),
        "demo": (["demo", "--source", CARD, "--source", CARD, "-o", output], " begins, ", 2),
    }
    arguments, sign, times = words[command]
    with Command(tmp_path / "said.txt", *arguments) as owner:
        owner.wait_to_say(sign, times)
        wait_until_sync(lambda: len(nothing_left()) == 1 + children, f"{children} children to run")
        owner.signal(signal.SIGKILL)
        assert owner.wait() == -signal.SIGKILL
    wait_until_sync(lambda: not nothing_left(), "all of them to end")
    # The server of `process` is a private one, in a directory of its own.
    assert [*place.rglob("redis.sock")], "a stale socket, or this test shows less"
    done = run("status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kinestream status: no Redis is running for this user: start one with ")
    assert done.stderr.count("\n") == 1
    with Command(tmp_path / "next.txt", "redis") as following:
        following.wait_to_say("Redis is ready")
        done = run("status")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("no camera has begun a run yet")
