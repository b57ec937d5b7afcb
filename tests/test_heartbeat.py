"""`kinestream.heartbeat`, and the healthcheck that looks at it, as compose.yaml has it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import kinestream.heartbeat
from composefile import compose_file, health_line, healthy
from kinestream.errors import UsageError
from kinestream.heartbeat import with_heartbeat
from pipeline import Command, run
from servers import Server
from waiting import wait_until, wait_until_sync


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinestream.heartbeat, "BEAT_S", 0.01)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """In a folder whose name needs quotes in a shell."""
    folder = tmp_path / "it's here"
    folder.mkdir()
    return folder / "heartbeat"


def touched(file: Path) -> int:
    """When it was touched, in nanoseconds; 0 if it is not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


async def test_the_file_is_touched_while_the_work_goes_on_and_then_gone(quick: None, file: Path) -> None:
    async def work() -> str:
        first = touched(file)
        assert first  # at once
        await wait_until(lambda: touched(file) > first, "a heartbeat")
        return "done"

    assert await with_heartbeat(file, work()) == "done"
    assert not touched(file)


async def test_without_a_file_only_the_work_is_done() -> None:
    assert await with_heartbeat(None, asyncio.sleep(0, "done")) == "done"


async def test_an_error_of_the_work_is_raised_and_the_file_is_gone(file: Path) -> None:
    async def work() -> None:
        raise KeyError("of the work")

    with pytest.raises(KeyError, match="of the work"):
        await with_heartbeat(file, work())
    assert not touched(file)


async def test_a_cancelled_work_leaves_no_file(quick: None, file: Path) -> None:
    task = asyncio.create_task(with_heartbeat(file, asyncio.sleep(1000)))
    await wait_until(lambda: touched(file), "the file")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not touched(file)


@pytest.mark.parametrize("place", ["missing/heartbeat", "."])
async def test_a_file_that_cannot_be_made_is_a_mistake_of_the_user(tmp_path: Path, place: str) -> None:
    begun = []

    async def work() -> None:
        begun.append(True)

    with pytest.raises(UsageError, match="heartbeat"):
        await with_heartbeat(tmp_path / place, work())
    assert not begun  # nor a warning that it was never awaited, which would be an error here


async def test_a_file_that_somebody_removed_comes_back(quick: None, file: Path) -> None:
    async def work() -> None:
        await asyncio.to_thread(file.unlink)
        await wait_until(lambda: touched(file), "the file to come back")

    await with_heartbeat(file, work())


async def test_a_folder_that_vanishes_is_one_warning_and_the_work_goes_on(
    quick: None, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> str:
        shutil.rmtree(file.parent)
        await wait_until(lambda: caplog.messages, "a warning")
        await asyncio.to_thread(file.parent.mkdir)
        await wait_until(lambda: touched(file), "the file to come back")
        return "done"

    with caplog.at_level(logging.WARNING):
        assert await with_heartbeat(file, work()) == "done"
    assert len(caplog.messages) == 1
    assert "No such file" in caplog.messages[0]


def test_a_process_that_is_frozen_or_gone_is_unhealthy_and_one_that_waits_is_not(
    own_server: Callable[..., Server], tmp_path: Path, file: Path
) -> None:
    # The containers' own limit is 15 s, and nobody shall wait for that here.
    line = health_line(compose_file()["worker"], file, seconds=3)
    assert not healthy(line)
    server = own_server()
    words = ["worker", "--model", "testcard", "--redis", server.url, "--heartbeat", file]
    with Command(tmp_path / "worker.txt", *words) as worker:
        worker.wait_to_say("ms a batch")
        worker.wait_until(lambda: healthy(line), "healthy")

        server.kill()
        worker.wait_to_say("Redis is away")
        before = file.stat().st_mtime_ns
        worker.wait_until(lambda: file.stat().st_mtime_ns > before + 2 * 10**9, "heartbeats without Redis")
        worker.wait_until(lambda: healthy(line), "healthy without Redis")
        server.start()

        worker.signal(signal.SIGSTOP)
        wait_until_sync(lambda: not healthy(line), "a frozen process to be unhealthy")
        assert file.exists()
        worker.signal(signal.SIGCONT)
        worker.wait_until(lambda: healthy(line), "healthy again")

        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert not file.exists()
        assert not healthy(line)


def test_what_a_killed_process_leaves_behind_is_soon_too_old(
    own_server: Callable[..., Server], tmp_path: Path, file: Path
) -> None:
    line = health_line(compose_file()["watch"], file, seconds=1)
    with Command(tmp_path / "watch.txt", "watch", "--redis", own_server().url, "--heartbeat", file) as watch:
        watch.wait_until(file.exists, "the file")
        watch.signal(signal.SIGKILL)
        watch.wait()
    assert file.exists()
    wait_until_sync(lambda: not healthy(line), "the file of a killed process to be too old")


@pytest.mark.parametrize("command", ["worker", "ingest", "watch"])
def test_a_mistake_in_the_option_is_one_line(redis_url: str, tmp_path: Path, command: str) -> None:
    source = ["testcard://"] if command == "ingest" else []
    model = ["--model", "testcard"] if command == "worker" else []
    heartbeat = ["--heartbeat", str(tmp_path / "missing" / "heartbeat")]
    done = run(command, *source, *model, "--redis", redis_url, *heartbeat)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"kinestream {command}: cannot write the heartbeat {heartbeat[1]}: No such file or directory"
    ]
