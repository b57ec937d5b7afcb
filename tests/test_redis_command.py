"""`kinestream redis`: runs until it is told to stop, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kinestream.embedded import find_redis_url
from kinestream.errors import RedisUnavailable
from waiting import wait_until_sync

KINESTREAM = [sys.executable, "-P", "-m", "kinestream"]


def start_redis(*arguments: str) -> subprocess.Popen[str]:
    """Start `kinestream redis` and wait until it says that it is ready."""
    running = subprocess.Popen(
        [*KINESTREAM, "redis", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert running.stdout is not None
    assert "ready" in running.stdout.readline()
    return running


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_kinestream_redis_runs_until_it_is_told_to_stop(place: Path, how: signal.Signals) -> None:
    with start_redis() as running:
        assert running.stdout is not None
        url = find_redis_url(None)
        assert url in running.stdout.readline()
        second = subprocess.run([*KINESTREAM, "redis"], capture_output=True, text=True)
        assert second.returncode == 1
        assert second.stderr == f"kinestream redis: a Redis server is already running for this user: {url}\n"
        wait_until_sync(lambda: catches(running.pid, how), "the command to catch signals")
        running.send_signal(how)
        assert running.wait(20) == 0
    with pytest.raises(RedisUnavailable, match="no Redis is running"):
        find_redis_url(None)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal (Linux: the mask SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_kinestream_redis_killed_leaves_nothing(place: Path, nothing_left: Callable[[], list[int]]) -> None:
    with start_redis() as running:
        assert len(nothing_left()) == 2
        running.kill()
    wait_until_sync(lambda: not nothing_left(), "the server to end")


def test_kinestream_redis_says_when_its_server_died(
    place: Path, nothing_left: Callable[[], list[int]]
) -> None:
    with start_redis() as running:
        (server,) = [pid for pid in nothing_left() if pid != running.pid]
        os.kill(server, signal.SIGKILL)
        assert running.wait(20) == 1
        assert running.stderr is not None
        assert running.stderr.read().startswith(
            "kinestream redis: the server ended by itself (exit code -9): see "
        )


def test_kinestream_redis_with_bad_options(place: Path) -> None:
    for options, said in (
        (["--maxmemory", "lots"], "maxmemory is a number"),
        (["--data", "/proc/x/y"], "cannot keep data in /proc/x/y"),
    ):
        ended = subprocess.run([*KINESTREAM, "redis", *options], capture_output=True, text=True)
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"kinestream redis: {said}") and ended.stderr.count("\n") == 1
