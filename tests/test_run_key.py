"""`kinestream ingest --run-key`: a reader that was killed is started again, as if nothing had been."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobbing import Yard, yard
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream.run import Run, run_of_token
from pipeline import TIMEOUT_S
from servers import Server
from waiting import wait_until_sync

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

FRAMES = 120


@pytest.fixture
def stage(
    nothing_left: Callable[[], list[int]], tmp_path: Path, own_server: Callable[..., Server]
) -> Iterator[Yard]:
    with yard(tmp_path, own_server()) as made:
        yield made


def records(stage: Yard, camera: str) -> list[PoseResult]:
    found = [PoseResult.unpack(fields[b"result"]) for _, fields in _entries(stage)]
    return sorted((record for record in found if record.camera == camera), key=lambda record: record.seq)


def _entries(stage: Yard) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return [
        (entry, dict(zip(fields[::2], fields[1::2], strict=True)) if isinstance(fields, list) else fields)
        for entry, fields in stage.redis("XRANGE", "ks:{0}:results", "-", "+")
    ]


def run_of(stage: Yard, camera: str) -> int:
    return int(stage.redis("HGET", "ks:{0}:cameras", camera) or 0)


def produced(stage: Yard, camera: str) -> int:
    return int(stage.redis("HGET", f"ks:{{0}}:ledger:{camera}:{run_of(stage, camera)}", "produced") or 0)


def _has_produced(stage: Yard, camera: str, frames: int) -> bool:
    return produced(stage, camera) > frames


def times(found: list[PoseResult]) -> list[tuple[int, int, float | None]]:
    """Each frame's time since the first, on both clocks."""
    frames = [record for record in found if record.status != "end"]
    first_us = frames[0].captured_us or 0
    return [(record.seq, (record.captured_us or 0) - first_us, record.media_time_s) for record in frames]


def test_killed_midway_and_started_again_it_is_one_run(stage: Yard) -> None:
    stage.worker(frame_ms=6)
    film = stage.film("jump.mp4", 2 * FRAMES)
    words = ("ingest", film, "--every", "2", "--run-key")
    whole = stage.start(*words, "undisturbed", "--camera", "whole")
    assert whole.wait() == 0, stage.said()
    for enough in (10, 30):
        reader = stage.start(*words, "k", "--camera", "broken")
        reader.wait_until(partial(_has_produced, stage, "broken", enough), "some frames")
        reader.signal(signal.SIGKILL)
        reader.wait()
        assert produced(stage, "broken") < FRAMES, "it was killed midway"
        run = run_of(stage, "broken")
    last = stage.start(*words, "k", "--camera", "broken")
    assert last.wait() == 0, stage.said()
    assert f"broken: run {run} goes on after" in last.said
    assert f"{FRAMES} produced" in last.said
    wait_until_sync(lambda: len(records(stage, "broken")) == FRAMES + 1, "every frame")
    found = records(stage, "broken")
    assert [record.run for record in found] == [run] * len(found)
    assert times(found) == times(records(stage, "whole"))
    assert [record.seq for record in found] == [*range(FRAMES), FRAMES]
    began_us = int(stage.redis("HGET", f"ks:{{0}}:ledger:broken:{run}", "began_us"))
    assert found[0].captured_us == began_us

    again = stage.run("ingest", film, "--every", "2", "--run-key", "k", "--camera", "broken")
    assert (again.returncode, again.stdout) == (
        0,
        f"broken: run {run}, which has this key, is over already\n",
    )
    assert run_of(stage, "broken") == run and len(records(stage, "broken")) == FRAMES + 1
    other = stage.run("ingest", film, "--every", "40", "--run-key", "other", "--camera", "broken")
    assert other.returncode == 0 and run_of(stage, "broken") > run, "another key is another run"


def test_two_that_have_one_key_make_one_run(stage: Yard) -> None:
    """So it is when the one that was believed dead lives."""
    film = stage.film("jump.mp4", FRAMES)
    words = ("ingest", film, "--camera", "hall", "--run-key", "k")
    one = stage.start(*words)
    one.wait_until(lambda: produced(stage, "hall") == 64, "as many frames as may wait")
    other = stage.start(*words)
    other.wait_to_say("goes on after 64 frames")
    stage.worker(frame_ms=2)
    one.wait()
    other.wait()
    wait_until_sync(lambda: len(records(stage, "hall")) == FRAMES + 1, "every frame")
    found = records(stage, "hall")
    assert [record.seq for record in found] == [*range(FRAMES), FRAMES]
    assert {record.run for record in found} == {run_of(stage, "hall")}


def test_a_run_that_redis_lost_is_not_replaced(stage: Yard) -> None:
    reader = stage.start("ingest", stage.film("jump.mp4", FRAMES), "--camera", "hall", "--run-key", "k")
    reader.wait_until(lambda: produced(stage, "hall") == 64, "as many frames as may wait")
    stage.server.restart()
    assert reader.wait() == 1
    assert "Traceback" not in reader.said
    assert not stage.redis("SMEMBERS", "ks:{0}:active"), "nothing is left open"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("testcard://?seconds=1", "--run-key", "k"), "is live"),
        (("{film}", "--lane", "live", "--run-key", "k"), "is live"),
        (("{film}", "--run-key", ""), "given an empty key"),
    ],
)
def test_wrong_uses_are_refused(stage: Yard, words: tuple[str, ...], why: str) -> None:
    film = stage.film("jump.mp4", 3)
    done: subprocess.CompletedProcess[Any] = stage.run("ingest", *(word.format(film=film) for word in words))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("kinestream ingest: --run-key KEY is for what is read once") and why in line
    assert not stage.redis("HGETALL", "ks:{0}:cameras")


async def test_only_the_open_run_of_the_token_is_gone_on_with(own_server: Callable[..., Server]) -> None:
    async with connect(own_server().url) as redis:
        assert await Run.resume(redis, "hall", token="k") is None
        run = await Run.begin(redis, "hall", lane="every-frame", token="k")
        assert await Run.resume(redis, "hall", token="other") is None
        resumed = await Run.resume(redis, "hall", token="k")
        assert resumed is not None and (resumed.number, resumed.lane) == (run.number, "every-frame")
        assert await run_of_token(redis, "hall", "k") == (run.number, True)
        await run.finish()
        assert await Run.resume(redis, "hall", token="k") is None
        assert await run_of_token(redis, "hall", "k") == (run.number, False)
        newer = await Run.begin(redis, "hall", lane="every-frame", token="newer")
        assert await run_of_token(redis, "hall", "k") == (0, False) and newer.number > run.number
