"""The desired state: what is wanted stands in Redis as it was said, and the command says it."""

from __future__ import annotations

import asyncio
import json

import pytest
from redis.asyncio import Redis

from kinestream.cameraspec import CameraSpec
from kinestream.cli import run
from kinestream.errors import UsageError
from kinestream.keys import Keys
from kinestream.packing import pack_map
from kinestream.wanted import (
    digest,
    drop_camera,
    pack_spec,
    pause_camera,
    read_wanted,
    unpack_spec,
    want_camera,
    wanted_cameras,
)

DOOR = CameraSpec(name="door", source="rtsp://viewer:${WORD}@10.0.0.7/x", max_fps=15, priority=3)
HALL = CameraSpec(name="hall", source="testcard://", region=((0, 0), (50, 0), (50, 50)))


async def test_wanted_paused_and_dropped(redis: Redis, keys: Keys) -> None:
    assert await wanted_cameras(redis, keys=keys) == []
    await want_camera(redis, HALL, keys=keys)
    await want_camera(redis, DOOR, keys=keys)
    assert await wanted_cameras(redis, keys=keys) == [DOOR, HALL]
    await pause_camera(redis, "door", True, keys=keys)
    door, hall = await wanted_cameras(redis, keys=keys)
    assert (door.paused, door.max_fps, hall) == (True, 15, HALL)
    await pause_camera(redis, "door", False, keys=keys)
    assert await wanted_cameras(redis, keys=keys) == [DOOR, HALL]
    assert await drop_camera(redis, "door", keys=keys)
    assert not await drop_camera(redis, "door", keys=keys)
    assert await wanted_cameras(redis, keys=keys) == [HALL]


async def test_who_pauses_a_camera_that_is_not_wanted_is_told(redis: Redis, keys: Keys) -> None:
    with pytest.raises(UsageError, match="no camera door is wanted"):
        await pause_camera(redis, "door", True, keys=keys)
    with pytest.raises(UsageError, match="a camera name is"):
        await drop_camera(redis, "a b", keys=keys)


async def test_who_pauses_many_at_once_loses_none(redis: Redis, keys: Keys) -> None:
    names = [f"cam-{number}" for number in range(12)]
    for name in names:
        await want_camera(redis, CameraSpec(name=name, source="0"), keys=keys)
    await asyncio.gather(*(pause_camera(redis, name, True, keys=keys) for name in names))
    assert [spec.paused for spec in await wanted_cameras(redis, keys=keys)] == [True] * 12


async def test_what_cannot_be_read_spoils_nothing_else(redis: Redis, keys: Keys) -> None:
    await want_camera(redis, HALL, keys=keys)
    plain = {"version": 1, "name": "door", "source": "0"}
    for name, packed in {
        "bytes": b"\xc1",
        "newer": pack_map(plain | {"version": 2}),
        "wrong": pack_map(plain | {"name": "wrong", "every": 0}),
        "other": pack_map(plain),
    }.items():
        await redis.hset(keys.wanted, name, packed)  # type: ignore[misc]
    wanted = await read_wanted(redis, keys=keys)
    assert wanted.specs == {"hall": HALL}
    assert wanted.broken.keys() == {"bytes", "newer", "wrong", "other"}
    assert wanted.broken["newer"] == "a wanted camera has version 1, got 2"
    assert wanted.broken["other"] == "it is called door"
    assert "every: must be a whole number" in wanted.broken["wrong"]


def test_a_digest_tells_two_specs_apart() -> None:
    assert unpack_spec(pack_spec(HALL)) == HALL
    assert digest(HALL) == digest(unpack_spec(pack_spec(HALL)))
    assert digest(HALL) != digest(CameraSpec(name="hall", source="testcard://"))


class TestCommand:
    @pytest.fixture(autouse=True)
    def _server(self, own_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KINESTREAM_REDIS_URL", own_server().url)  # type: ignore[operator]

    def test_from_adding_to_removing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["camera", "list"]) == 0
        assert capsys.readouterr().out == (
            "no camera is wanted; add one with: kinestream camera add NAME SOURCE\n"
        )
        words = "--lane live --max-fps 15 --region 10,20,300,200 --rotate 90 --priority 5 --paused"
        assert run(["camera", "add", "door", "rtsp://a:${WORD}@10.0.0.7/x", *words.split()]) == 0
        said = capsys.readouterr()
        assert said.out == "door: wanted\n"
        assert said.err == "no producer runs yet; start one with: kinestream producer\n"
        assert run(["camera", "resume", "door"]) == 0
        assert run(["camera", "add", "hall", "testcard://", "--region", "0,0 50,0 50,50"]) == 0
        capsys.readouterr()
        assert run(["camera", "list", "--json"]) == 0
        door, hall = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert (door["region"], door["rotate"]) == ("10,20,300,200", 90)
        assert "paused" not in door
        assert hall["region"] == "0,0 50,0 50,50"
        assert run(["camera", "add", "hall", "0"]) == 0
        assert "hall: wanted otherwise than before" in capsys.readouterr().out
        assert run(["camera", "remove", "door", "hall"]) == 0
        assert capsys.readouterr().out == "door: removed\nhall: removed\n"

    @pytest.mark.parametrize(
        ("words", "error"),
        [
            (["add", "a b", "0"], "kinestream camera: camera 'a b': name: a camera name is 1 to 64"),
            (["add", "a", "rtsp://a:hunter2@c/"], "source: a password is not stored: write ${NAME}"),
            (["add", "a", "0", "--every", "0"], "every: must be a whole number from 1 to 1000000000, got 0"),
            (["add", "a", "0", "--region", "1,2"], "region: a region is a box X,Y,WIDTH,HEIGHT"),
            (["add", "a", "0", "--region", "left"], "region: a region is a box X,Y,WIDTH,HEIGHT"),
            (["remove", "a"], "no such camera is wanted: a; see: kinestream camera list"),
            (["pause", "a"], "no camera a is wanted"),
        ],
    )
    def test_wrong_calls(self, words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["camera", *words]) == 2
        said = capsys.readouterr().err
        assert error in said
        assert said.count("\n") == 1
        assert "hunter2" not in said
