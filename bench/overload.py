"""What becomes of cameras when there is more than the workers can do, or when one of them misbehaves.

    python bench/overload.py [--seconds 60] [--cameras 10] [--fps 60] [--trouble flood|garbage|large]

Live cameras (their pictures drawn and encoded beforehand), one recording that must lose nothing, one worker
whose engine takes a stated time, and a Redis of their own, all of them processes. Prints the memory of all
over time, what became of each camera's frames, and how old they were. A trouble is one camera more: `flood`
offers as fast as it can, `garbage` sends bytes that are no frames, `large` sends pictures of 50 megapixels.

Ages are from capture to the start of inference, on one clock since all is one machine. Not for: how fast a
model is (see `compare.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from redis.asyncio import Redis
from troublemakers import TROUBLES

from kinestream.embedded import own_redis
from kinestream.keys import Keys
from kinestream.ledger import Ledger, read_ledger, read_ledgers
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream.tasks import cancel

KINESTREAM = [sys.executable, "-P", "-m", "kinestream"]
RECORDING = "recording"
TROUBLE = "trouble"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked for; times are in milliseconds unless they say otherwise."""

    seconds: float = 60.0
    cameras: int = 10
    fps: int = 60
    base_ms: float = 20.0
    per_image_ms: float = 5.0
    max_batch: int = 4
    recording_fps: int = 15
    trouble: str = ""


@dataclass(slots=True)
class Camera:
    """What became of one camera's frames; `told_once` says that every frame has exactly one record.

    `ages_ms` are of the frames that were inferred while the load was on, with all cameras there.
    """

    ledger: Ledger
    told_once: bool
    ages_ms: list[float]

    @property
    def exact(self) -> bool:
        return self.told_once and self.ledger.balanced and not self.ledger.in_flight

    @property
    def inferred(self) -> int:
        """Frames that were inferred while the load was on."""
        return len(self.ages_ms)

    def age_ms(self, part: float) -> float:
        """A quantile of the ages of what was inferred."""
        return sorted(self.ages_ms)[int(part * (len(self.ages_ms) - 1))] if self.ages_ms else float("nan")


@dataclass(slots=True)
class Report:
    """All figures of one run; `memory_mb` has a row a sample, by process."""

    load: Load
    memory_mb: list[dict[str, float]] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    cameras: dict[str, Camera] = field(default_factory=dict)
    exit_codes: dict[str, int] = field(default_factory=dict)

    @property
    def live(self) -> dict[str, Camera]:
        """The cameras that behave."""
        return {name: camera for name, camera in self.cameras.items() if name not in (RECORDING, TROUBLE)}


@contextlib.contextmanager
def processes(load: Load, url: str, folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The worker and the cameras, each with its output in `folder`."""
    model = folder / "slow.timed"
    model.write_text(f"base_ms = {load.base_ms}\nper_image_ms = {load.per_image_ms}\n")
    card = "testcard://?athletes=2&size=320x180"
    words = {"worker": ["worker", "--model", str(model), "--max-batch", str(load.max_batch)]}
    for number in range(load.cameras):
        name = f"camera-{number:02}"
        words[name] = ["ingest", f"{card}&loop=2&fps={load.fps}&seed={number}", "--camera", name]
    if load.recording_fps:
        recording = f"{card}&fps={load.recording_fps}&seconds={load.seconds:g}"
        words[RECORDING] = ["ingest", recording, "--camera", RECORDING, "--lane", "every-frame", "--realtime"]
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in words.items():
            with (folder / f"{name}.txt").open("wb") as output:
                started[name] = subprocess.Popen(
                    [*KINESTREAM, *command, "--redis", url], stdout=output, stderr=output
                )
        yield started
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.wait(30)


async def measure(load: Load, url: str, server_pid: int, folder: Path) -> Report:
    """Put the load on, and report what came of it."""
    report = Report(load)
    with processes(load, url, folder) as running:
        async with connect(url) as redis:
            everybody = load.cameras + bool(load.recording_fps)
            while sum(ledger.ok > 0 for ledger in await read_ledgers(redis)) < everybody:
                await asyncio.sleep(0.1)
            troubling = asyncio.create_task(_trouble(load, redis))
            pids = {"redis": server_pid, **{name: process.pid for name, process in running.items()}}
            began_ms = await _now_ms(redis)
            until_s = time.monotonic() + load.seconds
            while time.monotonic() < until_s:
                report.memory_mb.append(await _memory(redis, pids))
                await asyncio.sleep(min(load.seconds / 12, 5.0))
            report.cpu_s = {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in pids.items()}
            await cancel(troubling)
            ended_ms = await _now_ms(redis)
            cameras = {name: process for name, process in running.items() if name != "worker"}
            for name, process in cameras.items():
                if name != RECORDING:  # it ends by itself, once its last frame has found room
                    process.terminate()
            for name, process in cameras.items():
                report.exit_codes[name] = await asyncio.to_thread(process.wait, 60 + load.seconds)
            while any(ledger.in_flight for ledger in await read_ledgers(redis)):
                await asyncio.sleep(0.1)
            await _read_cameras(redis, report, (began_ms, ended_ms))
        running["worker"].terminate()
        report.exit_codes["worker"] = await asyncio.to_thread(running["worker"].wait, 30)
    return report


async def _trouble(load: Load, redis: Redis) -> None:
    if load.trouble:
        await TROUBLES[load.trouble](redis, TROUBLE)


async def _memory(redis: Redis, pids: dict[str, int]) -> dict[str, float]:
    """Megabytes of each process, and of Redis's data without the results, which it keeps for five minutes."""
    used = (await redis.info("memory"))["used_memory"]
    results = await redis.memory_usage(Keys().results, samples=100) or 0
    return {
        "data": (used - results) / 1e6,
        "results": results / 1e6,
        **{name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in pids.items()},
    }


async def _now_ms(redis: Redis) -> float:
    seconds, micros = await redis.time()
    return float(1000 * seconds + micros / 1000)


async def _read_cameras(redis: Redis, report: Report, between_ms: tuple[float, float]) -> None:
    told: dict[str, Counter[int]] = {}
    ages_ms: dict[str, list[float]] = {}
    runs = {name.decode(): int(run) for name, run in (await redis.hgetall(Keys().cameras)).items()}
    async for record in _records(redis):
        if record.run != runs[record.camera] or record.status == "end":
            continue
        told.setdefault(record.camera, Counter()).update(range(record.seq, record.last + 1))
        if record.status == "ok" and between_ms[0] <= record.at_ms <= between_ms[1]:
            ages_ms.setdefault(record.camera, []).append(_age_ms(record))
    for name, run in sorted(runs.items()):
        ledger = await read_ledger(redis, name, run)
        assert ledger is not None
        once = told.get(name, Counter()) == Counter(range(ledger.produced))
        report.cameras[name] = Camera(ledger, once, ages_ms.get(name, []))


async def _records(redis: Redis) -> Any:
    after = "-"
    while entries := await redis.xrange(Keys().results, min=after, count=500):
        for entry_id, fields in entries:
            record = PoseResult.unpack(fields[b"result"])
            yield _Committed(record, entry_id)
        after = f"({entries[-1][0].decode()}"


class _Committed:
    """A record and when it was committed, Redis's clock."""

    def __init__(self, record: PoseResult, entry_id: bytes) -> None:
        self._record = record
        self.at_ms = int(entry_id.split(b"-")[0])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)


def _age_ms(record: Any) -> float:
    """From capture to the start of inference."""
    return float(record.at_ms - record.captured_us / 1000 - record.timings["inferred"])


def show(report: Report) -> None:
    """Print the figures as tables."""
    load = report.load
    trouble = load.trouble or "none"
    print(f"{load.cameras} live cameras of {load.fps} fps, {load.seconds:g} s, trouble: {trouble}")
    columns = ["data", "results", "redis", "worker", "camera-00"]
    print("\nmemory, MB   " + "".join(f"{name:>11}" for name in columns) + "  all cameras")
    for number, row in enumerate(report.memory_mb):
        cameras = sum(mb for name, mb in row.items() if name.startswith("camera-"))
        print(
            f"sample {number:>4}  " + "".join(f"{row[name]:>11.1f}" for name in columns) + f"{cameras:>13.1f}"
        )
    print("\nCPU, s       " + "  ".join(f"{name} {spent:.1f}" for name, spent in report.cpu_s.items()))
    print(
        "\ncamera        produced       ok  dropped  stale  failed  lost   share  age p50  p95  max ms  sum"
    )
    inferred = sum(camera.inferred for camera in report.cameras.values())
    for name, camera in report.cameras.items():
        ledger = camera.ledger
        print(
            f"{name:12} {ledger.produced:>9} {ledger.ok:>8} {ledger.dropped:>8} {ledger.stale:>6}"
            f" {ledger.failed:>7} {ledger.lost:>5} {camera.inferred / max(1, inferred):>7.1%}"
            f" {camera.age_ms(0.5):>8.0f} {camera.age_ms(0.95):>4.0f} {camera.age_ms(1):>7.0f}"
            f"  {'exact' if camera.exact else 'WRONG'}"
        )
    shares = [camera.inferred for camera in report.live.values()]
    print(
        f"\nlive cameras: fewest inferred / most inferred = {min(shares) / max(1, max(shares)):.3f}, "
        f"mean {statistics.mean(shares) / load.seconds:.1f} frames/s each; exit codes {report.exit_codes}"
    )


def run(load: Load) -> Report:
    """Measure on a Redis of its own."""
    with tempfile.TemporaryDirectory(prefix="ks-overload-") as folder, own_redis() as server:
        return asyncio.run(measure(load, server.url, server.pid, Path(folder)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    for name, default in asdict(Load()).items():
        choices = ["", *TROUBLES] if name == "trouble" else None
        flag = "--" + name.replace("_", "-")
        options.add_argument(flag, type=type(default), default=default, choices=choices)
    options.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = vars(options.parse_args())
    file = chosen.pop("json")
    report = run(Load(**chosen))
    show(report)
    if file:
        file.write_text(json.dumps(asdict(report), indent=2) + "\n")


if __name__ == "__main__":
    main()
