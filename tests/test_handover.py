"""From the thread to the loop: order, room, the newest that win, and a cause for every gap."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from kinestream_ingest.handover import Handover
from waiting import wait_until


def live(room: int = 2) -> Handover[int]:
    return Handover(room, newest_wins=True, cause=lambda: "behind")


def complete(room: int = 2) -> Handover[int]:
    return Handover(room, newest_wins=False, cause=lambda: "never")


def in_thread(target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


async def rest(handover: Handover[int]) -> list[tuple[int, set[str]]]:
    got = []
    while handed := await handover.get():
        got.append((handed.frame, handed.causes))
    return got


async def test_a_complete_one_lets_the_thread_wait_and_loses_nothing() -> None:
    handover, put = complete(), []

    def thread() -> None:
        for number in range(50):
            assert handover.put(number)
            put.append(number)
        handover.end()

    in_thread(thread)
    await wait_until(lambda: len(put) == 2, "the room to be used up")
    assert await rest(handover) == [(number, set()) for number in range(50)]


async def test_a_live_one_keeps_the_newest_and_says_why_the_others_are_gone() -> None:
    handover = live()
    for number in range(10):
        assert handover.put(number)
    handover.end()
    assert await rest(handover) == [(8, {"behind"}), (9, set())]


async def test_the_cause_is_the_one_of_the_moment() -> None:
    cause = ["one"]
    handover = Handover[int](1, newest_wins=True, cause=lambda: cause[0])
    handover.put(0)
    handover.put(1)
    cause[0] = "two"
    handover.put(2)
    handover.end()
    assert await rest(handover) == [(2, {"one", "two"})]


async def test_a_frame_that_never_came_is_told_with_the_next_one() -> None:
    handover = live(room=3)
    handover.put(0)
    handover.give_up("failed")
    handover.put(2)
    handover.put(3)
    handover.give_up("failed")
    handover.end()
    assert await rest(handover) == [(0, set()), (2, {"failed"}), (3, set())]
    assert handover.causes_after == {"failed"}


async def test_causes_stay_with_their_gap_when_the_frame_behind_it_goes_too() -> None:
    handover = live(room=2)
    handover.put(0)
    handover.give_up("failed")
    handover.put(2)
    handover.put(3)  # 0 goes
    handover.put(4)  # 2 goes, and the gap before it is now a part of the gap before 3
    handover.end()
    assert await rest(handover) == [(3, {"failed", "behind"}), (4, set())]


async def test_get_waits_for_a_frame_from_the_thread() -> None:
    handover = complete()
    getting = asyncio.create_task(handover.get())
    await asyncio.sleep(0)
    assert not getting.done()
    in_thread(lambda: handover.put(7))
    handed = await getting
    assert handed is not None
    assert handed.frame == 7


async def test_an_error_comes_after_the_frames_before_it() -> None:
    handover = complete()
    handover.put(0)
    handover.end(ValueError("broken"))
    handed = await handover.get()
    assert handed is not None
    with pytest.raises(ValueError, match="broken"):
        await handover.get()


async def test_stop_frees_both_sides() -> None:
    handover = complete(room=1)
    results: list[bool] = []
    handover.put(0)
    thread = in_thread(lambda: results.append(handover.put(1)))
    await asyncio.sleep(0)
    handover.stop()
    assert await handover.get() is None
    await asyncio.to_thread(thread.join, 10)
    assert results == [False]

    waiting = complete()
    getting = asyncio.create_task(waiting.get())
    await asyncio.sleep(0)
    waiting.stop()
    assert await getting is None


def test_a_thread_that_outlives_the_loop_is_not_harmed() -> None:
    async def leave() -> Handover[int]:
        return live()

    handover = asyncio.run(leave())
    assert handover.put(0)
    handover.end()
