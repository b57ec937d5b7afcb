"""What distance costs: Redis, workers and cameras on hosts of their own, with a delay and a rate between
them.

    sudo python bench/two_hosts.py [distance] [workers] [cores] [outage] [--rounds 3] [--json FILE]

    distance  latency and throughput with everything on one host, and apart
    workers   how 1, 2 and 3 workers share the frames, with an engine that only waits
    cores     a worker with all threads, or one a core, with a network of about RTMO-s's multiplications
    outage    one host's link is down for five seconds; no frame may go unaccounted for

Hosts are network namespaces of this machine (see `hosts.py`), so they share its cores and its clock: latency
is from the moment before the first offer of a frame to its commit on Redis's clock, in whole milliseconds.
Figures are medians of the rounds, which go forwards and backwards in turn. Not for: capturing and encoding,
whose cost is the camera's alone: frames are JPEGs that were made before any clock runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hosts import HOSTS, network, why_not
from stage import Stage

Figures = dict[str, float]

NETWORKS: dict[str, tuple[float, float] | None] = {
    "one host": None,
    "apart, 0 ms": (0, 0),
    "apart, 0.5 ms": (0.5, 0),
    "apart, 2 ms": (2, 0),
    "apart, 10 ms": (10, 0),
    "1 Gbit/s": (0, 1000),
    "100 Mbit/s": (0, 100),
}
"""Name -> (round trip in ms, Mbit/s of each host, 0 for what the wire can do), None for no wire."""

CALM_FPS, CALM_FRAMES = 10, 60
"""Each of two live cameras: a load at which frames do not queue, so that latency is the way's."""

SEEN_WITHIN = 20
"""Frames of those that are not measured: a worker sees a new camera within two seconds."""

BUSY_FRAMES = 200
OFFERED = 60
WAITING_MS = 100.0
"""A frame in the engine that only waits; three workers of it need a fraction of a core."""


def distance(stage: Stage, rounds: int) -> dict[str, list[Figures]]:
    """Every network, `rounds` times."""
    figures: dict[str, list[Figures]] = {name: [] for name in NETWORKS}
    for number in range(rounds):
        for name in [*NETWORKS][:: 1 if number % 2 == 0 else -1]:
            setting = NETWORKS[name]
            stage.network.set(*(setting or (0, 0)))
            stage.apart = setting is not None
            stage.workers([["--model", "testcard", "--threads", "1"]])
            figures[name].append(_one_distance(stage))
            print(f"  {name}: {_told(figures[name][-1])}", file=sys.stderr)
    return figures


def _one_distance(stage: Stage) -> Figures:
    alone = stage.cameras(1, "every-frame", fps=0, frames=OFFERED, prefix="unseen")
    stage.cameras(2, "live", fps=CALM_FPS, frames=CALM_FRAMES)
    records = [record for record in stage.records() if record.seq >= SEEN_WITHIN]
    latencies = sorted(record.latency_ms for record in records if record.status == "ok")
    figures = {
        "ping ms": alone["ping_ms"],
        "p50 ms": statistics.median(latencies),
        "p95 ms": latencies[int(0.95 * len(latencies))],
        "not ok": sum(record.status != "ok" for record in records),
        "offers/s": OFFERED / alone["seconds"],
    }
    before = stage.network.bytes("redis")
    stage.cameras(2, "every-frame", fps=0, frames=BUSY_FRAMES)
    figures["frames/s"] = stage.frames_per_s()
    after = stage.network.bytes("redis")
    figures["KB in"], figures["KB out"] = (
        (new - old) / 1000 / (2 * BUSY_FRAMES) for old, new in zip(before, after, strict=True)
    )
    return figures


def workers(stage: Stage, rounds: int) -> dict[str, list[Figures]]:
    """One to three workers that wait `WAITING_MS` a frame, two milliseconds away, then ten."""
    stage.apart = True
    plans = {
        f"{count} at {round_trip_ms} ms": (count, round_trip_ms)
        for round_trip_ms in (2, 10)
        for count in (1, 2, 3)
    }
    figures: dict[str, list[Figures]] = {name: [] for name in plans}
    for _ in range(rounds):
        for name, (count, round_trip_ms) in plans.items():
            stage.network.set(round_trip_ms, 0)
            stage.workers([["--waiting-ms", str(WAITING_MS)]] * count)
            stage.cameras(3, "every-frame", fps=0, frames=20 * count)
            shares = Counter(record.worker for record in stage.records())
            figures[name].append(
                {
                    "frames/s": stage.frames_per_s(),
                    "smallest share %": 100 * min(shares.values()) / shares.total(),
                    "largest share %": 100 * max(shares.values()) / shares.total(),
                }
            )
    return figures


def cores(stage: Stage, rounds: int) -> dict[str, list[Figures]]:
    """The same two cores as one worker of two threads and as two workers of one, and one of them alone."""
    stage.network.set(0, 0)
    stage.apart = True
    model = ["--model", str(stage.dense_model())]
    plans = {
        "1 worker, 1 thread": [[*model, "--threads", "1"]],
        "1 worker, 2 threads": [[*model, "--threads", "2"]],
        "2 workers, 1 thread": [[*model, "--threads", "1"]] * 2,
    }
    figures: dict[str, list[Figures]] = {name: [] for name in plans}
    for number in range(rounds):
        for name in [*plans][:: 1 if number % 2 == 0 else -1]:
            stage.workers([[*plan, "--max-batch", "1"] for plan in plans[name]])
            stage.cameras(1, "every-frame", fps=0, frames=40)
            inferred = [record.inferred_ms for record in stage.records()]
            figures[name].append(
                {"frames/s": stage.frames_per_s(), "inferred ms": statistics.median(inferred)}
            )
    return figures


def outage(stage: Stage, rounds: int) -> dict[str, list[Figures]]:
    """Two cameras of ten frames a second, twenty seconds; from the fourth on, a host is off the wire for
    five.
    """
    stage.network.set(2, 0)
    stage.apart = True
    figures: dict[str, list[Figures]] = {}
    for _ in range(rounds):
        for host in HOSTS:
            stage.workers([["--model", "testcard", "--threads", "1"]] * 2)
            for lane, told in stage.outage(seconds=20, down_at_s=4, down_s=5, host=host).items():
                figures.setdefault(f"{host}, {lane}", []).append(told)
                print(f"  {host}, {lane}: {_told(told)}", file=sys.stderr)
    return figures


SCENES: dict[str, Callable[[Stage, int], dict[str, list[Figures]]]] = {
    "distance": distance,
    "workers": workers,
    "cores": cores,
    "outage": outage,
}


def _told(figures: Figures) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in figures.items())


def show(scene: str, figures: dict[str, list[Figures]]) -> None:
    """A table of the rounds' medians."""
    rows = {name: _medians(rounds) for name, rounds in figures.items()}
    columns = [*dict.fromkeys(column for row in rows.values() for column in row)]
    width = 2 + max(map(len, columns))
    print(f"\n{scene:20}" + "".join(f"{column:>{width}}" for column in columns))
    for name, row in rows.items():
        print(f"{name:20}" + "".join(f"{row.get(column, 0.0):{width}.1f}" for column in columns))


def _medians(rounds: list[Figures]) -> Figures:
    return {name: statistics.median(figures.get(name, 0.0) for figures in rounds) for name in rounds[0]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("scenes", nargs="*", metavar="SCENE", help=f"{', '.join(SCENES)} [default: all]")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", type=Path, help="write the figures of every round to this file")
    chosen = options.parse_args()
    if unknown := {*chosen.scenes} - {*SCENES}:
        sys.exit(f"no scene {', '.join(sorted(unknown))}; there are {', '.join(SCENES)}")
    if missing := why_not():
        sys.exit(f"two_hosts.py {missing}")
    told: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="ks-bench-") as folder,
        network() as hosts,
        Stage(hosts, Path(folder)) as stage,
    ):
        told["bytes a JPEG"] = stage.jpeg_bytes
        print(f"frames are JPEGs of {stage.jpeg_bytes / 1000:.0f} KB on average")
        for scene in chosen.scenes or SCENES:
            told[scene] = SCENES[scene](stage, chosen.rounds)
            show(scene, told[scene])
    if chosen.json:
        chosen.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
