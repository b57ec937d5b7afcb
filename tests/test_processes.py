"""`kinestream.processes` and `tether.py`: signals drain first, children end with their owner."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kinestream import tether
from kinestream.processes import Child, capture_signals, command_line, spawn, start_child
from servers import BINARIES
from waiting import wait_until, wait_until_sync

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


# ---- Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_sets_stop_and_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    with capture_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 10)
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == before


async def test_a_cancellation_by_others_stays_one() -> None:
    async def work() -> None:
        with capture_signals():
            await asyncio.sleep(600)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


STUBBORN = """
import asyncio, sys, time
from kinestream.processes import capture_signals

async def work():
    with capture_signals() as stop:
        print("up", flush=True)
        await stop.wait()
        print("draining", flush=True)
        try:
            await asyncio.sleep(600)
        finally:
            print("cancelled", flush=True)
            if sys.argv[1] == "hang":
                while True:
                    await asyncio.sleep(0.01)

try:
    asyncio.run(work())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return (line.strip() for line in process.stdout)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_stops_at_once(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN, ""], stdout=subprocess.PIPE, text=True) as process:
        lines = lines_of(process)
        for expected in ("up", "draining"):
            assert next(lines) == expected
            process.send_signal(number)
        assert [*lines] == ["cancelled", "interrupted"]
    assert process.returncode == 0


def test_the_third_signal_ends_what_hangs() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, "hang"], stdout=subprocess.PIPE, text=True
    ) as process:
        lines = lines_of(process)
        for expected in ("up", "draining", "cancelled"):
            assert next(lines) == expected
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM


# ---- Children


def test_a_child_is_shown_and_its_output_prefixed(nothing_left: Callable[[], list[int]]) -> None:
    said: list[str] = []
    with start_child(["--version"], name="worker-1", say=said.append) as child:
        assert child.wait(30) == 0
    assert said[0] == "$ kinestream --version"
    assert said[1].startswith("worker-1 | kinestream 0.")


def test_output_into_a_file(tmp_path: Path, nothing_left: Callable[[], list[int]]) -> None:
    said: list[str] = []
    with start_child(["nonsense"], name="worker-1", say=said.append, log=tmp_path / "log") as child:
        assert child.wait(30) == 2
        assert child.exit_code == 2
    assert said == ["$ kinestream nonsense"]
    assert (tmp_path / "log").read_text() == "kinestream: No such command 'nonsense'.\n"


def test_a_child_does_not_read_modules_from_where_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('the wrong click')")
    monkeypatch.chdir(tmp_path)
    with start_child(["--version"], name="x", say=lambda line: None) as child:
        assert child.wait(30) == 0


def test_the_line_is_what_a_user_would_type() -> None:
    assert command_line(["ingest", "my file.mp4", "--camera", "gate"], {}) == (
        "kinestream ingest 'my file.mp4' --camera gate"
    )
    shown = command_line(
        ["ingest", "testcard://?athletes=4&motion=jump", "--redis", "redis://:s3cr3t@h:6379"],
        {"KINESTREAM_REDIS_URL": "redis://h?password=s3cr3t", "CAMERA": "rtsp://me:s3cr3t@h/s?t=s3cr3t"},
    )
    assert "s3cr3t" not in shown
    assert shown == (
        "KINESTREAM_REDIS_URL='redis://h?password=***' CAMERA='rtsp://***@h/s?***' "
        "kinestream ingest 'testcard://?athletes=4&motion=jump' --redis 'redis://***@h:6379'"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("RTSP://h/live?t=s3cr3t", "RTSP://h/live?***"),
        ("rtsp://h:554/user=me&password=s3cr3t&channel=1", "rtsp://h:554/***"),
        ("http://h/live/pw%3Ds3cr3t/1", "http://h/live/***"),
        ("rtsp://h/Streaming/101", "rtsp://h/Streaming/101"),
    ],
)
def test_of_a_camera_s_url_only_the_place_is_shown(url: str, shown: str) -> None:
    assert command_line(["ingest", url], {}).replace("'", "") == f"kinestream ingest {shown}"


def test_the_environment_reaches_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: Callable[[], list[int]]
) -> None:
    said: list[str] = []
    environment = {"KINESTREAM_RUNTIME_DIR": str(tmp_path / "missing" / "deeper")}
    with start_child(["redis"], name="redis", say=said.append, environment=environment) as child:
        assert child.wait(30) == (2 if BINARIES else 1)
    if BINARIES:
        assert f"cannot use the directory {tmp_path}/missing/deeper" in said[1]


def started(code: str) -> Child:
    process = spawn([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.stdout.close()
    return Child("child", process, None)


def test_stop_asks_first(nothing_left: Callable[[], list[int]]) -> None:
    # It waits for the signal itself: a handler could run just before a sleep, which would then sleep on.
    polite = "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    with started(polite + "print('up', flush=True); signal.sigwait([signal.SIGTERM]); sys.exit(7)") as child:
        assert child.exit_code is None
        assert child.stop() == 7
        assert child.stop() == 7, "stopping twice does no harm"


def test_stop_kills_what_does_not_listen(
    nothing_left: Callable[[], list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    child = started(deaf + "time.sleep(600)")
    with pytest.raises(TimeoutError, match=r"child still runs after 0\.1 s"):
        child.wait(0.1)
    assert child.stop(grace_s=0.1) == -signal.SIGKILL
    assert "child did not end within 0 s of SIGTERM and is killed" in caplog.text


def test_kill(nothing_left: Callable[[], list[int]]) -> None:
    child = started("import time; print('up', flush=True); time.sleep(600)")
    child.kill()
    assert child.exit_code == -signal.SIGKILL


def test_ctrl_c_in_a_terminal_does_not_reach_children(nothing_left: Callable[[], list[int]]) -> None:
    with started("import time; print('up', flush=True); time.sleep(600)") as child:
        assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid


def test_only_the_main_thread_may_spawn() -> None:
    caught: list[BaseException] = []

    def try_it() -> None:
        try:
            spawn(SLEEP)
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


# ---- The end of the owner

OWNER = """
import sys, time
from kinestream.processes import start_child
start_child(["redis"], name="redis", say=lambda line: print(line, flush=True))
time.sleep(600)
"""


@on_linux
def test_a_killed_owner_takes_children_and_grandchildren_along(
    place: Path, nothing_left: Callable[[], list[int]]
) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        lines = lines_of(owner)
        assert next(lines) == "$ kinestream redis"
        assert "ready" in next(lines)
        assert len(nothing_left()) == 3, "the owner, kinestream redis, redis-server"
        owner.kill()
    wait_until_sync(lambda: not nothing_left(), "all of them to end")


@on_linux
def test_a_command_whose_owner_has_already_ended_does_not_start() -> None:
    not_its_parent = str(os.getppid())
    ended = subprocess.run([sys.executable, tether.__file__, not_its_parent, *SLEEP], capture_output=True)
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_a_command_that_is_not_there_is_one_line() -> None:
    process = spawn(["/nowhere/redis-server"], stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=20)
    assert said == b"cannot run /nowhere/redis-server: No such file or directory\n"
    assert process.returncode == 1


async def test_a_child_started_in_an_event_loop_is_stopped_from_a_thread(
    nothing_left: Callable[[], list[int]],
) -> None:
    child = started("import time; print('up', flush=True); time.sleep(600)")
    stopping = asyncio.create_task(asyncio.to_thread(child.stop))
    await wait_until(stopping.done, "the child to stop")
    assert await stopping == -signal.SIGTERM
