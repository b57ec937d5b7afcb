"""Cameras whose every picture says which frame it is, and so does its pose: for tests of what is recorded.

Frame `seq` is grey, the darker the earlier, and its only keypoint is the further right the later. So a video
shows both which picture and whose pose a tile has. Not for: pictures of people (see `kinestream.testcard`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from redis.asyncio import Redis

import frames
from kinestream.drawing import Image
from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held, Outcome
from kinestream.keys import Keys
from kinestream.messages import Frame, Person, PoseResult, Status
from kinestream.run import Run
from kinestream.video import read_video

FRAMES = 12
"""As many as greys and places can be told apart."""

STEP_US = 1_000_000 // 30 + 1
BEGAN_US = 1_700_000_000_000_000

NOWHERE = (-1e6, -1e6, -1e6, -1e6)
"""A box that is not drawn."""


def grey(seq: int) -> int:
    return 40 + 14 * seq


def pose(seq: int) -> tuple[Person, ...]:
    """One person with one keypoint, in the middle of its height."""
    x = (seq + 0.5) * frames.SIZE[0] / FRAMES
    return (Person(box=NOWHERE, score=1.0, keypoints=((x, frames.SIZE[1] / 2, 1.0),)),)


def frame(run: Run, seq: int, *, late_us: int = 0) -> Frame:
    """Frame `seq`, captured at its place in a video of 30 pictures a second, `late_us` later."""
    made = frames.frame(run, seq, grey=grey(seq))
    return dataclasses.replace(made, captured_us=BEGAN_US + seq * STEP_US + late_us)


def outcome(held: Held, status: Status = "ok") -> Outcome:
    """The outcome of a frame, with its pose if it is `ok`."""
    of = Frame.unpack(held.packed)
    result = PoseResult(
        camera=held.camera,
        run=held.run,
        seq=held.seq,
        status=status,
        captured_us=of.captured_us,
        media_time_s=of.media_time_s,
        width=of.width,
        height=of.height,
        skeleton="none" if status == "ok" else "",
        people=pose(held.seq) if status == "ok" else (),
        cause="" if status == "ok" else "too-old",
    )
    return Outcome(held, result)


class _KeysWithoutWishes(Keys):
    """Keys under which nobody wants pictures."""

    def want(self, camera: str) -> str:
        return super().want(f"nobody-{camera}")


class Stage:
    """Producers and workers on one server; frames are offered, and committed in the order a test says."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self.redis, self.keys = redis, keys
        self._worker = GroupConsumer(redis, "worker", keys=keys)
        self._shy = GroupConsumer(redis, "worker", keys=_KeysWithoutWishes(prefix=keys.prefix))

    async def begin(self, camera: str) -> Run:
        """Open a run of a complete source."""
        return await Run.begin(self.redis, camera, lane="every-frame", keys=self.keys)

    async def take(self, run: Run, count: int, *, late_us: int = 0) -> list[Held]:
        """Offer the next frames and take them, as a worker."""
        for seq in range(run.produced, run.produced + count):
            assert await run.offer(frame(run, seq, late_us=late_us)) == "ok"
        return await self._worker.take([run.camera], count)

    async def take_again(self, camera: str) -> list[Held]:
        """Take a frame that was offered otherwise."""
        return await self._worker.take([camera], 1)

    async def commit(self, held: Sequence[Held], *, picture: bool = True, status: Status = "ok") -> None:
        """Commit frames in this order; without `picture` as if nobody wanted any."""
        worker = self._worker if picture else self._shy
        assert all(await worker.commit([outcome(one, status) for one in held]))

    async def play(self, run: Run, count: int, *, late_us: int = 0) -> None:
        """Offer and commit frames one by one."""
        for _ in range(count):
            await self.commit(await self.take(run, 1, late_us=late_us))

    async def is_wanted(self, camera: str) -> bool:
        return bool(await self.redis.exists(self.keys.want(camera)))


class Shown(NamedTuple):
    """What a tile shows: which frame's picture, which frame's pose if any, and whether it is dimmed."""

    picture: int
    pose: int | None
    dimmed: bool


def shown(path: Path, tiles: int = 1) -> list[list[Shown]]:
    """For each picture of the video, what each tile of a mosaic in one row shows."""
    return [[_shown(tile) for tile in np.split(frame.image, tiles, axis=1)] for frame in read_video(path)]


def pictures(path: Path) -> list[int]:
    """Which frames a video of one camera shows, picture by picture, each with its own pose."""
    found = []
    for (tile,) in shown(path):
        assert tile.pose == tile.picture, "a pose on another frame's picture"
        found.append(tile.picture)
    return found


def _shown(tile: Image) -> Shown:
    height, width = tile.shape[:2]
    side = round(height * frames.SIZE[0] / frames.SIZE[1])  # of the picture within the tile
    inside = tile[:, (width - side) // 2 : (width + side) // 2].mean(axis=2)
    background = float(np.median(inside[: height // 3]))
    dimmed = background < grey(0) - 7
    band = np.abs(inside[height // 2 - 1 : height // 2 + 1] - background).max(axis=0)
    seen = np.flatnonzero(band > (10 if dimmed else 25))
    picture = (background / 0.4 if dimmed else background) - grey(0)
    pose_seq = int(seen.mean() / side * FRAMES) if len(seen) else None
    return Shown(round(picture / 14), pose_seq, dimmed)
