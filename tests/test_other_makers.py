"""The programs of docs/examples run for real: a producer and a consumer in Node, with scripts that they were
given as files, against a real server and a real worker.

That docs/protocol.md shows these very programs is for `test_protocol_docs.py`; wrong calls of the scripts for
`test_wrong_calls.py`; messages by themselves for `test_interop_node.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from redis.asyncio import Redis

from kinestream.drawing import DEFAULT_THRESHOLD
from kinestream.keys import Keys
from kinestream.ledger import Ledger, read_ledger
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream.testcard import TestCard, compare
from pipeline import TIMEOUT_S, Command, run
from servers import Server, free_port
from waiting import wait_until

ROOT = Path(__file__).parent.parent
NODE_MODULES = ROOT / "tests" / "node" / "node_modules"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="needs node on PATH"),
    pytest.mark.skipif(
        not (NODE_MODULES / "ioredis").is_dir(),
        reason="needs tests/node/node_modules: npm install --prefix tests/node --no-package-lock",
    ),
]

CARD = TestCard.parse("testcard://?athletes=2&motion=walk&size=640x360&seed=7")
FPS = 15.0
ROOM = 64
"""Frames of a complete camera that may wait: `every_frame_room`."""


class Program:
    """A Node program that runs; what it prints goes to files, since nobody reads a pipe meanwhile."""

    def __init__(self, maker: Maker, *words: str | Path) -> None:
        assert NODE
        place = maker.folder / f"program-{len(maker.running)}"
        self._printed, self._complaints = place.with_suffix(".out"), place.with_suffix(".err")
        with self._printed.open("w") as printed, self._complaints.open("w") as complaints:
            self._process = subprocess.Popen(
                [NODE, *map(str, words)],
                cwd=maker.folder,
                env={"PATH": os.environ["PATH"], "KINESTREAM_REDIS_URL": maker.url},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=complaints,
            )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    async def end(self) -> tuple[int, str, str]:
        """Wait for its end; its exit code and what it printed on standard output and error."""
        await wait_until(lambda: not self.runs, "a program to end", timeout=TIMEOUT_S)
        return self._process.wait(), self._printed.read_text(), self._complaints.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Maker:
    """A folder of somebody who has a server's URL, Node, and what `kinestream scripts` wrote; no Python."""

    folder: Path
    url: str
    redis: Redis
    running: list[Program] = field(default_factory=list)

    def node(self, program: str, *words: str | Path) -> Program:
        """Start one of the two programs."""
        self.running.append(Program(self, program, *words))
        return self.running[-1]

    def pictures(self, count: int) -> list[Path]:
        """JPEG files of the test card's first frames."""
        paths = [self.folder / f"{index:03}.jpg" for index in range(count)]
        for index, path in enumerate(paths):
            encoded = cv2.imencode(".jpg", CARD.draw(index / FPS), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            path.write_bytes(encoded.tobytes())
        return paths

    async def waiting(self, camera: str, frames: int) -> None:
        """Wait until so many frames are in a camera's stream."""

        async def there() -> bool:
            return await self.redis.xlen(Keys().frames(camera)) == frames

        await wait_until(there, f"{frames} frames of {camera}")

    async def ledger(self, camera: str, run: int) -> Ledger:
        """The ledger of a run, which must balance."""
        found = await read_ledger(self.redis, camera, run)
        assert found is not None and found.balanced, found
        return found

    async def newest_run(self, camera: str) -> int:
        return int(await self.redis.hget(Keys().cameras, camera) or 0)  # type: ignore[misc]

    async def records(self) -> list[PoseResult]:
        """All that was published, oldest first."""
        return [PoseResult.unpack(entry[b"result"]) for _, entry in await self.redis.xrange(Keys().results)]


@pytest.fixture
async def maker(tmp_path: Path, own_server: Callable[..., Server]) -> AsyncIterator[Maker]:
    port = free_port()
    own_server(options=["--port", str(port), "--bind", "127.0.0.1"])
    for program in (ROOT / "docs" / "examples").glob("*.mjs"):
        shutil.copy(program, tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    assert run("scripts", tmp_path / "lua").returncode == 0
    url = f"redis://127.0.0.1:{port}"
    async with connect(url) as redis:
        maker = Maker(tmp_path, url, redis)
        yield maker
    for program in maker.running:
        program.kill()


@pytest.fixture
def worker(maker: Maker) -> Iterator[Callable[[], Command]]:
    """Return a function that starts a worker; the test says when."""
    started: list[Command] = []

    def start() -> Command:
        words = ["worker", "--model", "testcard", "--threads", "1", "--redis", maker.url]
        started.append(Command(maker.folder / "worker.txt", *words))
        return started[-1]

    yield start
    for command in started:
        command.__exit__()


async def test_pictures_from_node_to_node(maker: Maker, worker: Callable[[], Command]) -> None:
    """More pictures than may wait, so the producer meets `full`; midway the server forgets the scripts."""
    pictures = maker.pictures(ROOM + 16)
    producer = maker.node("producer.mjs", "shed", "every-frame", *pictures)
    consumer = maker.node("consumer.mjs", "shed")
    await maker.waiting("shed", ROOM)
    assert producer.runs, "it must wait, not give up"
    await maker.redis.script_flush()
    working = worker()
    working.wait_to_say("ms a batch")
    ended = await producer.end()
    run_number = await maker.newest_run("shed")
    assert ended == (0, f"shed run {run_number}: {len(pictures)} frames, ok\n", "")

    code, printed, complaints = await consumer.end()
    assert (code, complaints) == (0, "")
    records = [PoseResult.from_dict(json.loads(line)) for line in printed.splitlines()]
    seen = {record.seq: record for record in records if record.status == "ok"}
    assert [*sorted(seen)] == [*range(len(pictures))]
    assert [(record.status, record.seq) for record in records if record.status != "ok"] == [
        ("end", len(pictures))
    ]
    for seq, record in seen.items():
        truth = CARD.truth(seq / FPS)
        compared = compare(
            truth,
            np.array([person.keypoints for person in record.people]),
            min_score=DEFAULT_THRESHOLD,
        )
        assert (compared.invented, compared.missed) == (0, 0), f"frame {seq}"
        assert compared.errors_px.max() < 2
        assert (record.width, record.height) == (CARD.width, CARD.height)
    ledger = await maker.ledger("shed", run_number)
    assert (ledger.produced, ledger.ok, ledger.state) == (len(pictures), len(pictures), "ended")


async def test_a_second_producer_fences_the_first(maker: Maker, worker: Callable[[], Command]) -> None:
    pictures = maker.pictures(4)
    first = maker.node("producer.mjs", "shed", "every-frame", *(pictures * 20))
    await maker.waiting("shed", ROOM)
    first_run = await maker.newest_run("shed")
    second = maker.node("producer.mjs", "shed", "every-frame", *pictures)
    code, _, complaint = await first.end()
    assert code == 1
    assert f"run {first_run} is fenced at frame {ROOM}" in complaint
    assert second.runs, "it must wait until the first one's frames are done"
    worker()
    assert (await second.end())[0] == 0
    second_run = await maker.newest_run("shed")
    assert second_run > first_run

    async def all_done() -> bool:
        return not await maker.redis.xlen(Keys().frames("shed"))

    await wait_until(all_done, "every frame of both runs", timeout=TIMEOUT_S)
    for number, frames in ((first_run, ROOM), (second_run, len(pictures))):
        ledger = await maker.ledger("shed", number)
        assert (ledger.produced, ledger.ok, ledger.state) == (frames, frames, "ended")
    ends = [
        (record.run, record.seq, record.cause) for record in await maker.records() if record.status == "end"
    ]
    assert ends == [(first_run, ROOM, "next-run"), (second_run, len(pictures), "")]


async def test_bytes_that_are_no_picture_fail_alone(maker: Maker, worker: Callable[[], Command]) -> None:
    noise = maker.folder / "noise.jpg"
    noise.write_bytes(np.random.default_rng(1).integers(0, 256, 5000, np.uint8).tobytes())
    (maker.folder / "empty.jpg").touch()
    (picture,) = maker.pictures(1)
    halved = maker.folder / "halved.jpg"
    halved.write_bytes(picture.read_bytes()[:100])
    files = [noise, picture, maker.folder / "empty.jpg", halved]
    worker()
    producer = maker.node("producer.mjs", "shed", "every-frame", *files)
    code, _, complaints = await producer.end()
    assert (code, complaints) == (0, "")
    number = await maker.newest_run("shed")

    async def all_told() -> bool:
        return (await maker.ledger("shed", number)).in_flight == 0

    await wait_until(all_told, "every frame's outcome")
    outcomes = {record.seq: (record.status, record.cause) for record in await maker.records()}
    bad = ("failed", "undecodable")
    assert outcomes == {0: bad, 1: ("ok", ""), 2: bad, 3: bad, len(files): ("end", "")}
    dead = await maker.redis.xrange(Keys().dead)
    assert [entry[b"name"].decode() for _, entry in dead] == [f"{number}-{seq}" for seq in (0, 2, 3)]


async def test_a_live_camera_that_nobody_looks_at_keeps_its_newest_frames(maker: Maker) -> None:
    """What gives way is told with the record that Node packed."""
    producer = maker.node("producer.mjs", "door", "live", *maker.pictures(5))
    code, _, complaints = await producer.end()
    assert (code, complaints) == (0, "")
    records = await maker.records()
    assert [(record.seq, record.status, record.cause) for record in records] == [
        (0, "dropped", "no-room"),
        (1, "dropped", "no-room"),
        (5, "end", ""),
    ]
    assert {(record.camera, record.width, record.height) for record in records[:2]} == {("door", 640, 360)}
    ledger = await maker.ledger("door", await maker.newest_run("door"))
    assert Counter(ledger.causes) == {"dropped:no-room": 2}
    assert (ledger.produced, ledger.dropped, ledger.waiting) == (5, 2, 3)
