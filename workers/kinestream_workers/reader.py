"""Takes frames from Redis, never more than there is room for, and not before they are needed.

Not for: what is inside them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Protocol

from redis.exceptions import RedisError

from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held
from kinestream.redis import BLOCK_MS, is_away, through_outages
from kinestream.tasks import happened
from kinestream_workers.giveway import GiveWay
from kinestream_workers.target import Decision

_CAMERAS_MAX_AGE_S = 1.0
"""How old the list of cameras may be; with a blocking read of one second, a new camera is served within
two.
"""

_NO_CAMERA_PAUSE_S = 0.25
"""Between two looks for a camera to take from, when there is nothing to block on."""

_LOOK_S, _LONGEST_LOOK_S = 0.001, 0.02
"""Between two looks for live frames while the engine works on an upload's; its end is not missed."""


_ASK_S = 0.1
"""How long frames that were handed back may wait for who is waiting for new ones."""

_MOMENT_S = 0.002
"""A wait that took longer did not find its frame there; and what came so long ago did not queue."""


class Wanted(Protocol):
    """What the reader asks before it takes, and tells of it (see `demand.py`)."""

    def decide(self) -> Decision:
        """How many at most, and how fresh."""

    def room(self) -> int:
        """How many frames the worker can take now."""

    def take_in_s(self) -> float:
        """Seconds until it should take them; 0 is now."""

    def spare_in_s(self) -> float:
        """Seconds until it should take what gives way, if nothing else has come by then; 0 is now."""

    def spare(self) -> int:
        """Frames of complete sources that it takes at once while live cameras are at work."""

    def along(self) -> int:
        """Frames in a batch in which live ones and those of complete sources may be together."""

    def took(self, seconds: float) -> None:
        """How long taking them took."""


class Reader:
    """Reads until told to stop; each `Held` goes to `receive` on the event loop.

    `room_changed` is set whenever the room that is `wanted` grows, and when the worker is told to stop.
    Nothing is taken of the cameras that are `passed_over` just now.
    """

    def __init__(
        self,
        consumer: GroupConsumer,
        wanted: Wanted,
        room_changed: asyncio.Event,
        receive: Callable[[Sequence[Held]], None],
        passed_over: Callable[[], Set[str]] = frozenset,
    ) -> None:
        self._consumer = consumer
        self._wanted = wanted
        self._room_changed = room_changed
        self._receive = receive
        self._passed_over = passed_over
        self._giveway = GiveWay()
        self._cameras: list[str] = []
        self._cameras_read_s = float("-inf")
        self._were_empty_s = float("-inf")  # when a wait ended that had gone on until a frame came
        self._asked_s = float("-inf")

    @property
    def cameras(self) -> list[str]:
        """Cameras that were running, or had frames left, at the last look."""
        return self._cameras

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set; the last blocking read is waited for, since cancelling it would strand a
        frame.
        """
        while not stop.is_set():
            decision, room = self._wanted.decide(), self._wanted.room()
            pause_s = self._wanted.take_in_s() if room >= 1 else None
            if pause_s != 0:
                self._room_changed.clear()
                await happened(self._room_changed, pause_s)
                continue
            read = partial(self._read, room, decision.late_ms)
            self._receive(await through_outages(read, what="reading frames", stop=stop))

    async def _read(self, room: int, late_ms: float | None) -> Sequence[Held]:
        await self._look_for_cameras()
        passed_over = self._passed_over()
        cameras = [camera for camera in self._cameras if camera not in passed_over]
        if not cameras:
            await asyncio.sleep(_NO_CAMERA_PAUSE_S)
            return []
        wishes = self._consumer.wishes
        first, behind = self._giveway.split(cameras, wishes, time.monotonic())
        held = await self._take(first, behind, room, late_ms)
        self._giveway.took(held, wishes, time.monotonic())
        return held

    async def _take(
        self, first: list[str], behind: list[str], room: int, late_ms: float | None
    ) -> Sequence[Held]:
        """Take of the `first` cameras; of those `behind` what they are owed, what may go along, and what is
        wanted when there is nothing else.

        A plain take first: it alone is fair among the cameras, and the only one that sees returned frames.
        """
        take, turns = self._consumer.take, self._giveway.turns
        if not behind and self._none_is_there(len(first), room):
            return await self._wait(first)
        if behind and self._giveway.owed():
            if held := await take(behind, 1, turns=turns):
                return held
            self._giveway.had_nothing()
        held = []
        if first:
            begun_s = time.monotonic()
            self._asked_s = begun_s
            held = await take(first, room, late_ms)
            in_time = sum(not frame.late for frame in held)
            if behind and in_time:
                held = [*held, *await self._go_along(behind, min(room, self._wanted.along()) - in_time)]
            self._wanted.took(time.monotonic() - begun_s)
        if behind and not held:
            spare_in_s = self._wanted.spare_in_s()
            if spare_in_s > 0:
                # Not a blocking read: Redis ends those that are over as late as 0.1 s after that.
                self._room_changed.clear()
                await happened(self._room_changed, min(max(_LOOK_S, spare_in_s / 2), _LONGEST_LOOK_S))
                return []
            held = await take(behind, min(room, self._wanted.spare()), turns=turns)
        return held or await self._wait([*first, *behind])

    async def _go_along(self, behind: list[str], most: int) -> Sequence[Held]:
        """What may be in one batch with frames that were just taken, and that must not be lost with this."""
        try:
            return await self._consumer.take(behind, most, turns=self._giveway.turns)
        except RedisError as error:
            if not is_away(error):
                raise
            return []  # the next call tells

    def _none_is_there(self, cameras: int, room: int) -> bool:
        """Whether frames can be waited for without asking first.

        All streams were empty just now if a wait has just ended that went on until a frame came. Should
        others have come since, the next wait takes one of each camera, for which there must be room.
        """
        now_s = time.monotonic()
        just_now = now_s - self._were_empty_s < _MOMENT_S
        return just_now and now_s - self._asked_s < _ASK_S and cameras <= room

    async def _wait(self, cameras: list[str]) -> Sequence[Held]:
        begun_s = time.monotonic()
        held = await self._consumer.wait(cameras, BLOCK_MS)
        now_s = time.monotonic()
        self._were_empty_s = now_s if held and now_s - begun_s > _MOMENT_S else float("-inf")
        return held

    async def _look_for_cameras(self) -> None:
        if self._cameras and time.monotonic() - self._cameras_read_s < _CAMERAS_MAX_AGE_S:
            return
        cameras = await self._consumer.cameras()
        ended = sorted({*self._cameras} - {*cameras})
        if ended:  # nobody sweeps their groups any more, so whoever joined late would stay there
            await self._consumer.leave_groups(ended)
        self._cameras = cameras
        self._cameras_read_s = time.monotonic()
