"""Four cameras into one producer for minutes: their server killed and started again, one of them frozen.

    python bench/gym.py FILMS [--kind rtsp|mjpeg] [--seconds 180] [--size 640x360] [--fps 15] [--keep DIR]

FILMS is a folder with videos: the first four, by name, are the cameras. All are processes: the server of the
cameras (GStreamer's, or a small one for MJPEG), a Redis, a producer, a worker on the test card's model, which
finds nobody and costs little. Prints how soon after its return each camera was live again, whether the others
went on meanwhile, whether every ledger balances, and the producer's threads, memory and time of the CPU.

Not for: latency (see `glass.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from clips import pictures, write_h264, write_jpegs
from redis.asyncio import Redis

from kinestream.cameraspec import CameraSpec
from kinestream.camerastate import CameraState, camera_states
from kinestream.embedded import own_redis
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.messages import PoseResult
from kinestream.processes import spawn, start_child
from kinestream.redis import connect
from kinestream.wanted import want_camera

HERE = Path(__file__).parent
CAMERAS = 4
TIMEOUT_S = 4.0
DOWN_S = 12.0
FROZEN_S = 12.0
_PICTURES = 60


class Server:
    """The process that is all the cameras."""

    def __init__(self, kind: str, folder: Path, port: int, *more: str) -> None:
        self._words = {
            "rtsp": ["/usr/bin/python3", str(HERE / "gym_rtsp.py"), str(port), str(folder)],
            "mjpeg": [sys.executable, str(HERE / "gym_mjpeg.py"), str(port), str(folder)],
        }[kind] + [*more]
        self._log = folder.with_name("server.log")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> float:
        """Start it, wait until it listens, and return when that was."""
        with self._log.open("wb") as log:
            self._process = spawn(self._words, stdout=log, stderr=subprocess.STDOUT)
        until = time.monotonic() + 30
        while "ready" not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the cameras do not start: {self._log.read_text()}")
            await asyncio.sleep(0.02)
        return time.monotonic()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Watch:
    """Looks at the states of all cameras ten times a second, for as long as it is entered."""

    def __init__(self, redis: Redis, names: list[str], producer: psutil.Process) -> None:
        self.names = names
        self.seen: list[tuple[float, dict[str, CameraState]]] = []
        self.threads: list[tuple[float, int, int]] = []
        self._redis = redis
        self._producer = producer

    async def keep(self) -> None:
        while True:
            self.seen.append((time.monotonic(), await camera_states(self._redis, self.names)))
            now = time.monotonic()
            if not self.threads or now - self.threads[-1][0] > 1:
                memory = self._producer.memory_info().rss
                self.threads.append((now, self._producer.num_threads(), memory))
            await asyncio.sleep(0.1)

    def states(self, name: str, since: float, until: float = float("inf")) -> list[tuple[float, CameraState]]:
        return [(at, states[name]) for at, states in self.seen if since <= at <= until and name in states]

    def back_s(self, name: str, since: float, run: int | None) -> float | None:
        """Seconds from `since` until a newer run than `run` of this camera was seen to be live."""
        for at, state in self.states(name, since):
            if state.state == "live" and state.run is not None and state.run > (run or 0):
                return at - since
        return None


def _run(watch: Watch, name: str) -> int | None:
    return watch.seen[-1][1][name].run if name in watch.seen[-1][1] else None


async def play(options: argparse.Namespace, redis: Redis, folder: Path, url: str) -> dict[str, Any]:
    names = sorted(one.name for one in (folder / "clips").iterdir())
    port = options.port
    server = Server(options.kind, folder / "clips", port)
    await server.start()
    environment = {"KINESTREAM_REDIS_URL": url}

    def child(words: list[str]) -> Any:
        return start_child(words, name=words[0], environment=environment, log=folder / f"{words[0]}.log")

    with (
        server,
        child(["producer", "--name", "gym"]) as producer,
        child(["worker", "--model", "testcard", "--threads", "1"]),
    ):
        for place, name in enumerate(names):
            rtsp = f"rtsp://127.0.0.1:{port}/{name}"
            source = rtsp if options.kind == "rtsp" else f"http://127.0.0.1:{port + place}/"
            await want_camera(redis, CameraSpec(name=name, source=source, timeout_s=TIMEOUT_S))
        process = psutil.Process(producer.pid)
        watch = Watch(redis, names, process)
        keeping = asyncio.create_task(watch.keep())
        began = time.monotonic()
        found: dict[str, Any] = {"kind": options.kind, "cameras": names}
        await _all_live(watch)
        found["first_s"] = round(time.monotonic() - began, 1)
        await asyncio.sleep(options.seconds * 0.2)
        await _outage(server, watch, found)
        await asyncio.sleep(options.seconds * 0.2)
        await _freeze(folder / "clips", watch, found)
        await asyncio.sleep(max(0.0, options.seconds - (time.monotonic() - began)))
        found["producer"] = _used(watch, process, began)
        keeping.cancel()
    found["runs"] = await _books(redis, names)
    return found


async def _all_live(watch: Watch) -> None:
    until = time.monotonic() + 60
    while not watch.seen or sum(one.state == "live" for one in watch.seen[-1][1].values()) < len(watch.names):
        if time.monotonic() > until:
            sys.exit(f"not all cameras become live: {watch.seen[-1:]}")
        await asyncio.sleep(0.1)


def _used(watch: Watch, process: psutil.Process, began: float) -> dict[str, Any]:
    """Threads and megabytes of the producer every fifteen seconds, and the CPU's time in all."""
    told = watch.threads[::15]
    used = process.cpu_times()
    return {
        "at_s": [round(at - began) for at, *_ in told],
        "threads": [threads for _, threads, _ in told],
        "rss_mb": [round(rss / 1e6) for *_, rss in told],
        "cpu_s": round(used.user + used.system, 1),
    }


async def _outage(server: Server, watch: Watch, found: dict[str, Any]) -> None:
    runs = {name: _run(watch, name) for name in watch.names}
    server.kill()
    await asyncio.sleep(DOWN_S)
    back = await server.start()
    until = time.monotonic() + 30
    while time.monotonic() < until and None in [watch.back_s(n, back, runs[n]) for n in watch.names]:
        await asyncio.sleep(0.2)
    told = {name: watch.back_s(name, back, runs[name]) for name in watch.names}
    found["back_after_restart_s"] = {name: one and round(one, 1) for name, one in told.items()}


async def _freeze(clips: Path, watch: Watch, found: dict[str, Any]) -> None:
    victim, *others = watch.names
    runs = {name: _run(watch, name) for name in watch.names}
    flag = clips / f"{victim}.frozen"
    began = time.monotonic()
    flag.touch()
    await asyncio.sleep(FROZEN_S)
    flag.unlink()
    back = time.monotonic()
    while time.monotonic() < back + 30 and watch.back_s(victim, back, runs[victim]) is None:
        await asyncio.sleep(0.2)
    back_s = watch.back_s(victim, back, runs[victim])
    states = {state.state for _, state in watch.states(victim, began, back)}
    untouched = {}
    for name in others:
        seen = watch.states(name, began)
        same_run = {state.run for _, state in seen} == {runs[name]}
        longest_s = max(state.frame_ago_s or 0.0 for _, state in seen)
        untouched[name] = {"same_run": same_run, "longest_without_picture_s": round(longest_s, 1)}
    found["frozen"] = {
        "camera": victim,
        "states": sorted(states),
        "back_s": back_s and round(back_s, 1),
        "others": untouched,
    }


async def _books(redis: Redis, names: list[str]) -> dict[str, Any]:
    """All runs of all cameras, from the results: how many, why they ended, whether they balance."""
    entries = await redis.xrange(Keys().results)
    runs: dict[tuple[str, int], str] = {}
    frames = 0
    for _, entry in entries:
        record = PoseResult.unpack(entry[b"result"])
        frames += record.frames if record.status != "end" else 0
        runs.setdefault((record.camera, record.run), "")
        if record.status == "end":
            runs[record.camera, record.run] = record.cause
    balanced = produced = in_flight = 0
    causes: dict[str, int] = {}
    for camera, run in runs:
        ledger = await read_ledger(redis, camera, run)
        assert ledger is not None
        balanced += ledger.balanced
        produced += ledger.produced
        in_flight += ledger.in_flight
        for cause, count in ledger.causes.items():
            causes[cause] = causes.get(cause, 0) + count
    return {
        "runs": {name: sum(camera == name for camera, _ in runs) for name in names},
        "balanced": f"{balanced} of {len(runs)}",
        "produced": produced,
        "in_flight": in_flight,
        "records": frames,
        "causes": causes,
        "ends": sorted(set(runs.values())),
    }


@contextlib.contextmanager
def prepared(options: argparse.Namespace) -> Iterator[Path]:
    """A folder with the clips, encoded."""
    width, height = map(int, options.size.split("x"))
    write = write_h264 if options.kind == "rtsp" else write_jpegs
    with tempfile.TemporaryDirectory(prefix="ks-gym-") as place:
        for film in sorted(options.films.glob("*.mp4"))[:CAMERAS]:
            images = pictures(film, _PICTURES, width, height)
            write(Path(place, "clips", film.stem.replace("_", "-")), images, options.fps)
        yield Path(place)
        if options.keep is not None:
            for log in Path(place).glob("*.log"):
                shutil.copy(log, options.keep)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("films", type=Path)
    parser.add_argument("--kind", choices=["rtsp", "mjpeg"], default="rtsp")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--keep", type=Path, help="a folder for the logs")
    parser.add_argument("--port", type=int, default=18554)
    options = parser.parse_args()

    async def run(folder: Path, url: str) -> None:
        async with connect(url) as redis:
            print(json.dumps(await play(options, redis, folder, url), indent=1))

    with prepared(options) as folder, own_redis() as server:
        asyncio.run(run(folder, server.url))


if __name__ == "__main__":
    main()
