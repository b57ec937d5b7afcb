"""`kinestream ingest` as it is typed: what it says, where, its exit codes, and what it leaves in Redis."""

from __future__ import annotations

import asyncio
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from delivering import Delivery
from kinestream.errors import RedisUnavailable, SourceError, UsageError
from kinestream.keys import Keys
from kinestream.messages import Frame, Lane, PoseResult
from kinestream.redis import connect
from kinestream.video import VideoWriter
from kinestream_ingest import progress
from kinestream_ingest.cli import ingest
from kinestream_ingest.feed import Feed
from kinestream_ingest.pacing import Pace, pace_of
from kinestream_ingest.producer import Producer
from scripted import ScriptedSource, scripted_frame
from servers import Server
from waiting import wait_until, wait_until_sync

KINESTREAM = [sys.executable, "-P", "-m", "kinestream"]
CARD = "testcard://?athletes=1&size=320x180&fps=20"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Twelve small pictures, a tenth of a second apart."""
    path = tmp_path / "a film.mp4"
    with VideoWriter(path, 64, 48) as writer:
        for number in range(12):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8), number / 10)
    return path


def start(server: Server | None, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start `kinestream ingest ARGUMENTS`."""
    environment = {name: value for name, value in os.environ.items() if name != "KINESTREAM_REDIS_URL"}
    if server is not None:
        environment["KINESTREAM_REDIS_URL"] = server.url
    command = [*KINESTREAM, "ingest", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Exit code, what went to stdout, and the lines of stderr that are no log lines."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, [line for line in (err or "").splitlines() if not line[:2].isdigit()]


def ask(server: Server, *command: str) -> object:
    """Ask a server something."""

    async def reply() -> object:
        async with connect(server.url) as redis:
            return await redis.execute_command(*command)

    return asyncio.run(reply())


def records(server: Server) -> list[PoseResult]:
    entries = ask(server, "XRANGE", Keys().results, "-", "+")
    return [PoseResult.unpack(fields[b"result"]) for _, fields in entries]  # type: ignore[attr-defined]


def waiting(server: Server, camera: str) -> int:
    length = ask(server, "XLEN", Keys().frames(camera))
    assert isinstance(length, int)
    return length


def test_a_film_becomes_a_camera(own_server: Callable[..., Server], film: Path) -> None:
    server = own_server()
    code, out, err = finish(start(server, str(film)))
    assert (code, err) == (0, [])
    assert out.splitlines()[-1].startswith("a-film: 12 produced = 0 ok")
    assert "12 in flight (balanced" in out
    assert waiting(server, "a-film") == 12
    assert [(r.camera, r.status, r.seq, r.cause) for r in records(server)] == [("a-film", "end", 12, "")]


def test_options_reach_the_producer(own_server: Callable[..., Server], film: Path) -> None:
    server = own_server()
    options = ["--camera", "hall", "--every", "2", "--max-side", "32", "--quality", "50", "--max-fps", "2.5"]
    code, out, _ = finish(start(server, str(film), *options, "--lane", "live", "--no-realtime"))
    assert (code, out[:18]) == (0, "hall: 3 produced =")  # at 0, 0.4 and 0.8 s
    [entry, *_] = ask(server, "XRANGE", Keys().frames("hall"), "-", "+")  # type: ignore[misc]
    assert len(entry[1][b"frame"]) < 1500


def test_a_region_of_the_upright_picture_is_sent(own_server: Callable[..., Server], film: Path) -> None:
    server = own_server()
    options = ["--camera", "hall", "--rotate", "90", "--region", "50%,25% 100%,25% 100%,100% 50%,100%"]
    code, _, err = finish(start(server, str(film), *options))
    assert (code, err) == (0, [])
    [(_, fields), *_] = ask(server, "XRANGE", Keys().frames("hall"), "-", "+")  # type: ignore[misc]
    frame = Frame.unpack(fields[b"frame"])
    assert (frame.width, frame.height, frame.view) == (48, 64, (24, 16, 24, 48))
    assert frame.encoded_size() == (24, 48)


@pytest.mark.parametrize(
    "words", [["none.mp4"], ["rtsp://user:secret@camera/?#@"], ["testcard://?athletes=99"]]
)
def test_a_bad_source_is_one_line_and_leaves_nothing_behind(
    own_server: Callable[..., Server], words: list[str]
) -> None:
    server = own_server()
    code, out, err = finish(start(server, *words))
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("kinestream ingest: ")
    assert "secret" not in err[0]
    assert ask(server, "DBSIZE") == 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["none.mp4"], SourceError, "there is no video file none.mp4"),
        ([CARD, "--camera", "no spaces"], UsageError, "a camera name"),
        ([CARD, "--every", "0"], UsageError, "every must be at least 1"),
        ([CARD, "--max-fps", "0"], UsageError, "max-fps must be more than 0"),
        ([CARD, "--max-side", "1"], UsageError, "max-side must be at least 16"),
        ([CARD, "--priority", "10"], UsageError, "priority must be 0 to 9, got 10"),
        ([CARD, "--max-age-ms", "0"], UsageError, "max-age-ms must be 1 to 1000000000, got 0"),
        ([CARD, "--quality", "101"], UsageError, "quality must be 1 to 100"),
        ([CARD, "--rotate", "45"], UsageError, "rotate must be 0, 90, 180 or 270, got 45"),
        ([CARD, "--region", "1,2,3"], UsageError, "a region is a box X,Y,WIDTH,HEIGHT or a polygon"),
        (
            [CARD, "--region", "0,0,321,100"],
            UsageError,
            "goes to 321,100, and the upright picture is 320x180",
        ),
        ([CARD, "--rotate", "90", "--region", "0,0,181,99"], UsageError, "the upright picture is 180x320"),
        ([CARD, "--redis", "http://localhost"], UsageError, "Redis URL"),
    ],
)
def test_mistakes_are_told_before_redis_is_asked(
    arguments: list[str], error: type[Exception], words: str
) -> None:
    result = CliRunner().invoke(ingest, arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)


def test_without_redis_says_what_to_do(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINESTREAM_RUNTIME_DIR", str(tmp_path / "none"))
    code, out, err = finish(start(None, str(film)))
    assert (code, out, len(err)) == (1, "", 1)
    assert "kinestream redis" in err[0]


def test_a_damaged_film_gives_what_it_has_and_fails(own_server: Callable[..., Server], film: Path) -> None:
    server = own_server()
    film.write_bytes(film.read_bytes()[:-60])
    code, out, err = finish(start(server, str(film)))
    assert (code, len(err)) == (1, 1)
    assert "a-film: the source ended early: " in err[0]
    assert "is damaged at" in err[0]
    [end] = records(server)
    assert end.status == "end"
    assert 1 <= end.seq < 12
    assert end.cause.startswith("source-failed: a film.mp4 is damaged at"), "no folders for all to read"
    assert f"a-film: {end.seq} produced" in out


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_the_run_cleanly(
    nothing_left: object, own_server: Callable[..., Server], how: signal.Signals
) -> None:
    server = own_server()
    process = start(server, CARD, "--camera", "hall")
    wait_until_sync(lambda: waiting(server, "hall") == 3, "the stream to fill")
    process.send_signal(how)
    code, out, err = finish(process)
    assert (code, err) == (0, [])
    [end] = [record for record in records(server) if record.status == "end"]
    assert end.cause == "stopped"
    assert out.startswith(f"hall: {end.seq} produced = ")
    assert "(balanced" in out


def test_the_second_signal_stops_at_once(nothing_left: object, own_server: Callable[..., Server]) -> None:
    server = own_server()
    process = start(server, CARD, "--camera", "hall")
    wait_until_sync(lambda: waiting(server, "hall") == 3, "the stream to fill")
    server.freeze()  # so that the end of the run cannot be told …
    time.sleep(0.5)  # … and some frames later an offer waits for its reply, which nothing outside can see
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "once more stops at once" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out, "".join(err)) == (130, "", "")
    server.thaw()


def test_told_to_stop_while_redis_hangs_it_does_not_read_the_sums(
    monkeypatch: pytest.MonkeyPatch, own_server: Callable[..., Server], film: Path
) -> None:
    """A server that hangs takes seconds of the ten that a process has to end."""

    async def stopped(self: Feed) -> None:
        raise RedisUnavailable("stopped while Redis was away")

    async def read(*_: object) -> None:
        raise AssertionError("it was asked once more")

    monkeypatch.setattr(Feed, "produce", stopped)
    monkeypatch.setattr("kinestream_ingest.ingestion._show_sums", read)
    result = CliRunner().invoke(ingest, [str(film), "--redis", own_server().url])
    assert isinstance(result.exception, RedisUnavailable)
    assert str(result.exception) == "stopped while Redis was away"


def test_a_second_producer_takes_the_camera_over(own_server: Callable[..., Server]) -> None:
    server = own_server()
    first = start(server, CARD, "--camera", "hall")
    wait_until_sync(lambda: waiting(server, "hall") == 3, "the first to produce")
    second = start(server, f"{CARD}&seconds=0.2", "--camera", "hall")
    code, out, err = finish(first)
    assert (code, len(err)) == (1, 1)
    assert "a newer run of this camera has begun" in err[0]
    assert out.startswith("hall: ")
    assert finish(second)[0] == 0
    assert [record.cause for record in records(server) if record.status == "end"] == ["next-run", ""]


def on_a_terminal(server: Server, *arguments: str) -> str:
    """Run `kinestream ingest` with stderr on a terminal, and return what that showed, without colours."""
    master, slave = pty.openpty()
    process = start(server, *arguments, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # the other side was closed
        pass
    finally:
        os.close(master)
    assert finish(process)[0] == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


class TestProgress:
    def test_of_a_film_is_a_bar_with_log_lines_above(
        self, own_server: Callable[..., Server], film: Path
    ) -> None:
        shown = on_a_terminal(own_server(), str(film))
        assert re.search(r"a-film ━+ 12/12", shown)
        assert re.search(r"[\r\n]\S+ INFO +offering +a-film: run \d+ ended after 12 frames\s*\n", shown)

    def test_of_a_camera_is_a_line_of_figures(self, own_server: Callable[..., Server]) -> None:
        shown = on_a_terminal(own_server(), f"{CARD}&seconds=3", "--camera", "hall")
        assert re.search(r"hall +\d+\.\d frames/s, \d+ dropped, \d in flight, \d+ ms late", shown)

    async def test_without_a_terminal_is_a_log_line(
        self,
        redis: Redis,
        keys: Keys,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(progress, "_LOG_INTERVAL_S", 0.02)
        caplog.set_level(logging.INFO)
        delivery, source = Delivery(redis, keys), ScriptedSource()
        producer = Producer(redis, source, camera="cam", lane="live", keys=keys, limits=delivery.limits)
        async with progress.shown_progress(producer, redis, keys=keys):
            producing = asyncio.create_task(producer.produce())
            for number in range(5):
                source.give(scripted_frame(number))
                await wait_until(lambda n=number: producer.offering.offered > n, "a frame to be offered")
            await wait_until(
                lambda: re.search(r"cam: 5 frames read, .*2 dropped, 3 in flight", caplog.text), "the figures"
            )
            source.end()
            await producing
        assert await delivery.ledger(producer.offering.run)


@pytest.mark.parametrize(
    ("lane", "realtime", "pace"),
    [
        (None, None, None),
        ("live", None, "camera"),
        ("every-frame", None, "unpaced"),
        (None, True, "camera"),
        ("live", True, "camera"),
        ("every-frame", True, "playback"),
        (None, False, "unpaced"),
        ("live", False, "unpaced"),
        ("every-frame", False, "unpaced"),
    ],
)
def test_pace_follows_from_lane_and_realtime(
    lane: Lane | None, realtime: bool | None, pace: Pace | None
) -> None:
    assert pace_of(lane, realtime) == pace


def test_help_explains_itself() -> None:
    result = CliRunner().invoke(ingest, ["--help"])
    words: Sequence[str] = [
        "Examples:",
        "testcard://?",
        "--lane",
        "--every",
        "--max-fps",
        "--max-side",
        "--redis",
    ]
    assert [word for word in words if word not in result.output] == []
