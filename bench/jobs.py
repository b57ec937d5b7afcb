"""Three videos as jobs at once, a worker and a `kinestream jobs` killed midway, beside an undisturbed run.

    python bench/jobs.py VIDEO... --model pose_landmarker_lite.task

Both runs use a Redis of their own, two workers and two `kinestream jobs`. Shown are the frames of each job,
its claims, what the ledger says, and whether the poses equal those of the undisturbed run, to the last digit.
Not for: speed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINESTREAM = [sys.executable, "-P", "-m", "kinestream"]
PATIENCE_S = 900.0
LEFT_OUT = ("run", "captured_us", "timings", "worker", "batch", "camera", "deliveries")
"""What may differ from run to run: who did it when, and how long that took."""


class Stage:
    """The processes of one run."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self._model = model
        self._env = {**os.environ, "KINESTREAM_RUNTIME_DIR": str(folder / "run"), "KINESTREAM_OFFLINE": "1"}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*KINESTREAM, *words], stdout=log, stderr=log, env=self._env, stdin=subprocess.DEVNULL
            )

    def worker(self, name: str) -> None:
        self.start(name, "worker", "--model", self._model, "--threads", "1", "--name", name)

    def jobs(self, name: str) -> None:
        self.start(name, "jobs", "--outputs", str(self.folder / "results"))

    def kill(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGKILL)

    def say(self, *words: str) -> str:
        """Run a command to its end; what it printed."""
        done = subprocess.run(
            [*KINESTREAM, *words], env=self._env, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def states(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.say("job", "list", "--json").splitlines()]

    def __enter__(self) -> Stage:
        self.start("redis", "redis")
        _wait(lambda: "ready" in (self.folder / "redis.log").read_text(), "Redis")
        for number in (1, 2):
            self.worker(f"worker-{number}")
            self.jobs(f"jobs-{number}")
        for number in (1, 2):
            log = self.folder / f"worker-{number}.log"
            _wait(lambda log=log: "ms a batch" in log.read_text(), "a worker")
        return self

    def __exit__(self, *_: object) -> None:
        for name in sorted(self.running, key=lambda name: name == "redis"):
            process = self.running[name]
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def play(folder: Path, videos: list[str], model: str, *, disturbed: bool) -> dict[str, dict[str, Any]]:
    """One run; by video, what its job came to."""
    folder.mkdir()
    with Stage(folder, model) as stage:
        began_s = time.monotonic()
        ids = {video: stage.say("job", "submit", video) for video in videos}
        if disturbed:
            _wait(
                lambda: all(state["done"] > state["total"] / 8 for state in stage.states()),
                "an eighth of each",
            )
            owners = {state["owner"] for state in stage.states()}
            victim = next(
                name
                for name in ("jobs-1", "jobs-2")
                if any(f"-{stage.running[name].pid}-" in owner for owner in owners)
            )
            before = {state["id"]: state["done"] for state in stage.states()}
            stage.kill(victim)
            stage.kill("worker-1")
            print(f"  killed {victim} and worker-1 with {sum(before.values())} frames done")
            stage.worker("worker-3")
        _wait(lambda: all(state["state"] == "done" for state in stage.states()), "every job")
        took_s = time.monotonic() - began_s
        found = {}
        for state in stage.states():
            (video,) = [video for video, job_id in ids.items() if job_id == state["id"]]
            folder_of = Path(state["folder"])
            records = [json.loads(line) for line in (folder_of / "poses.jsonl").read_text().splitlines()]
            found[video] = {
                "claims": state["claims"],
                "note": state["note"],
                "seqs": [record["seq"] for record in records],
                "poses": [{k: v for k, v in record.items() if k not in LEFT_OUT} for record in records],
                "redelivered": sum(record["deliveries"] > 1 for record in records),
                "ledger": json.loads((folder_of / "job.json").read_text())["ledger"],
            }
        print(f"  {'disturbed' if disturbed else 'undisturbed'}: {took_s:.0f} s")
        return found


def _wait(holds: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {PATIENCE_S:g} s in vain for {what}")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--model", default="testcard")
    given = parser.parse_args()
    videos = [str(Path(video).resolve()) for video in given.videos]
    model = str(Path(given.model).resolve()) if Path(given.model).exists() else given.model
    with tempfile.TemporaryDirectory(prefix="ks-jobs-", dir="/tmp") as place:
        calm = play(Path(place, "calm"), videos, model, disturbed=False)
        stormy = play(Path(place, "storm"), videos, model, disturbed=True)
    for video in videos:
        quiet, loud = calm[video], stormy[video]
        frames = len(quiet["seqs"])
        once = loud["seqs"] == list(range(frames)) == quiet["seqs"]
        print(
            f"{Path(video).name:26} {frames} frames, each once: {once}, "
            f"poses equal: {quiet['poses'] == loud['poses']}, claims {loud['claims']}, "
            f"delivered again {loud['redelivered']}, {loud['ledger']} {loud['note']}"
        )


if __name__ == "__main__":
    main()
