"""Waiting for many calls on threads at once, until the last, however each ends. Not for: what they do."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kinestream.tasks import happened
from kinestream_workers.countdown import Countdown, Stuck


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


async def test_it_ends_with_the_last_one_failed_ones_included(pool) -> None:
    ended = []

    def call(number: int) -> None:
        time.sleep(0.05 * number)
        ended.append(number)
        if number == 1:
            raise ValueError

    await Countdown([pool.submit(call, number) for number in range(4)]).wait(5)
    assert sorted(ended) == [0, 1, 2, 3]


async def test_what_was_done_before_or_is_nothing_is_not_waited_for(pool) -> None:
    done = pool.submit(int)
    done.result()
    await asyncio.wait_for(Countdown([done]).wait(5), 1)
    await asyncio.wait_for(Countdown([]).wait(5), 1)


async def test_cancelled_ones_count_as_done(pool) -> None:
    gate = threading.Event()
    calls = [pool.submit(gate.wait) for _ in range(5)]
    countdown = Countdown(calls)
    assert sum(call.cancel() for call in calls) == 3
    gate.set()
    await countdown.wait(5)


async def test_stuck_is_only_who_does_not_get_on(pool) -> None:
    slow = [pool.submit(time.sleep, 0.2) for _ in range(8)]
    await Countdown(slow).wait(0.5)  # 0.8 s altogether, but one after the other

    gate = threading.Event()
    stuck = Countdown([pool.submit(int), pool.submit(gate.wait)])
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
