"""The video of a recording: what a tile shows, when, and how bright. Not for: which pictures come at all."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from redis.asyncio import Redis

from filmed import BEGAN_US, STEP_US, Stage, pictures, shown
from films import frame_times
from kinestream.keys import Keys
from kinestream.messages import Frame, Person, PoseResult
from kinestream.video import read_video
from kinestream_consumers.film import FPS, Film
from recordings import Record, content, recordings


@pytest.fixture
def stage(redis: Redis, keys: Keys) -> Stage:
    return Stage(redis, keys)


@pytest.fixture
async def record(stage: Stage, tmp_path: Path) -> AsyncIterator[Record]:
    async with recordings(stage, tmp_path / "recording") as start:
        yield start


@pytest.mark.parametrize("jump_s", [365 * 24 * 3600, -3600])
async def test_a_clock_that_jumps(
    stage: Stage, record: Record, jump_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    recording = await record("a")
    run = await stage.begin("a")
    await stage.play(run, 4)
    await stage.play(run, 4, late_us=jump_s * 1_000_000)
    await run.finish()
    await recording.ends()
    assert pictures(recording.video) == list(range(8))
    assert caplog.text.count(f"frame 4 was captured {jump_s}.0 s after") == 1


async def test_a_pause_is_a_still_picture(stage: Stage, record: Record) -> None:
    recording = await record("a", "b")
    both = [await stage.begin(camera) for camera in ("a", "b")]
    for one in both:
        await stage.play(one, 4)
    await stage.play(both[0], 4, late_us=2_000_000)
    for one in both:
        await one.finish()
    await recording.ends()
    tiles = shown(recording.video, tiles=2)
    assert len(tiles) == 8 + 60, "two seconds more"
    assert [a.picture for a, _ in tiles] == [0, 1, 2, *[3] * 61, 4, 5, 6, 7]
    dimmed = [(a.dimmed, b.dimmed) for a, b in tiles]
    # b has ended when its last picture was shown, a was not heard of for more than a second.
    assert dimmed[:4] == [(False, False)] * 4 and dimmed[4][1] and dimmed[40] == (True, True)
    assert dimmed[30] == (False, True) and dimmed[-1] == (False, True)


async def test_the_rate_is_constant(stage: Stage, record: Record) -> None:
    recording = await record("a")
    run = await stage.begin("a")
    await stage.play(run, 3)
    await stage.play(run, 3, late_us=100_000)
    await run.finish()
    await recording.ends()
    assert frame_times(recording.video) == pytest.approx([tick / FPS for tick in range(9)], abs=1e-4)


def filmed(path: Path, *shots: tuple[PoseResult, Frame]) -> list[Any]:
    """The pictures of a film of one camera."""
    film = Film(path, ["a"])
    for result, packed in shots:
        film.show(result, packed.pack())
    film.close()
    return [picture.image for picture in read_video(path)]


def shot(image: np.ndarray[Any, Any], *, codec: str = "png", **changes: Any) -> tuple[PoseResult, Frame]:
    height, width = image.shape[:2]
    data = image.tobytes() if codec == "raw" else cv2.imencode(f".{codec}", image)[1].tobytes()
    values = {"camera": "a", "run": 1, "seq": 0, "captured_us": BEGAN_US, "lane": "live", "codec": codec}
    values |= {"width": width, "height": height, "view": (0, 0, width, height), "data": data} | changes
    people = (Person(box=(0, 0, 0.5, 0.5), score=1.0, keypoints=((700.0, 500.0, 1.0),)),)
    return PoseResult(camera="a", run=1, seq=values["seq"], status="ok", people=people), Frame(**values)


@pytest.mark.parametrize("codec", ["png", "jpeg", "raw"])
def test_a_cropped_picture_shows_its_part_of_the_source(tmp_path: Path, codec: str) -> None:
    image = np.full((360, 640, 3), 60, np.uint8)
    view = (400, 320, 640, 360)
    (film,) = filmed(tmp_path / "film.mp4", shot(image, codec=codec, width=1280, height=720, view=view))
    assert film.shape == (720, 1280, 3)
    # (700, 500) in the source is (300, 180) in the image, and the tile is twice as large.
    seen = np.argwhere(np.abs(film[:600].astype(int) - 60).max(axis=2) > 60)
    assert seen.mean(axis=0) + 0.5 == pytest.approx((360, 600), abs=1.0)


def test_a_picture_that_cannot_be_decoded_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = np.full((360, 640, 3), 60, np.uint8)
    good, (result, whole) = shot(image), shot(image, codec="jpeg", seq=1, captured_us=BEGAN_US + STEP_US)
    broken = dataclasses.replace(whole, codec="png", data=good[1].data[:60])
    film = filmed(tmp_path / "film.mp4", good, (result, broken))
    assert len(film) == 2
    assert np.abs(film[1].astype(int) - film[0]).max() < 10, "the last good one stays"
    assert "a 1: its picture cannot be decoded" in caplog.text


def test_a_message_that_is_no_frame_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    film = Film(tmp_path / "film.mp4", ["a"])
    result, _ = shot(np.zeros((36, 64, 3), np.uint8))
    film.show(result, b"garbage")
    film.close()
    assert not content(tmp_path)
    assert "a 0: no picture: not a msgpack message" in caplog.text


def test_a_camera_of_many_frames_a_second(tmp_path: Path) -> None:
    shots = [
        shot(
            np.full((36, 64, 3), 10 * seq, np.uint8), seq=seq, captured_us=BEGAN_US + seq * 8_000, codec="raw"
        )
        for seq in range(21)
    ]
    film = filmed(tmp_path / "film.mp4", *shots)
    assert [round(float(np.median(picture)) / 10) for picture in film] == [4, 8, 12, 16, 20]
