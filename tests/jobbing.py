"""Jobs as users have them: a Redis, `kinestream worker`s and `kinestream jobs` as processes, and a client.

Not for: the state of jobs in Redis alone (see `test_jobs_store.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from redis import Redis

from kinestream.jobs.client import submit
from kinestream.jobs.store import JobRecord
from kinestream.keys import Keys
from kinestream.ledger import Ledger, read_ledger
from kinestream.redis import connect
from pipeline import KINESTREAM, TIMEOUT_S, Command
from servers import Server
from waiting import wait_until_sync

NOT_THE_SAME = {"run", "captured_us", "timings", "worker", "batch", "camera", "deliveries"}
"""What differs between two analyses of one video: when, where and by whom."""


def grey_film(path: Path, frames: int, *, rate: int = 30) -> Path:
    """A small video of pictures that grow lighter, with nobody in them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.options = {"preset": "ultrafast"}
        for number in range(frames):
            picture = np.full((48, 64, 3), number % 200 + 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


class Yard:
    """One server and what runs on it, with its files in `folder`: `videos`, `results`, a log a process."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.url = server.url
        self.videos, self.results = folder / "videos", folder / "results"
        self.videos.mkdir()
        self._stack = contextlib.ExitStack()
        self._client = Redis.from_url(server.url)
        self._started = 0

    def __enter__(self) -> Yard:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._client.close()

    def film(self, name: str, frames: int) -> Path:
        return grey_film(self.videos / name, frames)

    def start(self, *words: str | Path) -> Command:
        self._started += 1
        log = self.folder / f"{self._started}-{words[0]}.log"
        return self._stack.enter_context(Command(log, *words, "--redis", self.url))

    def worker(self, *, frame_ms: float = 0.0, name: str = "slow") -> Command:
        """A worker that takes so long for a frame; `name` is its model's."""
        model = self.folder / f"{name}.timed"
        model.write_text(f"base_ms = 0.1\nper_image_ms = {max(frame_ms, 0.1)}\n")
        words = ("--model", model, "--threads", "1", "--max-batch", "1")
        worker = self.start("worker", "--name", f"worker-{self._started}", *words)
        worker.wait_to_say("ms a batch")
        return worker

    def jobs(self, *words: str | Path) -> Command:
        """A `kinestream jobs`, ready."""
        jobs = self.start("jobs", "--videos", self.videos, "--outputs", self.results, *words)
        jobs.wait_to_say("jobs are done here")
        return jobs

    def submit(self, video: str | Path, **options: Any) -> str:
        return asyncio.run(submit(self.url, video, **options)).id

    def record(self, job_id: str) -> JobRecord:
        fields: Any = self._client.hgetall(Keys().job(job_id))
        assert fields, f"there is no job {job_id}"
        return JobRecord.read(job_id, fields)

    def ledger(self, job_id: str, run: int = 0) -> Ledger:
        """The ledger of a job's run, by default that of its record."""
        number = run or self.record(job_id).run

        async def read() -> Ledger | None:
            async with connect(self.url) as redis:
                return await read_ledger(redis, job_id, number)

        ledger = asyncio.run(read())
        assert ledger is not None
        return ledger

    def redis(self, *words: str | int) -> Any:
        """One command to Redis."""
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def wait(self, job_id: str, *, done: int = 0, state: str = "", timeout: float = TIMEOUT_S) -> JobRecord:
        """Wait until so many frames of a job are done, or for a state: by default until it is over."""

        def reached() -> JobRecord | None:
            record = self.record(job_id)
            if record.over and record.state != (state or record.state):
                raise AssertionError(f"{job_id} is {record.state}: {record.error}\n{self.said()}")
            there = record.done >= done if done else record.state == state if state else record.over
            return record if there else None

        found: JobRecord = wait_until_sync(reached, f"{job_id} to come to {state or done}", timeout=timeout)
        return found

    def said(self) -> str:
        """What all have printed."""
        return "\n".join(f"{log.name}:\n{log.read_text()}" for log in sorted(self.folder.glob("*.log")))

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command on this server to its end."""
        command = [*KINESTREAM, *map(str, words), "--redis", self.url]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S
        )


@contextlib.contextmanager
def yard(folder: Path, server: Server) -> Iterator[Yard]:
    with Yard(folder, server) as made:
        yield made


def lines_of(folder: str | Path) -> list[dict[str, Any]]:
    """The records of a job, or of `kinestream process`, less what two analyses do not share."""
    lines = Path(folder, "poses.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in NOT_THE_SAME}
        for line in lines
    ]


def seqs_of(folder: str | Path) -> list[int]:
    """The frames in the order of their lines."""
    return [
        seq
        for line in lines_of(folder)
        for seq in range(line["seq"], (line.get("seq_to") or line["seq"]) + 1)
    ]


def summary_of(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "job.json").read_text())
    return found
