"""`kinestream watch`: lines that can be gone on from, a table that fits, and quiet ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import tempfile
import termios
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from filmed import Stage
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.redis import connect
from pipeline import KINESTREAM, TIMEOUT_S, run
from servers import Server
from waiting import wait_until

LONG = "a-camera-whose-name-is-as-long-as-a-name-may-be-which-is-long-64"


@pytest.fixture
async def server(place: Path, own_server: Callable[..., Server]) -> Server:
    """A server whose usual keys are this test's."""
    return own_server()


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    async with connect(server.url) as client:
        yield client


@pytest.fixture
def stage(redis: Redis) -> Stage:
    return Stage(redis, Keys())


async def play(stage: Stage) -> None:
    """Two runs side by side, of 6 records each, committed in no order."""
    for camera in ("left", "right"):
        run = await stage.begin(camera)
        held = await stage.take(run, 5)
        for one in (held[1], held[0], held[3], held[2], held[4]):
            await stage.commit([one])
        await run.finish()


def lines(ended: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The JSON lines of a command that ended well."""
    assert (ended.returncode, ended.stderr) == (0, "")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def told(records: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    return [(record["camera"], record["seq"], record["status"]) for record in records]


ALL = [
    (camera, seq, "end" if seq == 5 else "ok") for camera in ("left", "right") for seq in (1, 0, 3, 2, 4, 5)
]


@pytest.mark.parametrize("order", [[], ["--order"]], ids=["by-commit", "by-frame"])
async def test_a_cursor_goes_on_with_exactly_the_rest(server: Server, stage: Stage, order: list[str]) -> None:
    await play(stage)
    words = ["watch", "--redis", server.url, *order]
    first = lines(run(*words, "--from", "beginning", "--count", "5"))
    rest = lines(run(*words, "--from", first[-1]["cursor"], "--count", "7"))
    expected = sorted(ALL) if order else ALL
    assert told(first + rest) == expected


async def test_a_line_is_the_whole_record(server: Server, stage: Stage) -> None:
    await play(stage)
    begun_ms = await stage.redis.time()
    (line,) = lines(run("watch", "right", "--redis", server.url, "--from", "beginning", "--count", "1"))
    assert PoseResult.from_dict(line).people[0].keypoints
    assert abs(line["committed_ms"] - begun_ms[0] * 1000) < 60_000
    assert {*line} >= {"version", "camera", "run", "seq", "status", "people", "timings", "cursor"}


async def test_only_the_latest(server: Server, stage: Stage) -> None:
    await play(stage)
    words = ["watch", "--latest", "--redis", server.url, "--from", "beginning", "--count", "2"]
    assert told(lines(run(*words))) == [("left", 5, "end"), ("right", 5, "end")]


class Watch:
    """`kinestream watch` with its output on a pipe, or on a terminal of 80 columns."""

    def __init__(self, server: Server, *words: str, terminal: bool = False) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `close`
        ours, theirs = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")
        }
        self.process = subprocess.Popen(
            [*KINESTREAM, "watch", "--redis", server.url, *words],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=self._complaints,
            env=environment | {"TERM": "xterm"},
        )
        os.close(theirs)
        self.output = ours
        self.shown = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(self.output, 65536):
                self.shown += part.decode()

    def text(self) -> str:
        """What a terminal was told to show last, without colours."""
        screens = re.split(r"\x1b\[2K|\x1b\[1A", self.shown)
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", "\n".join(screens))

    def ends_with(self) -> tuple[int, str]:
        """Wait for the end, give exit code and what was complained about."""
        code = self.process.wait(TIMEOUT_S)
        self._reading.join(10)
        return code, self.complaint()

    def complaint(self) -> str:
        """What is on stderr, without the line feed by which click ends the line that ^C stands in."""
        return os.pread(self._complaints.fileno(), 65536, 0).decode().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join(10)
        os.close(self.output)
        self._complaints.close()


@pytest.fixture
def watch(server: Server) -> Iterator[Callable[..., Watch]]:
    """Return a function that starts `kinestream watch`."""
    started: list[Watch] = []

    def start(*words: str, terminal: bool = False) -> Watch:
        started.append(Watch(server, *words, terminal=terminal))
        return started[-1]

    yield start
    for one in started:
        one.close()


async def test_lines_come_as_they_are_committed(watch: Callable[..., Watch], stage: Stage) -> None:
    watching = watch("left", "--from", "beginning")
    run_ = await stage.begin("left")
    for number in range(1, 4):
        await stage.play(run_, 1)
        await wait_until(lambda number=number: watching.shown.count("\n") == number, f"line {number}")  # type: ignore[misc]
    assert watching.process.poll() is None


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("terminal", [False, True], ids=["lines", "table"])
async def test_it_ends_quietly(
    watch: Callable[..., Watch], stage: Stage, how: signal.Signals, code: int, terminal: bool
) -> None:
    watching = watch("--from", "beginning", terminal=terminal)
    await stage.play(await stage.begin("left"), 1)
    await wait_until(lambda: "left" in watching.shown, "the record to be shown")
    watching.process.send_signal(how)
    assert watching.ends_with() == (code, "")
    if terminal:
        assert watching.shown.rindex("\x1b[?25h") > watching.shown.rindex("\x1b[?25l"), "the cursor is back"
    else:
        assert [json.loads(line)["seq"] for line in watching.shown.splitlines()] == [0]


async def test_a_reader_that_leaves_ends_it_quietly(server: Server, stage: Stage) -> None:
    run_ = await stage.begin("left")
    words = [*KINESTREAM, "watch", "--redis", server.url, "--from", "beginning"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:  # noqa: ASYNC220
        assert watching.stdout is not None and watching.stderr is not None
        await stage.play(run_, 1)
        assert b'"seq": 0' in watching.stdout.readline()
        watching.stdout.close()
        await stage.play(run_, 2)
        assert watching.stderr.read() == b""
    assert watching.returncode == 1


async def test_a_terminal_shows_a_table_that_fits(watch: Callable[..., Watch], stage: Stage) -> None:
    assert len(LONG) == 64
    watching = watch("--from", "beginning", terminal=True)
    await wait_until(lambda: "no record yet" in watching.text(), "the empty table")
    for camera in ("left", LONG):
        run_ = await stage.begin(camera)
        held = await stage.take(run_, 4)
        await stage.commit(held[:3])
        await stage.commit(held[3:], status="stale")
    await wait_until(lambda: re.search(r"left +4 +3 +1 +1 ", watching.text()), "the records to be counted")
    await wait_until(lambda: watching.text().count("3 stale") >= 2, "both cameras to be shown")
    watching.process.send_signal(signal.SIGINT)
    assert watching.ends_with() == (130, "")
    rows = [row.rstrip() for row in watching.text().replace("\r", "").split("\n")]
    assert max(map(len, rows)) <= 80
    assert "…" not in watching.text()
    last = rows[max(index for index, row in enumerate(rows) if row.startswith("camera")) :]
    assert last[0].split() == [
        "camera",
        "frames",
        "ok",
        "not",
        "ok",
        "people",
        "ok/s",
        "p50",
        "ms",
        "p95",
        "ms",
        "last",
    ]
    name = "".join(row.partition(" ")[0] for row in last[1:] if not row.startswith("left"))
    assert name == LONG, "the whole name is there, in several lines"


async def test_a_table_for_a_file(server: Server, stage: Stage) -> None:
    await play(stage)
    words = ["watch", "--format", "table", "--redis", server.url, "--from", "beginning", "--count", "12"]
    ended = run(*words)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.search(r"^left +5 +5 +0 +1 ", ended.stdout, re.MULTILINE), ended.stdout
    assert ended.stdout.count("5 end") == 2


async def test_it_waits_for_a_redis_that_restarts(place: Path, own_server: Callable[..., Server]) -> None:
    server = own_server(durable=True)
    async with connect(server.url) as redis:
        stage = Stage(redis, Keys())
        watching = Watch(server, "--from", "beginning", terminal=True)
        run_ = await stage.begin("left")
        await stage.play(run_, 1)
        await wait_until(lambda: "0 ok" in watching.text(), "the record to be shown")
        server.kill()
        await wait_until(lambda: "Redis is away" in watching.complaint(), "the outage to be told")
        server.start()
        await stage.play(run_, 1)
        await wait_until(lambda: "1 ok" in watching.text(), "the next record to be shown")
        watching.process.send_signal(signal.SIGINT)
        code, complaint = watching.ends_with()
        watching.close()
    assert code == 130
    assert "Redis is back" in complaint, "the log goes where it was sent"
    assert "Redis is" not in watching.text()


def test_mistakes_are_one_line(place: Path, own_server: Callable[..., Server]) -> None:
    url = own_server().url
    for words, code, said in (
        (["watch"], 1, "no Redis is running"),
        (["watch", "--redis", "unix:///nowhere"], 1, "no Redis answers"),
        (["watch", "--redis", url, "--order", "--latest"], 2, "--order and --latest exclude each other"),
        (["watch", "--redis", url, "--from", "yesterday"], 2, "a start is now, beginning or the cursor"),
        (["watch", "--redis", url, "no camera"], 2, "a camera name is"),
        (["watch", "--redis", url, "--count", "0"], 2, "--count"),
    ):
        ended = run(*words)
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.startswith("kinestream watch: ") and said in ended.stderr
        assert ended.stderr.count("\n") == 1
        assert ended.stdout == ""
