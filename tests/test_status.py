"""`kinestream status`: every term of every camera's sum, for people and for programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from filmed import Stage, frame
from kinestream.keys import Keys
from kinestream.redis import connect
from kinestream.run import Run
from pipeline import KINESTREAM, TIMEOUT_S, run
from servers import Server

LONG = "a-camera-whose-name-is-as-long-as-a-name-may-be-which-is-long-64"
TITLES = ["camera", "now", "produced", "ok", "dropped", "stale", "failed", "lost", "in", "flight"]

NO_WORKER = "no worker is at work; start one with: kinestream worker"
"""It is so in these tests, which commit by themselves."""


@pytest.fixture
def server(place: Path, own_server: Callable[..., Server]) -> Server:
    """A server whose usual keys are this test's."""
    return own_server()


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    async with connect(server.url) as client:
        yield client


@pytest.fixture
def stage(redis: Redis) -> Stage:
    return Stage(redis, Keys())


def status(server: Server, *words: str, columns: int | None = None) -> list[str]:
    """The lines that it prints, to a pipe, or as if to so many columns."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {"COLUMNS": str(columns)} if columns else {}
    ended = subprocess.run(
        [*KINESTREAM, "status", "--redis", server.url, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=TIMEOUT_S,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return [line.rstrip() for line in ended.stdout.splitlines() if line != NO_WORKER]


def test_before_anything_has_begun(server: Server) -> None:
    assert status(server) == [
        "no camera has begun a run yet; begin one with: kinestream ingest SOURCE --camera NAME"
    ]
    assert status(server, "--json") == []


async def test_every_term(server: Server, stage: Stage) -> None:
    left = await stage.begin("left")
    held = await stage.take(left, 6)
    await stage.commit(held[:3])
    await stage.commit(held[3:4], status="stale")
    assert await left.offer(frame(left, 8), gap_cause="encoder-failed") == "ok"
    right = await stage.begin("right")
    await stage.play(right, 2)
    await right.finish()

    table = status(server)
    assert table[0].split() == TITLES
    assert table[1].split() == ["left", "every-frame", "9", "3", "2", "1", "0", "0", "3"]
    assert table[2].split() == ["right", "ended", "2", "2", "0", "0", "0", "0", "0"]
    assert table[3] == f"left run {left.number}: 2 dropped encoder-failed, 1 stale too-old"
    assert re.fullmatch(r"left: 1 frames wait, the oldest for \d+\.\d s", table[4])
    assert table[5:] == ["balanced: every frame of these runs is accounted for"]

    first, second = map(json.loads, status(server, "--json"))
    assert (first["camera"], first["run"], first["lane"], first["state"]) == (
        "left",
        left.number,
        "every-frame",
        "open",
    )
    assert (first["in_flight"], first["held"], first["waiting"], first["balanced"]) == (3, 2, 1, True)
    assert first["oldest_waiting_s"] > 0 == second["oldest_waiting_s"]
    assert first["causes"] == {"dropped:encoder-failed": 2, "stale:too-old": 1}
    assert (second["camera"], second["state"], second["ok"]) == ("right", "ended", 2)


async def test_the_newest_run_counts(server: Server, stage: Stage) -> None:
    await stage.play(await stage.begin("left"), 4)
    newest = await stage.begin("left")
    await stage.play(newest, 1)
    assert [line.split()[2] for line in status(server)[1:-1]] == ["1"]
    (only,) = map(json.loads, status(server, "--json"))
    assert (only["run"], only["produced"]) == (newest.number, 1)


async def test_a_sum_that_does_not_balance_is_told(server: Server, stage: Stage) -> None:
    left = await stage.begin("left")
    await stage.play(left, 4)
    await stage.redis.hincrby(Keys().ledger("left", left.number), "ok", -1)  # no script of ours does this
    assert status(server)[-1] == f"left run {left.number}: NOT BALANCED, +1 frames are unaccounted for"
    assert not json.loads(status(server, "--json")[0])["balanced"]


async def test_80_columns_are_enough(server: Server, stage: Stage) -> None:
    for camera in ("left", LONG):
        await stage.play(await stage.begin(camera), 2)
    await Run.begin(stage.redis, "a-live-one", lane="live", keys=Keys())
    table = status(server, columns=80)[:-1]
    assert max(map(len, table)) <= 80
    assert "…" not in "".join(table)
    assert table[0].split() == TITLES
    named = [line for line in table[1:] if not line.startswith(("left", "a-live-one"))]
    assert "".join(line.split()[0] for line in named) == LONG
    piped = status(server)
    assert LONG in [line.split()[0] for line in piped], "a pipe has no columns: grep finds the whole name"


async def test_it_says_that_no_worker_is_at_work(server: Server, stage: Stage) -> None:
    assert NO_WORKER not in run("status", "--redis", server.url).stdout, "nothing is to be done yet"
    left = await stage.begin("left")
    assert run("status", "--redis", server.url).stdout.endswith(f"{NO_WORKER}\n")
    await left.finish()
    assert NO_WORKER not in run("status", "--redis", server.url).stdout


def test_without_redis(place: Path) -> None:
    for words in ([], ["--redis", "unix:///nowhere"]):
        ended = run("status", *words)
        assert ended.returncode == 1
        assert ended.stderr.startswith("kinestream status: no Redis ")
        assert ended.stderr.count("\n") == 1
