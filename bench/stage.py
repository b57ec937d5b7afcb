"""What runs on the hosts of `two_hosts.py`: a Redis, workers and cameras as processes, and what they left in
Redis.

Not for: which of them are measured, and how (see `two_hosts.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis as sync_redis
from hosts import ADDRESS, URL, Network
from players import draw_jpegs

from kinestream.keys import Keys
from kinestream.ledger import Ledger, read_ledgers
from kinestream.messages import PoseResult
from kinestream.redis import connect

PLAYERS = str(Path(__file__).with_name("players.py"))
PATIENCE_S = 120.0


class Record(NamedTuple):
    """One record of a frame."""

    camera: str
    seq: int
    status: str
    worker: str
    frames: int
    captured_us: int
    committed_ms: int
    inferred_ms: float

    @property
    def latency_ms(self) -> float:
        return self.committed_ms - self.captured_us / 1000


class Stage:
    """A Redis on its host, and workers and cameras on theirs, or beside it while `apart` is false."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.apart = False
        self.jpeg_bytes = 0
        self._folder = folder
        self._socket = folder / "redis.sock"  # for this process, which is on none of the hosts
        self._workers: list[subprocess.Popen[bytes]] = []
        self._playing: object = None
        self._redis: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.jpeg_bytes = draw_jpegs(self._folder / "jpegs")
        binary = shutil.which("redis-server") or sys.exit("needs redis-server")
        options = f"--bind {ADDRESS['redis']} --protected-mode no --unixsocket {self._socket} --save".split()
        options += ["", "--maxmemory", "1gb", "--maxmemory-policy", "noeviction"]
        self._redis = self.network.start("redis", binary, *options, log=self._folder / "redis.log")
        self._client = sync_redis.Redis(unix_socket_path=str(self._socket))
        _wait(lambda: self._socket.exists() and self._client.ping(), "Redis")
        return self

    def __exit__(self, *_: object) -> None:
        self._end_workers()
        if self._redis is not None:
            _end(self._redis)

    def workers(self, plans: Sequence[Sequence[str]]) -> None:
        """Let exactly these workers run, by the words of `kinestream worker`, or `--waiting-ms MS`."""
        playing = (self.apart, plans)
        if playing != self._playing:
            self._end_workers()
            for number, words in enumerate(plans, 1):
                name, log = f"worker-{number}", self._folder / f"worker-{number}.log"
                log.unlink(missing_ok=True)
                if words[0] == "--waiting-ms":
                    command = [sys.executable, PLAYERS, "worker", URL, name, words[1]]
                else:
                    command = [sys.executable, "-m", "kinestream", "worker", "--name", name]
                    command += ["--redis", URL, *words]
                host = "worker" if self.apart else "redis"
                self._workers.append(self.network.start(host, *command, log=log))
            for number in range(1, len(plans) + 1):
                log = self._folder / f"worker-{number}.log"
                _wait(lambda log=log: "ms a batch" in log.read_text(), f"{log.name}:\n{log.read_text()}")
            self._playing = playing

    def cameras(
        self, count: int, lane: str, *, fps: float, frames: int, prefix: str = "ks"
    ) -> dict[str, float]:
        """Let so many cameras offer so many frames each, until all are told; what the last one measured."""
        self._client.flushall()
        host = "camera" if self.apart else "redis"
        words = [lane, str(fps), str(frames), prefix, str(self._folder / "jpegs")]
        running = []
        for number in range(count):
            log = self._folder / f"camera-{number}.log"
            log.unlink(missing_ok=True)
            command = [sys.executable, PLAYERS, "camera", URL, f"camera-{number}", *words]
            running.append((log, self.network.start(host, *command, log=log)))
        for log, process in running:
            if process.wait(PATIENCE_S):
                raise OSError(f"a camera ended with {process.returncode}:\n{log.read_text()}")
        if prefix == "ks":
            _wait(lambda: sum(record.frames for record in self.records()) == count * frames, "every frame")
        told: dict[str, float] = json.loads(running[-1][0].read_text().splitlines()[-1])
        return told

    def records(self) -> list[Record]:
        """All records of frames, in order of commit."""
        found = []
        for entry_id, fields in self._client.xrange(Keys().results):
            one = PoseResult.unpack(fields[b"result"])
            if one.status != "end":
                committed_ms = int(entry_id.split(b"-")[0])
                found.append(
                    Record(
                        one.camera,
                        one.seq,
                        one.status,
                        one.worker,
                        one.frames,
                        one.captured_us or 0,
                        committed_ms,
                        one.timings.get("inferred", 0.0),
                    )
                )
        return found

    def frames_per_s(self) -> float:
        """Frames by the time from the first commit to the last: a worker takes a while to see new cameras."""
        committed_ms = [record.committed_ms for record in self.records()]
        return 1000 * (len(committed_ms) - 1) / (max(committed_ms) - min(committed_ms))

    def outage(
        self, *, seconds: int, down_at_s: float, down_s: float, host: str = "redis", fps: int = 10
    ) -> dict[str, dict[str, float]]:
        """A camera a lane, by `kinestream ingest`, while a host is off the wire for a while; by lane."""
        self._client.flushall()
        running = []
        for lane in ("live", "every-frame"):
            log = self._folder / f"{lane}.log"
            log.unlink(missing_ok=True)
            source = f"testcard://?athletes=2&fps={fps}&size=640x360&seconds={seconds}"
            command = [sys.executable, "-m", "kinestream", "ingest", source, "--realtime", "--redis", URL]
            command += ["--camera", lane, "--lane", lane]
            running.append(self.network.start("camera", *command, log=log))
        _wait(lambda: len(self.records()) >= 2, "a first result")
        time.sleep(down_at_s)
        self.network.link(host, up=False)
        time.sleep(down_s)
        self.network.link(host, up=True)
        up_ms = time.time() * 1000
        for process in running:
            process.wait(PATIENCE_S)
        _wait(lambda: not any(ledger.in_flight for ledger in self.ledgers()), "every frame")
        told = {}
        for ledger in self.ledgers():
            mine = [record for record in self.records() if record.camera == ledger.camera]
            later = [record.committed_ms - up_ms for record in mine if record.committed_ms > up_ms]
            told[ledger.camera] = {
                "captured": seconds * fps,
                "produced": ledger.produced,
                **{
                    status: getattr(ledger, status) for status in ("ok", "dropped", "stale", "failed", "lost")
                },
                "balanced": float(ledger.balanced),
                "told once": float(
                    sum(record.frames for record in mine) == len(_seqs(mine)) == ledger.produced
                ),
                "back after s": min(later) / 1000,
                **ledger.causes,
            }
        return told

    def ledgers(self) -> list[Ledger]:
        async def read() -> list[Ledger]:
            async with connect(f"unix://{self._socket}") as client:
                return await read_ledgers(client)

        return asyncio.run(read())

    def dense_model(self) -> Path:
        """A graph that multiplies about as much as RTMO-s, see `dense.py`."""
        from dense import write_dense_model

        return write_dense_model(self._folder / "dense.onnx")

    def _end_workers(self) -> None:
        for worker in self._workers:
            _end(worker)
        self._workers, self._playing = [], None


def _seqs(records: Sequence[Record]) -> set[int]:
    return {seq for record in records for seq in range(record.seq, record.seq + record.frames)}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(holds: Any, what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError, sync_redis.ConnectionError):
            if holds():
                return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {PATIENCE_S:g} s in vain for {what}")
        time.sleep(0.05)
