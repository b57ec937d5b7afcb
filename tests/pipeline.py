"""The pipeline as users run it: `kinestream` commands as child processes, and what they have left behind.

Not for: parts of it within this process (see `scenarios.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

from kinestream.messages import PoseResult
from kinestream.subscriber import subscribe
from waiting import wait_until_sync

KINESTREAM = [sys.executable, "-P", "-m", "kinestream"]

MEDIA = Path(__file__).parents[2] / "shared" / "media"
"""Real videos, beside the checkout."""

TESTCARD = ("--model", "testcard")
"""For commands that would otherwise download a model."""

TIMEOUT_S = 90.0
"""For one command; those here take seconds on an idle machine."""


class Command:
    """A `kinestream` command that runs; its output goes to a file, so that it is never held up by it."""

    def __init__(self, log: Path, *words: str | Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*KINESTREAM, *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_text()

    @property
    def lines(self) -> list[str]:
        return self.said.splitlines()

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {TIMEOUT_S:g} s:\n{self.said}") from None

    def wait_until(self, predicate: Callable[[], object], what: str) -> None:
        """Wait until something holds; fail, with its output, if the command ends before."""

        def holds() -> bool:
            if predicate():
                return True
            assert self.runs, f"ended before {what}:\n{self.said}"
            return False

        wait_until_sync(holds, what, timeout=TIMEOUT_S)

    def wait_to_say(self, text: str, times: int = 1) -> None:
        """Wait until it has printed a text, so many times."""
        self.wait_until(lambda: self.said.count(text) >= times, f"it says {text!r}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def child(self, word: str) -> psutil.Process:
        """The child that runs the `kinestream` subcommand `word`."""
        (found,) = [
            child
            for child in psutil.Process(self.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE and word in child.cmdline()
        ]
        return found

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        """End it if it still runs, with what it has started."""
        if self.runs:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self._process.kill()
        self._process.wait()


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*KINESTREAM, *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@contextlib.contextmanager
def redis_and_workers(folder: Path, *, workers: int, options: Iterable[str] = ()) -> Iterator[list[Command]]:
    """`kinestream redis` and so many workers, ready; gives the workers. `folder` is for their output."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Command(folder / "redis.txt", "redis"))
        redis.wait_to_say("Redis is ready")
        started = []
        for number in range(1, workers + 1):
            words = ["worker", "--name", f"worker-{number}", "--threads", "1", *options]
            started.append(stack.enter_context(Command(folder / f"worker-{number}.txt", *words)))
        for worker in started:
            worker.wait_to_say("ms a batch")
        yield started


async def read_to_the_end(url: str, cameras: Iterable[str], *, order: bool = True) -> list[PoseResult]:
    """All records up to the last `end` of `cameras`, each of which has one run; with order=False the records
    that come after it are left out.
    """
    open_ = set(cameras)
    records: list[PoseResult] = []
    results = subscribe(url, sorted(open_), start="beginning", order=order)
    async with contextlib.aclosing(results):
        async for record in results:
            records.append(record)
            if record.status == "end":
                open_.remove(record.camera)
                if not open_:
                    break
    return records


def records_of(path: Path) -> list[PoseResult]:
    """The records in a file of JSON lines; raises if a line is not whole."""
    return [PoseResult.from_dict(json.loads(line)) for line in path.read_text().splitlines()]


def seqs(records: Iterable[PoseResult]) -> list[int]:
    """The frames that the records stand for, in the order of the records; those of an `end` are none."""
    return [seq for record in records if record.status != "end" for seq in range(record.seq, record.last + 1)]


def counts(records: Iterable[PoseResult]) -> Counter[str]:
    """Frames by status."""
    counted: Counter[str] = Counter()
    for record in records:
        counted[record.status] += record.frames
    return +counted
