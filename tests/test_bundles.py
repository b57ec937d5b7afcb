"""`subscribe_bundles` against a real server: made-up cameras, two test cards, and two films of one scene.

Not for: what belongs together (see `test_bundling.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from delivering import Delivery, outcome
from kinestream import Keys, PoseResult, UsageError, subscribe_bundles
from kinestream.bundle import Bundle
from kinestream.bundlecursor import Place
from kinestream.bundles import bundled
from kinestream.bundling import Bundler
from kinestream.cursor import Cursor, EntryId
from kinestream.embedded import find_redis_url
from kinestream.groupconsumer import GroupConsumer
from kinestream.run import Run
from kinestream.testcard import TestCard, compare
from kinestream_ingest.producer import Producer
from kinestream_ingest.sources import NoPicture, SourceFrame
from kinestream_ingest.sources.testcard import TestCardSource
from kinestream_workers.engines import EngineOptions
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.graphs import graph_path
from pipeline import MEDIA, Command, redis_and_workers
from scenarios import record
from working import working

BOTH = ["left", "right"]


async def take(bundles: AsyncGenerator[Bundle, None], count: int) -> list[Bundle]:
    """The next bundles."""
    async with asyncio.timeout(30):
        return [await anext(bundles) for _ in range(count)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"cameras": "left"}, "cameras must be a list of at least two names"),
        ({"cameras": ["left"]}, "at least two names, got \\['left'\\]"),
        ({"cameras": ["left", "right", "left"]}, "must be different ones"),
        ({"cameras": ["left", "no spaces"]}, "a camera name is"),
        ({"tolerance_ms": -1}, "tolerance_ms must be at least 0, got -1"),
        ({"tolerance_ms": "16"}, "tolerance_ms must be at least 0, got '16'"),
        ({"start": None}, "a start is now, beginning or the cursor of a bundle, got None"),
        ({"tolerance_ms": math.nan}, "tolerance_ms must be"),
        ({"wait_s": math.inf}, "wait_s must be at least 0, got inf"),
        ({"max_held": 1}, "max_held must be at least 2, one a camera, got 1"),
        ({"clock": "sun"}, "clock must be captured or media, got 'sun'"),
        ({"offsets_ms": {"middle": 1}}, "offsets_ms has middle, of which no bundle"),
        ({"offsets_ms": {"left": math.nan}}, "offsets_ms must be milliseconds"),
        ({"start": "yesterday"}, "a start is now, beginning or the cursor"),
        ({"start": "c1~7~3"}, "one made with order=True, got 'c1~7~3'"),
    ],
)
def test_mistakes_are_told_at_once(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        subscribe_bundles("redis://localhost", **{"cameras": BOTH, "tolerance_ms": 5} | arguments)


class Camera:
    """One whose frames a test offers and commits as it likes."""

    def __init__(self, delivery: Delivery, name: str) -> None:
        self._delivery, self.name = delivery, name
        self._worker: GroupConsumer = delivery.worker()
        self._run: Run | None = None
        self._seq = 0

    async def show(self, *times_ms: float) -> None:
        """Frames that were captured then, committed at once."""
        if self._run is None:
            self._run = await self._delivery.begin(camera=self.name)
        for ms in times_ms:
            await self._delivery.offer(self._run, self._seq)
            (held,) = await self._worker.take([self.name], 1)
            done = outcome(held)
            await self._worker.commit(
                [replace(done, result=replace(done.result, captured_us=round(1000 * ms)))]
            )
            self._seq += 1

    async def end(self) -> None:
        assert self._run is not None
        await self._run.finish()


@pytest.fixture
def cameras(redis: Redis, keys: Keys) -> tuple[Camera, Camera]:
    delivery = Delivery(redis, keys)
    return Camera(delivery, "left"), Camera(delivery, "right")


async def test_frames_meet_as_they_come(redis: Redis, keys: Keys, cameras: tuple[Camera, Camera]) -> None:
    left, right = cameras
    bundles = subscribe_bundles(redis, BOTH, tolerance_ms=5, keys=keys, start="beginning")
    async with contextlib.aclosing(bundles):
        await left.show(100, 140)
        await right.show(103)
        (first,) = await take(bundles, 1)
        assert (first.complete, first.at_us, first.spread_ms) == (True, 100_000, 3)
        await right.end()
        (second,) = await take(bundles, 1)
        assert second.members["right"].status == "ended"


async def test_killed_at_every_bundle_it_misses_nothing_and_repeats_nothing(
    every_redis: Redis, keys: Keys
) -> None:
    left, right = (Camera(Delivery(every_redis, keys), name) for name in BOTH)
    how: dict[str, Any] = {"tolerance_ms": 5, "keys": keys, "wait_s": 20}

    async def next_one(start: str) -> Bundle:
        bundles = subscribe_bundles(every_redis, BOTH, start=start, **how)
        async with contextlib.aclosing(bundles):
            return (await take(bundles, 1))[0]

    await left.show(0, 40, 80)
    await right.show(1, 83)
    await right.end()
    lives: list[Bundle] = []
    start = "beginning"
    for _ in range(3):
        lives.append(await next_one(start))
        start = lives[-1].cursor
    assert [len(bundle.results) for bundle in lives] == [2, 1, 2]
    following = asyncio.create_task(next_one(start))
    await left.show(120)  # nobody waits for the one that has ended
    last = await following
    assert last.members["right"].status == "ended" and last.results["left"].captured_us == 120_000
    frames = [(one.camera, one.seq) for bundle in (*lives, last) for one in bundle.results.values()]
    assert sorted(frames) == [*(("left", seq) for seq in range(4)), *(("right", seq) for seq in range(2))]


async def test_a_camera_that_never_comes_holds_the_other_for_the_wait_alone(
    redis: Redis, keys: Keys, cameras: tuple[Camera, Camera]
) -> None:
    left, _ = cameras
    bundles = subscribe_bundles(redis, BOTH, tolerance_ms=5, keys=keys, start="beginning", wait_s=0.2)
    async with contextlib.aclosing(bundles):
        await left.show(100, 140, 180)
        told = [bundle.members["right"] for bundle in await take(bundles, 3)]
    assert [(one.status, one.cause) for one in told] == [
        ("not-yet", "not-in-time"),
        ("not-yet", "silent"),
        ("not-yet", "silent"),
    ]


async def test_leaves_nothing_running_when_it_is_cancelled(redis: Redis, keys: Keys) -> None:
    before = asyncio.all_tasks()
    bundles = subscribe_bundles(redis, BOTH, tolerance_ms=5, keys=keys)
    waiting = asyncio.ensure_future(anext(bundles))
    await asyncio.sleep(0.05)  # nothing to wait for: this is about what does not happen
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await bundles.aclose()
    assert asyncio.all_tasks() == before


async def test_a_slow_taker_is_no_slow_camera() -> None:
    """All records are there, but the taker looks after each bundle for longer than a camera is waited for."""

    async def committed() -> AsyncGenerator[PoseResult, None]:
        for seq in range(4):
            for camera in BOTH:
                one = record(seq, camera=camera, captured_us=40_000 * seq)
                object.__setattr__(one, "committed_ms", 1000 + 40 * seq)
                object.__setattr__(one, "cursor", str(start))
                yield one
        await asyncio.Event().wait()

    start = Cursor(following=EntryId(0, 0), ordered=True)
    into = Bundler(BOTH, tolerance_us=5000, wait_ms=50, max_held=100)
    seen = []
    async with contextlib.aclosing(bundled(committed(), into, Place(start))) as bundles:
        for _ in range(4):
            seen.append(await anext(bundles))
            await asyncio.sleep(0.1)  # the taker's own time, which is what this is about
    assert all(bundle.complete for bundle in seen)


CARD = "testcard://?athletes=2&motion=squat&fps=25&size=640x360&seed=11&seconds=1.2"
FRAMES = 30
AHEAD_US, JITTER_US = 7_000, 3_000
CUT, SKIPPED = {7, 8, 27}, {12, 22, 23}


class DisturbedCard:
    """A test card as a bad camera sends it: a clock that is ahead, jitter, pictures cut and never made."""

    def __init__(
        self, *, ahead_us: int = 0, jitter: random.Random | None = None, spoilt: bool = False
    ) -> None:
        self._card = TestCardSource(CARD, "unpaced")
        self._ahead_us, self._jitter, self._spoilt = ahead_us, jitter, spoilt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._card, name)

    def __iter__(self) -> Iterator[SourceFrame]:
        for number, frame in enumerate(self._card):
            if self._spoilt and number in SKIPPED:
                continue
            # As of cameras that were filmed together: the card's own clock, whenever this one is read.
            captured_us = 1_700_000_000_000_000 + round(1e6 * (frame.media_time_s or 0)) + self._ahead_us
            captured_us += self._jitter.randint(-JITTER_US, JITTER_US)
            cut = self._spoilt and number in CUT
            yield replace(frame, captured_us=captured_us, **({"picture": _cut} if cut else {}))  # type: ignore[arg-type]


def _cut(label: str) -> Any:
    raise NoPicture("cut")


async def test_two_cards_with_offset_jitter_and_drops(redis: Redis, keys: Keys) -> None:
    sources = {
        "left": DisturbedCard(jitter=random.Random(1)),
        "right": DisturbedCard(ahead_us=AHEAD_US, jitter=random.Random(2), spoilt=True),
    }
    bundles = subscribe_bundles(
        redis,
        BOTH,
        # Below half of 40 ms, and the offset alone would not fit into it on top of the jitter.
        tolerance_ms=2 * JITTER_US / 1000,
        offsets_ms={"right": -AHEAD_US / 1000},
        wait_s=20,
        keys=keys,
        start="beginning",
    )
    engine: Any = RtmoEngine(graph_path("testcard-dynamic"), EngineOptions(threads=1))
    async with (
        working(redis, keys, _Gated(engine)),  # type: ignore[arg-type]
        contextlib.aclosing(bundles),
        asyncio.TaskGroup() as both,
    ):
        for camera, source in sources.items():
            producer = Producer(redis, source, camera=camera, lane="every-frame", keys=keys)  # type: ignore[arg-type]
            both.create_task(producer.produce())
        seen = await take(bundles, FRAMES)
    card = TestCard.parse(CARD)
    for number, bundle in enumerate(seen):
        left, right = (bundle.members[camera] for camera in BOTH)
        assert left.result is not None
        assert left.result.media_time_s == pytest.approx(card.frame_time(number))
        if number in CUT | SKIPPED:
            near_cut = number in CUT
            assert (right.status, right.cause) == (("dropped", "cut") if near_cut else ("no-frame", ""))
            continue
        assert bundle.complete and right.result is not None
        assert bundle.spread_ms <= 2 * JITTER_US / 1000
        assert right.result.media_time_s == left.result.media_time_s, "the very same instant"
        for result in bundle.results.values():
            truth = card.truth(card.frame_time(number))
            read = np.array([person.keypoints for person in result.people])
            assert np.quantile(compare(truth, read, min_score=0.3).errors_px, 0.9) < 1.0


class _Gated:
    """A real engine, with the gate that the helper for workers opens at the end."""

    def __init__(self, engine: RtmoEngine) -> None:
        self._engine = engine
        self.gate = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


MODEL = MEDIA.parent / "models" / "pose_landmarker_lite.task"
FILMS = {f"cam{number}": MEDIA / f"multiperson_cam{number}.mp4" for number in ("01", "02")}


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="the extra mediapipe")
@pytest.mark.skipif(not MODEL.exists(), reason=f"there is no {MODEL}: models are not part of the repository")
@pytest.mark.skipif(
    not all(path.exists() for path in FILMS.values()),
    reason=f"there is no {FILMS['cam01']}: real pictures are not part of the repository",
)
async def test_two_films_of_one_scene(
    place: Path, tmp_path: Path, nothing_left: Callable[[], list[int]]
) -> None:
    with (
        redis_and_workers(tmp_path, workers=1, options=["--model", str(MODEL)]),
        contextlib.ExitStack() as stack,
    ):
        for camera, film in FILMS.items():
            options = ["--camera", camera, "--every", "33", "--max-side", "640"]
            stack.enter_context(Command(tmp_path / f"{camera}.txt", "ingest", film, *options))
        bundles = subscribe_bundles(
            find_redis_url(None), [*FILMS], tolerance_ms=8, clock="media", start="beginning"
        )
        async with asyncio.timeout(80):
            seen = [bundle async for bundle in bundles]
    assert [bundle.at_us for bundle in seen] == [round(1e6 * 33 * step / 60) for step in range(4)]
    assert all(bundle.complete and bundle.spread_ms < 1 for bundle in seen)
    assert all(result.people for bundle in seen for result in bundle.results.values())
