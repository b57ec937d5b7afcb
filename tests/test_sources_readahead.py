"""The thread that reads a camera: nobody keeps the camera waiting, and nobody waits for it too long."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from kinestream.errors import SourceError
from kinestream_ingest.sources import NoPicture, SourceFrame
from kinestream_ingest.sources.readahead import ReadAhead
from waiting import wait_until_sync


class Camera:
    """Gives what a test says; `given` counts, `ended` says that its thread has let go of it."""

    def __init__(self) -> None:
        self.given = 0
        self.ended = threading.Event()
        self._orders: SimpleQueue[Exception | bool] = SimpleQueue()

    def order(self, count: int) -> None:
        for _ in range(count):
            self._orders.put(True)

    def end(self, error: Exception | bool = False) -> None:
        self._orders.put(error)

    def read(self, closed: Callable[[], bool]) -> Generator[SourceFrame]:
        try:
            while (order := self._orders.get()) is not False:
                if isinstance(order, Exception):
                    raise order
                self.given += 1
                image = np.full((2, 2, 3), self.given, np.uint8)
                yield SourceFrame(picture=lambda label, image=image: image, captured_us=self.given)
        finally:
            self.ended.set()


@pytest.fixture
def camera() -> Camera:
    return Camera()


def has_picture(frame: SourceFrame) -> bool:
    try:
        return frame.picture("")[0, 0, 0] == frame.captured_us
    except NoPicture as error:
        assert (error.cause, str(error)) == ("producer-behind", ""), "no news, so no words"
        return False


def test_the_newest_win_and_the_others_are_told_of(camera: Camera) -> None:
    ahead = ReadAhead(camera.read)
    camera.order(1)
    frames = iter(ahead)
    assert next(frames).captured_us == 1
    camera.order(6)
    wait_until_sync(lambda: camera.given == 7, "frames for which nobody has time")
    camera.end()
    camera.ended.wait(10)
    rest = [*frames]
    assert [frame.captured_us for frame in rest] == [2, 3, 4, 5, 6, 7]
    assert [has_picture(frame) for frame in rest] == [False] * 4 + [True] * 2


def test_what_came_before_anybody_took_frames_is_forgotten(camera: Camera) -> None:
    ahead = ReadAhead(camera.read)
    camera.order(50)
    camera.end()
    assert ahead.first().captured_us == 1, "it can be looked at, even after newer ones have come"
    camera.ended.wait(10)
    assert [frame.captured_us for frame in ahead] == [49, 50]


def test_complete_keeps_the_camera_waiting(camera: Camera) -> None:
    ahead = ReadAhead(camera.read, newest_wins=False)
    camera.order(20)
    camera.end()
    assert ahead.first().captured_us == 1
    assert not camera.ended.wait(0.1)
    assert camera.given < 20
    assert [has_picture(frame) for frame in ahead] == [True] * 20


def test_a_failure_comes_after_the_last_frame(camera: Camera) -> None:
    ahead = ReadAhead(camera.read)
    camera.order(1)
    camera.end(SourceError("it burns"))
    frames = iter(ahead)
    assert next(frames).captured_us == 1
    with pytest.raises(SourceError, match="it burns"):
        next(frames)


def test_a_failure_before_the_first_frame(camera: Camera) -> None:
    camera.end(ValueError("a bug keeps its type"))
    with pytest.raises(ValueError, match="a bug keeps its type"):
        ReadAhead(camera.read).first()


def test_silence_is_a_failure(camera: Camera) -> None:
    ahead = ReadAhead(camera.read, timeout_s=0.05)
    camera.order(1)
    frames = iter(ahead)
    next(frames)
    with pytest.raises(SourceError, match=r"no picture came for 0\.05 s"):
        next(frames)


def test_silence_from_the_start_is_one_too_and_closes(camera: Camera) -> None:
    with pytest.raises(SourceError, match=r"no picture came for 0\.05 s"):
        ReadAhead(camera.read, timeout_s=0.05).first()
    camera.order(1)
    assert camera.ended.wait(10), "a picture that comes too late finds it closed"


def test_closing_ends_a_wait_at_once(camera: Camera) -> None:
    ahead = ReadAhead(camera.read)
    got: list[list[SourceFrame]] = []
    taking = threading.Thread(target=lambda: got.append([*ahead]))
    taking.start()
    camera.order(1)
    wait_until_sync(lambda: camera.given == 1, "a frame")
    ahead.close()
    taking.join(10)
    assert len(got) == 1
    assert not camera.ended.is_set()
    camera.order(1)
    assert camera.ended.wait(10), "its thread ends with the next frame"


def test_closing_ends_a_thread_that_waits_for_room(camera: Camera) -> None:
    ahead = ReadAhead(camera.read, newest_wins=False)
    camera.order(100)
    ahead.first()
    ahead.close()
    assert camera.ended.wait(10)
    assert [*ahead] == []


class _Counting(deque[SourceFrame]):
    """Counts how many of its frames are looked at."""

    looked = 0

    def __iter__(self) -> Iterator[SourceFrame]:
        self.looked += len(self)
        return super().__iter__()

    def __getitem__(self, place: Any) -> Any:
        self.looked += 1
        return super().__getitem__(place)


def test_a_taker_that_hangs_costs_no_more_with_every_frame(camera: Camera) -> None:
    """If each looked through those before it, an hour of 60 pictures a second would be 20 billion looks."""
    ahead = ReadAhead(camera.read)
    camera.order(1)
    frames = iter(ahead)
    next(frames)
    ahead._frames = counting = _Counting()
    camera.order(200)
    wait_until_sync(lambda: camera.given == 201, "frames for which nobody has time")
    camera.end()
    camera.ended.wait(10)
    assert counting.looked <= 2 * 200
    assert [has_picture(frame) for frame in frames] == [False] * 198 + [True] * 2
