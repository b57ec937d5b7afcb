"""Network cameras as users have them: real servers, `kinestream` commands, and athletes in the pictures."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from itertools import groupby
from pathlib import Path

import pytest
from click.testing import CliRunner

from cameras import RtspCamera, jpegs
from kinestream.embedded import find_redis_url
from kinestream.errors import UsageError
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream_ingest.cli import ingest
from mjpeg_server import MjpegCamera
from pipeline import Command, redis_and_workers, run

SECRET = "Zq9xSecret"


async def results() -> list[PoseResult]:
    async with connect(find_redis_url(None)) as redis:
        entries = await redis.xrange(Keys().results)
    return [PoseResult.unpack(fields[b"result"]) for _, fields in entries]


def with_people(camera: str, run_number: int | None = None) -> int:
    """How many results have athletes in them, as both of the card's always are."""
    return sum(
        1
        for result in asyncio.run(results())
        if result.camera == camera and len(result.people) == 2 and run_number in (None, result.run)
    )


def begun(camera: Command) -> list[int]:
    """The runs that it said it began."""
    return [int(line.split(": run ")[1].split()[0]) for line in camera.lines if " begins, " in line]


async def redis_holds(word: str) -> list[bytes]:
    """The keys in whose names or values a word is."""
    async with connect(find_redis_url(None)) as redis:
        return [
            key
            async for key in redis.scan_iter()
            if word.encode() in key or word.encode() in (await redis.dump(key) or b"")
        ]


async def unbalanced(camera: str, runs: list[int]) -> list[int]:
    async with connect(find_redis_url(None)) as redis:
        ledgers = [await read_ledger(redis, camera, number) for number in runs]
    return [ledger.run for ledger in ledgers if ledger is not None and not ledger.balanced]


def test_an_rtsp_camera_that_dies_and_returns(place: Path, tmp_path: Path) -> None:
    with (
        RtspCamera(login=f"viewer:{SECRET}") as camera,
        redis_and_workers(tmp_path, workers=1, options=["--model", "testcard"]) as [worker],
        Command(
            tmp_path / "ingest.txt",
            "ingest",
            f"{camera.url(f'viewer:{SECRET}')}?token={SECRET}",
            "--camera",
            "hall",
        ) as producer,
    ):
        producer.wait_until(lambda: with_people("hall") > 5, "athletes to be found")
        camera.kill()
        producer.wait_to_say("still away")
        camera.start()
        producer.wait_to_say(" begins, live", 2)
        second = begun(producer)[1]
        producer.wait_until(lambda: with_people("hall", second) > 5, "athletes to be found in a new run")
        producer.signal(signal.SIGINT)
        assert producer.wait() == 0
        found = asyncio.run(results())
        assert asyncio.run(redis_holds(SECRET)) == []
        assert asyncio.run(unbalanced("hall", begun(producer))) == []
    assert SECRET not in producer.said + worker.said
    ends = [(result.run, result.cause) for result in found if result.status == "end"]
    first_end, second_end = sorted(ends)
    assert first_end[0] < second == second_end[0]
    assert first_end[1].startswith("source-failed: the connection")
    assert second_end[1] == "stopped"
    sums = [line for line in producer.lines if line.startswith("hall: ") and " produced = " in line]
    assert len(sums) == 2
    assert all("(balanced" in line for line in sums)


def test_every_record_says_by_which_clock_its_picture_was_captured(place: Path, tmp_path: Path) -> None:
    with (
        RtspCamera() as camera,
        redis_and_workers(tmp_path, workers=1, options=["--model", "testcard"]),
        Command(tmp_path / "ingest.txt", "ingest", camera.url(), "--camera", "hall") as producer,
    ):
        producer.wait_until(
            lambda: asyncio.run(results())[-1:] and asyncio.run(results())[-1].clock == "camera",
            "the camera to tell its clock",
        )
        producer.signal(signal.SIGINT)
        assert producer.wait() == 0
        count = len(asyncio.run(results()))
        watched = run("watch", "hall", "--from", "beginning", "--count", str(count), "--order")
    records = [PoseResult.from_dict(json.loads(line)) for line in watched.stdout.splitlines()]
    assert all((record.captured_us is not None) == bool(record.clock) for record in records)
    told = [record.clock for record in records if record.clock]
    assert [name for name, _ in groupby(told)] == ["arrival", "camera"]


def test_an_mjpeg_camera_that_stalls_ends_without_reconnecting(place: Path, tmp_path: Path) -> None:
    with (
        MjpegCamera(jpegs(), login=f"viewer:{SECRET}", pause_s=0.05) as camera,
        redis_and_workers(tmp_path, workers=1, options=["--model", "testcard"]),
        Command(
            tmp_path / "ingest.txt",
            *["ingest", camera.url, "--camera", "yard", "--no-reconnect", "--timeout", "1"],
        ) as producer,
    ):
        camera.spoil = lambda number: b"no JPEG " * 20 if number == 5 else None
        producer.wait_until(lambda: with_people("yard") > 5, "athletes to be found")
        camera.stalled.set()
        assert producer.wait() == 1
        [end] = [result for result in asyncio.run(results()) if result.status == "end"]
        assert asyncio.run(redis_holds(SECRET)) == []
        assert asyncio.run(unbalanced("yard", begun(producer))) == []
    assert end.cause == "source-failed: no picture came for 1 s"
    assert "kinestream ingest: yard: the source ended early: no picture came for 1 s" in producer.lines
    assert SECRET not in producer.said


def test_pictures_of_which_one_is_bad(place: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, jpeg in enumerate(jpegs()[:5]):
        (photos / f"{number}.jpg").write_bytes(jpeg if number != 2 else b"no JPEG")
    with redis_and_workers(tmp_path, workers=0):
        done = run("ingest", photos)
        [dropped, end] = asyncio.run(results())
    assert done.returncode == 0, done.stderr
    assert "frame 2 is given up on: 2.jpg is undecodable" in done.stderr
    assert done.stdout.startswith("photos: 5 produced = 0 ok + 1 dropped + ")
    assert "4 in flight (balanced; 1 dropped undecodable)" in done.stdout
    assert (dropped.status, dropped.seq, dropped.cause) == ("dropped", 2, "undecodable")
    assert (end.status, end.seq) == ("end", 5)


class TestFirstConnection:
    """If nobody wants it to be tried again; else it is waited for (see `test_firstconnection.py`)."""

    def failed(self, *words: str) -> str:
        done = run("ingest", *words, "--no-reconnect")
        assert (done.returncode, done.stdout) == (2, "")
        [line] = done.stderr.splitlines()
        assert line.startswith("kinestream ingest: ")
        assert SECRET not in line
        return line

    def test_to_a_server_that_never_answers_is_one_line(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"rtsp://viewer:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/live"
            assert "no picture came for 0.5 s" in self.failed(url, "--timeout", "0.5")

    def test_to_nobody_is_one_line(self) -> None:
        line = self.failed(f"http://viewer:{SECRET}@127.0.0.1:1/live")
        assert line == "kinestream ingest: cannot watch http://127.0.0.1:1/live: connection refused"

    def test_to_a_webcam_that_is_not_there_is_one_line(self) -> None:
        assert "there is no /dev/video99" in self.failed("webcam://99?format=MJPG")

    def test_can_be_interrupted(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"
            with Command(tmp_path / "ingest.txt", "ingest", url, "--timeout", "600") as producer:
                connection, _ = listener.accept()
                with connection:
                    producer.signal(signal.SIGINT)
                    assert producer.wait() == 0
        assert "stopping" in producer.said


@pytest.mark.parametrize("source", ["testcard://?seconds=1", "0.jpg"])
def test_what_is_read_once_is_not_opened_again(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("0.jpg").write_bytes(jpegs()[0])
    result = CliRunner().invoke(ingest, [source, "--reconnect"])
    assert isinstance(result.exception, UsageError)
    assert "--reconnect is for cameras; " in str(result.exception)
