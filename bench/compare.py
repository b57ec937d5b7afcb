"""How fast Kinestream is beside the bare session, and beside what one could run otherwise.

    python bench/compare.py [--model rtmo-s|timed|FILE] [--only session,kinestream,…] [--load 25,50,80,95]

Side by side in one run, as a table, JSON (`--json`) and a plot (`--plot`):

    session     the bare session on ready tensors, in batches; of `timed`, the engine alone
    parts       decode, letterbox, session, suppression of this package, one frame after the other
    kinestream  four cameras through Redis and a worker, to a subscriber: processes of their own
    rtmlib      decode and rtmlib's own RTMO class, one frame after the other
    guide       a FastAPI server: WebSocket, JSON, base64, one picture a call, four clients
    jobs        an arq job a frame

All get the same JPEGs (640×480, the test card), encoded before any clock runs. Frames per second are as fast
as each can; rounds go forwards and backwards in turn (A B B A), figures are medians with their least and
largest. Latencies are from capture to result, at parts of what each one reached. `rtmo-s` is a graph of its
cost with random weights (`rtmo_s.py`), `timed` takes 2 + 0.7·n ms for a batch of n, as a GPU might, and no
core; `nobody` is decoded and letterboxed for, and nothing is computed. Needs `pip install --group bench`.

Not for: the contenders themselves (`versus/`), nor how many cameras fit (`kinestream bench`).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

VERSUS = Path(__file__).with_name("versus")
sys.path.append(str(VERSUS))

CONTENDERS = ("session", "parts", "kinestream", "rtmlib", "guide", "jobs")
NO_LATENCY = ("session",)
"""What has no frames, only tensors."""

TIMED = "base_ms = 2\nper_image_ms = 0.7\n"
WARM_UP = 16
"""Frames of the round that does not count; it tells how many a measurement of `--seconds` has."""
PERCENTILES = (50, 95, 99)


class Contender:
    """A process that waits for commands (`versus/load.py`)."""

    def __init__(self, name: str, model: Path, batch: int, folder: Path, words: Sequence[str]) -> None:
        script, more = {
            "session": ("loops.py", ["session", str(model), str(batch), str(folder)]),
            "parts": ("loops.py", ["parts", str(model), "1", str(folder)]),
            "rtmlib": ("loops.py", ["rtmlib", str(model), "1", str(folder)]),
            "kinestream": (
                "pipeline.py",
                [str(model), str(folder), "--max-batch", str(batch), *words],
            ),
            "guide": ("guide.py", [str(model), str(folder)]),
            "jobs": ("jobs.py", [str(model), str(folder)]),
        }[name]
        command = [sys.executable, str(VERSUS / script), *more]
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._pids: dict[str, int] = self._told()["pids"]

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, command: str, frames: int) -> dict[str, Any]:
        """The answer, with the milliseconds of CPU that each of its processes used a frame."""
        before = self._cpu_s()
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._told()
        after = self._cpu_s()
        return answer | {"cpu_ms": {name: 1000 * (after[name] - before[name]) / frames for name in after}}

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def _cpu_s(self) -> dict[str, float]:
        used = {name: psutil.Process(pid).cpu_times() for name, pid in self._pids.items()}
        return {name: times.user + times.system for name, times in used.items()}


def throughput(contenders: list[Contender], seconds: float, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """What each did in each round, after one that does not count."""
    done: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in contenders}
    frames: dict[str, int] = dict.fromkeys(done, WARM_UP)
    for number in range(rounds + 1):
        for contender in contenders[:: 1 if number % 2 else -1]:
            name, count = contender.name, frames[contender.name]
            answer = contender.ask(f"flat {count}", count)
            answer.pop("parts_ms", None)
            answer["fps"] = count / answer["seconds"]
            if number:
                done[name].append(answer)
                print(f"  {name}: {answer['fps']:.1f} frames/s", file=sys.stderr)
            else:
                frames[name] = max(WARM_UP, round(answer["fps"] * seconds / WARM_UP) * WARM_UP)
    return done


def latencies(
    contenders: list[Contender], capacity: dict[str, float], loads: Sequence[int], seconds: float
) -> dict[str, dict[int, dict[str, Any]]]:
    """Percentiles of each contender at each load, a percentage of its own capacity."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for contender in contenders:
        if contender.name in NO_LATENCY:
            continue
        found[contender.name] = {}
        for load in loads:
            fps = capacity[contender.name] * load / 100
            frames = round(fps * seconds)
            answer = contender.ask(f"paced {fps} {seconds}", frames)
            told: dict[str, Any] = {f"p{p}": at(answer["latencies_ms"], p) for p in PERCENTILES}
            told |= {"fps": fps, "not_ok": answer["not_ok"] / frames, "cpu_ms": answer["cpu_ms"]}
            for name, values in answer["parts_ms"].items():
                told[name] = {f"p{p}": at(values, p) for p in PERCENTILES}
            found[contender.name][load] = told
            print(f"  {contender.name} at {load} %: p95 {told['p95']:.1f} ms", file=sys.stderr)
    return found


def at(values: Sequence[float], percentile: int) -> float:
    """That percentile; NaN of nothing."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percentile / 100))] if ranked else float("nan")


def show(figures: dict[str, Any]) -> None:
    """The tables."""
    rounds = figures["throughput"]
    medians = {name: statistics.median(one["fps"] for one in ones) for name, ones in rounds.items()}
    base = medians.get("session") or next(iter(medians.values()))
    print(f"\n{'':12}{'frames/s':>9}{'least–largest':>16}{'× session':>11}  CPU ms a frame")
    for name, ones in rounds.items():
        speeds = [one["fps"] for one in ones]
        used = [one["cpu_ms"] for one in ones]
        cpu = {process: statistics.median(one[process] for one in used) for process in used[0]}
        parts = " + ".join(f"{ms:.2f} {process}" for process, ms in cpu.items())
        told = f"{sum(cpu.values()):.2f} = {parts}"
        spread = f"{min(speeds):.1f}–{max(speeds):.1f}"
        print(f"{name:12}{medians[name]:9.1f}{spread:>16}{medians[name] / base:11.2f}  {told}")
    if not figures["latency"]:
        return
    print(f"\n{'':12}{'load':>6}{'frames/s':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'not ok':>8}")
    for name, loads in figures["latency"].items():
        for load, told in loads.items():
            numbers = "".join(f"{told[f'p{p}']:9.1f}" for p in PERCENTILES)
            print(f"{name:12}{load:5} %{told['fps']:10.1f}{numbers}{told['not_ok']:8.1%}")


def machine() -> dict[str, Any]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": psutil.cpu_count(),
        "load before": psutil.getloadavg()[0],
        "python": platform.python_version(),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--model", default="rtmo-s", help="rtmo-s, timed, nobody, or a file")
    options.add_argument("--only", default=",".join(CONTENDERS), help="contenders, with commas")
    options.add_argument("--batch", type=int, default=4, help="frames inferred together, at most")
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--load", default="", help="percentages, with commas; none: no latencies")
    options.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    options.add_argument("--worker", default="", help="more words for `kinestream worker`")
    options.add_argument("--json", type=Path)
    options.add_argument("--plot", type=Path)
    chosen = options.parse_args()
    only = chosen.only.split(",")
    if unknown := {*only} - {*CONTENDERS}:
        sys.exit(f"no contender {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    with tempfile.TemporaryDirectory(prefix="ks-bench-") as place, ExitStack() as stack:
        folder, model = Path(place) / "jpegs", model_file(chosen.model, Path(place))
        folder.mkdir()
        subprocess.run([sys.executable, str(VERSUS / "load.py"), str(folder)], check=True)
        figures: dict[str, Any] = {"machine": machine(), "model": chosen.model, "batch": chosen.batch}
        words = chosen.worker.split()
        contenders = [
            stack.enter_context(Contender(name, model, chosen.batch, folder, words)) for name in only
        ]
        figures["throughput"] = throughput(contenders, chosen.seconds, chosen.rounds)
        capacity = {
            name: statistics.median(one["fps"] for one in ones)
            for name, ones in figures["throughput"].items()
        }
        loads = [int(load) for load in chosen.load.split(",") if load]
        figures["latency"] = latencies(contenders, capacity, loads, chosen.seconds)
    show(figures)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
    if chosen.plot:
        from comparison_plot import plot

        plot(figures, chosen.plot)


def model_file(model: str, folder: Path) -> Path:
    """The file that is meant."""
    if model == "rtmo-s":
        from rtmo_s import rtmo_s

        return rtmo_s()
    if model == "timed":
        path = folder / "gpu-like.timed"
        path.write_text(TIMED)
        return path
    if model == "nobody":
        from rtmo_s import nobody

        return nobody(folder / "nobody.onnx")
    from kinestream_workers.models import resolve_model

    return resolve_model(model)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
