"""What is told of cameras: as it was told while somebody tells it, offline with the reason after that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from kinestream.camerastate import (
    ALIVE_S,
    CameraState,
    camera_states,
    forget_state,
    redis_now_ms,
    tell_states,
    told_cameras,
)
from kinestream.keys import Keys
from kinestream.packing import pack_map

LIVE = CameraState(
    camera="door",
    state="live",
    producer="hall",
    run=1_795_838_455,
    source="rtsp://10.0.0.7/x",
    clock="arrival",
    width=1280,
    height=720,
    fps=29.97,
    jitter_ms=1.5,
    frame_ago_s=0.02,
    connections=2,
)


async def test_who_is_told_of_just_now(redis: Redis, keys: Keys) -> None:
    assert await told_cameras(redis, keys=keys) == []
    await tell_states(redis, [LIVE, CameraState(camera="mat", state="offline")], keys=keys)
    assert await told_cameras(redis, keys=keys) == ["door", "mat"]
    told_ms = await redis.zscore(keys.told, "mat")
    await redis.zadd(keys.told, {"mat": told_ms - 1000 * ALIVE_S, "gone": 7})
    assert await told_cameras(redis, keys=keys) == ["door"]
    await tell_states(redis, [LIVE], keys=keys)
    assert await redis.zrange(keys.told, 0, -1) == [b"mat", b"door"]


async def test_told_and_forgotten(redis: Redis, keys: Keys) -> None:
    await tell_states(redis, [], keys=keys)
    await tell_states(redis, [LIVE, CameraState(camera="mat", state="connecting")], keys=keys)
    states = await camera_states(redis, ["door", "mat", "none"], keys=keys)
    assert states.keys() == {"door", "mat"}
    door = states["door"]
    assert replace(door, told_ago_s=0, frame_ago_s=0.02) == LIVE
    assert door.is_told
    assert await camera_states(redis, [], keys=keys) == {}
    await forget_state(redis, "door", "somebody else", keys=keys)
    await forget_state(redis, "mat", "", keys=keys)
    assert (await camera_states(redis, ["door", "mat"], keys=keys)).keys() == {"door"}


def test_what_is_not_told_any_more_is_offline() -> None:
    silent_s = ALIVE_S + 7
    state = CameraState.unpack(LIVE.pack(1_000_000), 1_000_000 + int(1000 * silent_s))
    assert state is not None
    assert (state.state, state.fps, state.jitter_ms) == ("offline", None, None)
    assert state.error == "its producer hall has not been heard of for 12 s"
    assert state.frame_ago_s == pytest.approx(silent_s + 0.02)
    assert not state.is_told
    assert state.run == LIVE.run


@pytest.mark.parametrize("lasting", ["paused", "finished"])
def test_what_lasts_need_not_be_told_again(lasting: str) -> None:
    told = CameraState(camera="film", state=lasting, error="the file is damaged")
    state = CameraState.unpack(told.pack(0), 3_600_000)
    assert state is not None
    assert (state.state, state.error) == (lasting, "the file is damaged")


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        pack_map({"camera": "door"}),
        pack_map({"told_ms": "soon"}),
        pack_map({"told_ms": 1, "fps": "fast"}),
        pack_map({"told_ms": 1, "run": [1]}),
    ],
)
def test_what_cannot_be_read_is_no_state(packed: bytes) -> None:
    assert CameraState.unpack(packed, 0) is None


async def test_a_clock_of_ones_own_plays_no_part(redis: Redis, keys: Keys) -> None:
    now_ms = await redis_now_ms(redis)
    await redis.set(keys.camera_state("door"), LIVE.pack(now_ms - 20_000))
    assert (await camera_states(redis, ["door"], keys=keys))["door"].state == "offline"
    await redis.set(keys.camera_state("door"), LIVE.pack(now_ms + 20_000))  # a replica that is ahead
    assert (await camera_states(redis, ["door"], keys=keys))["door"].told_ago_s == 0


def test_texts_from_elsewhere_fit() -> None:
    state = CameraState.unpack(replace(LIVE, error="x" * 5000 + "\ud800").pack(0), 0)
    assert state is not None
    assert len(state.error) == 1024
