"""`kinestream process` when something is wrong: with what it is given, with a worker, or with it as a whole.

Not for: what it does when all goes well (see `test_process.py`).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from functools import partial
from pathlib import Path

import av
import pytest
from redis.asyncio import Redis

from films import check_whole, frame_times, longer, write_film
from kinestream.embedded import find_redis_url
from kinestream.ledger import read_ledgers
from kinestream.redis import connect
from kinestream.testcard import TestCard
from pipeline import TESTCARD, TIMEOUT_S, Command, records_of, redis_and_workers, run, seqs
from waiting import wait_until

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

FRAMES = 30


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a test card."""
    card = TestCard(athletes=2)
    times_s = [card.frame_time(number) for number in range(FRAMES)]
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", card, times_s)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.mark.parametrize("what", ["missing", "text", "no-frame", "folder"])
def test_what_is_no_video_is_one_line(place: Path, tmp_path: Path, output: Path, what: str) -> None:
    path = tmp_path / f"{what}.mp4"
    if what == "text":
        path.write_text("Once upon a time\n" * 100)
    elif what == "folder":
        path.mkdir()
    elif what == "no-frame":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            container.mux(stream.encode(None))
    done = run("process", path, "-o", output, *TESTCARD)
    check_one_line(done, 2, str(path))
    assert not output.exists()
    assert not place.exists(), "no server was started for it"


@pytest.mark.parametrize("where", ["below a file", "at a file", "in a folder of the kernel"])
def test_an_output_that_cannot_be_written_is_one_line(
    place: Path, tmp_path: Path, film: Path, where: str
) -> None:
    (tmp_path / "file").write_text("mine")
    outputs = {"below a file": tmp_path / "file" / "x", "at a file": tmp_path / "file"}
    output = outputs.get(where, Path("/proc"))
    check_one_line(run("process", film, "-o", output, *TESTCARD), 2, f"cannot write to {output}: ")
    assert (tmp_path / "file").read_text() == "mine"
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]
    assert not place.exists(), "no server was started for it"


def test_a_model_that_is_none_is_one_line(place: Path, output: Path, film: Path) -> None:
    done = run("process", film, "-o", output, "--model", "nowhere.onnx")
    assert done.returncode == 2
    assert "nowhere.onnx" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("kinestream process: worker 1 could not be started")
    assert not output.exists()


def check_one_line(done: subprocess.CompletedProcess[str], code: int, text: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("kinestream process: ") and text in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_of_a_damaged_file_is_kept_what_was_read(place: Path, output: Path, film: Path) -> None:
    damaged = film.with_name("damaged.mp4")
    content = bytearray(film.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 4000] = bytes(reversed(content[middle : middle + 4000]))
    damaged.write_bytes(content)
    done = run("process", damaged, "-o", output, *TESTCARD)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    said = f"kinestream process: {damaged} was not read to its end; {output} holds what there was"
    assert done.stderr.splitlines()[-1] == said
    records = records_of(output / "poses.jsonl")
    assert FRAMES // 4 < len(records) <= FRAMES
    assert seqs(records) == list(range(len(records)))
    assert {record.status for record in records} == {"ok"}
    assert len(frame_times(output / "annotated.mp4")) == len(records)


async def test_a_worker_that_is_killed_is_replaced(place: Path, tmp_path: Path, film: Path) -> None:
    path = longer(film, 6)
    output = tmp_path / "output"
    with Command(tmp_path / "said.txt", "process", path, "-o", output, *TESTCARD, "--no-video") as process:
        process.wait_until(lambda: "begins" in process.said, "the run begins")
        url = (
            next(line for line in process.lines if " kinestream worker " in line).split("=", 1)[1].split()[0]
        )
        async with connect(url) as redis:
            await wait_until(partial(some_are_done, redis), "some frames to be done")
            process.child("worker").kill()
            (ledger,) = await read_ledgers(redis)
        assert ledger.ok < 6 * FRAMES, "it came too late to show anything"
        assert await asyncio.to_thread(process.wait) == 0, process.said
    assert "worker 1 ended with exit code -9, another one takes over" in process.lines
    assert sum(" kinestream worker " in line for line in process.lines if line.startswith("$ ")) == 2
    records = records_of(output / "poses.jsonl")
    check_whole(records, path)
    assert len({record.worker for record in records}) == 2


async def some_are_done(redis: Redis) -> bool:
    return any(ledger.ok >= 8 for ledger in await read_ledgers(redis))


@pytest.mark.parametrize("stage", ["inferring", "rendering"])
def test_ctrl_c_leaves_nothing_unfinished(
    place: Path, tmp_path: Path, output: Path, film: Path, stage: str
) -> None:
    with Command(tmp_path / "said.txt", "process", film, "-o", output, *TESTCARD) as process:
        if stage == "inferring":
            process.wait_until(lambda: "begins" in process.said, "the run begins")
        else:
            process.wait_until(lambda: any(output.glob(".annotated*")), "a video file to be written")
        process.signal(signal.SIGINT)
        assert process.wait() == 130, process.said
    assert "Traceback" not in process.said
    assert not output.exists() if stage == "inferring" else [*output.iterdir()] == [output / "poses.jsonl"]


def test_workers_with_another_model_are_noticed(
    place: Path, tmp_path: Path, output: Path, film: Path
) -> None:
    """On a shared server anybody may take a frame, so poses of two models could end in one file."""
    with redis_and_workers(tmp_path, workers=1):
        url = find_redis_url(None)
        long = longer(film, 12)
        done = run("process", long, "-o", output, "--redis", url, "--model", "testcard-fixed")
    assert done.returncode == 1, done.stderr
    assert "workers with different models share this Redis (testcard-dynamic, testcard-fixed)" in done.stderr
    assert not output.exists()
