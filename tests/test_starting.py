"""A worker that is told to stop while its engine is still being opened ends soon. Not for: what it opens."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from kinestream_workers.starting import unless_stopped

SLOW = """
import asyncio, signal, sys, time
from kinestream.processes import capture_signals
from kinestream_workers import starting

starting.PATIENCE_S = float(sys.argv[1])

def slowly():
    print("opening", flush=True)
    time.sleep(float(sys.argv[2]))
    return "opened"

async def work():
    with capture_signals() as stop:
        print(await starting.unless_stopped(slowly, stop), stop.is_set())

asyncio.run(work())
"""


def stopped(patience_s: float, takes_s: float, *, times: int = 1) -> tuple[int, str, float]:
    """Exit code and words of a process that is told to stop when it opens, and the seconds after that."""
    command = [sys.executable, "-c", SLOW, str(patience_s), str(takes_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        began = time.monotonic()
        for number in range(times):
            time.sleep(0.2 if number else 0)  # two signals of one kind that come together are one
            process.terminate()
        said, _ = process.communicate(timeout=60)
    return process.returncode, first + said, time.monotonic() - began


def test_what_takes_long_is_left_alone() -> None:
    code, said, seconds = stopped(0.2, 60)
    assert (code, said) == (0, "opening\n") and seconds < 30


def test_told_twice_it_ends_at_once() -> None:
    code, said, seconds = stopped(60, 60, times=2)
    assert (code, said) == (130, "opening\n") and seconds < 30


def test_what_is_soon_done_is_waited_for() -> None:
    assert stopped(60, 0.3)[:2] == (0, "opening\nopened True\n")


async def test_what_it_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await unless_stopped(lambda: 1 // 0, asyncio.Event())
    assert await unless_stopped(lambda: 7, asyncio.Event()) == 7
