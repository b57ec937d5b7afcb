"""What a long upload does to live cameras on the same worker, and they to it.

    python bench/fairness.py [--seconds 15] [--rounds 2] [--model testcard] [--worker='--target-p95 80ms']

Two live cameras (pictures drawn and encoded beforehand), one complete source that offers as fast as it is
let, and one worker, all of them processes on a Redis of their own. Measured in turn: the live cameras
alone, the upload alone, both; then in the opposite order, and so on. Latency is from capture to commit, on
the one clock of one machine. Without `--model` the engine waits for `--base-ms` + `--per-image-ms` an
image. Not for: what becomes of cameras when there is too much of them (see `overload.py`), nor a latency
target (see `target.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from kinestream.embedded import own_redis
from kinestream.keys import Keys
from kinestream.ledger import read_ledgers
from kinestream.messages import PoseResult
from kinestream.redis import connect

KINESTREAM = [sys.executable, "-P", "-m", "kinestream"]
UPLOAD = "upload"
PHASES = ("live", "upload", "both")
SETTLING_S = 1.5
"""Until all cameras are at work, and the worker has seen them."""


class Figures(NamedTuple):
    """What one phase of one round was like; a call is of a script, by producers and workers alike."""

    phase: str
    live_ms: list[float]
    live_frames: int
    live_ok: int
    upload_per_s: float
    calls_a_frame: float


@contextlib.contextmanager
def running(
    words: dict[str, list[str]], url: str, folder: Path
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Commands of kinestream by name, each with its output in `folder`; they are told to end at the end."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in words.items():
            with (folder / f"{name}.txt").open("wb") as output:
                niceness = ["nice", "-n", "5"] if name == UPLOAD else []  # as `kinestream jobs` reads
                whole = [*niceness, *KINESTREAM, *command, "--redis", url]
                started[name] = subprocess.Popen(whole, stdout=output, stderr=output)
        yield started
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.wait(30)


def cameras(phase: str, options: argparse.Namespace) -> dict[str, list[str]]:
    """The commands of the cameras of a phase."""
    card = f"testcard://?athletes=2&size={options.size}&loop=2"
    live = {
        f"live-{number}": ["ingest", f"{card}&fps={options.fps}&seed={number}", "--camera", f"live-{number}"]
        for number in range(options.cameras)
    }
    upload = {UPLOAD: ["ingest", card, "--camera", UPLOAD, "--lane", "every-frame", "--no-realtime"]}
    return {"live": live, "upload": upload, "both": live | upload}[phase]


async def measure(phase: str, url: str, folder: Path, options: argparse.Namespace) -> Figures:
    """Let the cameras of a phase run for a while, and read what became of the frames of that time."""
    async with connect(url) as redis:
        wanted = cameras(phase, options)
        with running(wanted, url, folder):
            before = {ledger.camera: ledger.run for ledger in await read_ledgers(redis)}
            while not await _all_at_work(redis, wanted, before):
                await asyncio.sleep(0.1)
            await asyncio.sleep(SETTLING_S)
            calls, began = await _calls(redis), await redis.time()
            await asyncio.sleep(options.seconds)
            calls, ended = await _calls(redis) - calls, await redis.time()
        began_ms, ended_ms = (1000 * seconds + micros / 1000 for seconds, micros in (began, ended))
        records = [
            (int(entry_id.split(b"-")[0]), PoseResult.unpack(fields[b"result"]))
            for entry_id, fields in await redis.xrange(Keys().results, min=int(began_ms), max=int(ended_ms))
        ]
        while any(ledger.in_flight for ledger in await read_ledgers(redis)):
            await asyncio.sleep(0.1)
    frames = [(at_ms, record) for at_ms, record in records if record.status != "end"]
    live = [(at_ms, record) for at_ms, record in frames if record.camera != UPLOAD]
    in_time = [at_ms - (record.captured_us or 0) / 1000 for at_ms, record in live if record.status == "ok"]
    seconds = (ended_ms - began_ms) / 1000
    uploaded = sum(record.status == "ok" for _, record in frames if record.camera == UPLOAD)
    return Figures(
        phase,
        in_time,
        sum(record.frames for _, record in live),
        len(in_time),
        uploaded / seconds,
        calls / max(1, len(frames)),
    )


async def _all_at_work(redis: Redis, wanted: dict[str, list[str]], before: dict[str, int]) -> bool:
    ledgers = {ledger.camera: ledger for ledger in await read_ledgers(redis)}
    return all(
        name in ledgers and ledgers[name].run != before.get(name) and ledgers[name].ok for name in wanted
    )


async def _calls(redis: Redis) -> int:
    return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


def quantile(values: list[float], part: float) -> float:
    """A quantile; not a number if there are no values."""
    return sorted(values)[round(part * (len(values) - 1))] if values else float("nan")


def show(figures: list[Figures]) -> dict[str, Any]:
    """Print a line a phase and round, and return them."""
    told = []
    print("phase    live p50   p95   p99 ms   served   upload/s   script calls a frame")
    for one in figures:
        p50, p95, p99 = (quantile(one.live_ms, part) for part in (0.5, 0.95, 0.99))
        served = one.live_ok / one.live_frames if one.live_frames else float("nan")
        print(
            f"{one.phase:8} {p50:8.1f} {p95:5.1f} {p99:5.1f} {served:11.1%} {one.upload_per_s:10.1f}"
            f" {one.calls_a_frame:9.2f}"
        )
        told.append(
            {"phase": one.phase, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "served": served}
            | {"upload_per_s": one.upload_per_s, "calls_a_frame": one.calls_a_frame}
        )
    return {"figures": told}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--seconds", type=float, default=15.0)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES)
    options.add_argument("--cameras", type=int, default=2)
    options.add_argument("--fps", type=float, default=25)
    options.add_argument("--size", default="320x180")
    options.add_argument("--model", help="of the worker, in place of an engine that waits")
    options.add_argument("--base-ms", type=float, default=2.0)
    options.add_argument("--per-image-ms", type=float, default=0.7)
    options.add_argument("--worker", default="", help="words for `kinestream worker`")
    options.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = options.parse_args()
    figures = []
    with tempfile.TemporaryDirectory(prefix="ks-fairness-") as name, own_redis() as server:
        folder = Path(name)
        model = folder / "waits.timed"
        model.write_text(f"base_ms = {chosen.base_ms}\nper_image_ms = {chosen.per_image_ms}\n")
        worker = ["worker", "--model", chosen.model or str(model), *shlex.split(chosen.worker)]
        with running({"worker": worker}, server.url, folder):
            for number in range(chosen.rounds):
                for phase in chosen.phases if number % 2 == 0 else reversed(chosen.phases):
                    figures.append(asyncio.run(measure(phase, server.url, folder, chosen)))
    told = show(figures)
    if chosen.json:
        chosen.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
