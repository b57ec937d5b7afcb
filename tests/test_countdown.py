"""Waiting for many calls on threads at once, until the last, however each ends. Not for: what they do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from kinestream.tasks import happened
from kinestream_workers.countdown import Countdown, Stuck


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
def counting(pool):
    """Does calls on two threads, and counts each when it is done."""

    def begin(*calls: Callable[[], object], then: Callable[[], None] = lambda: None) -> Countdown:
        countdown = Countdown(len(calls), then)

        def do(call: Callable[[], object]) -> None:
            call()
            countdown.one_less()

        for call in calls:
            pool.submit(do, call)
        return countdown

    return begin


async def test_it_ends_with_the_last_one(counting) -> None:
    ended = []

    def call(number: int) -> None:
        time.sleep(0.05 * number)
        ended.append(number)

    await counting(*(partial(call, number) for number in range(4))).wait(5)
    assert sorted(ended) == [0, 1, 2, 3]


async def test_what_was_done_before_or_is_nothing_is_not_waited_for() -> None:
    done = Countdown(1, lambda: None)
    done.one_less()
    await asyncio.wait_for(done.wait(5), 1)
    await asyncio.wait_for(Countdown(0, lambda: None).wait(5), 1)


async def test_who_wants_to_know_is_told_once_in_order_on_the_thread_that_counts_last(counting) -> None:
    told: list[tuple[str, int]] = []

    def tell(who: str) -> Callable[[], None]:
        return lambda: told.append((who, threading.get_ident()))

    gate = threading.Event()
    countdown = counting(gate.wait, gate.wait, then=tell("first"))
    countdown.when_over(tell("second"))
    assert not told and not countdown.is_over
    gate.set()
    await countdown.wait(5)
    countdown.when_over(tell("late"))
    assert [who for who, _ in told] == ["first", "second", "late"]
    threads = [thread for _, thread in told]
    assert threads[0] == threads[1] != threads[2] == threading.get_ident()


def test_nobody_hears_of_the_end_before_what_belongs_to_it_is_done() -> None:
    seen = []
    countdown = Countdown(2, lambda: seen.append(countdown.is_over))
    countdown.when_over(lambda: seen.append(countdown.is_over))
    countdown.one_less()
    assert not seen
    countdown.one_less()
    assert seen == [False, True]


async def test_stuck_is_only_who_does_not_get_on(counting) -> None:
    await counting(*[partial(time.sleep, 0.2)] * 8).wait(0.5)  # 0.8 s altogether, but one after the other

    gate = threading.Event()
    stuck = counting(int, gate.wait)
    began_s = time.monotonic()
    with pytest.raises(Stuck):
        await stuck.wait(0.2)
    assert stuck.left == 1 and 0.2 <= time.monotonic() - began_s < 2
    gate.set()


async def test_an_event_is_waited_for_and_for_so_long_only() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, event.set)
    await asyncio.wait_for(happened(event), 5)
    event.clear()
    began_s = time.monotonic()
    await happened(event, 0.1)
    assert 0.1 <= time.monotonic() - began_s < 2 and not event.is_set()
    await happened(event, 0)
