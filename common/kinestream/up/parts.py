"""What a plan runs, as command lines of `kinestream`. Not for: starting them (see `keeper.py`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from kinestream.up.options import words
from kinestream.up.plan import JOBS, REDIS, WORKERS, Plan, Recording

Kind = Literal["redis", "cameras", "workers", "recordings", "jobs"]

ENDING: tuple[Kind, ...] = ("cameras", "workers", "recordings", "jobs", "redis")
"""The order in which parts are ended: nothing comes any more, what is there is inferred, then recorded."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process: its name, what it is, and the words of its command line, asked for at each start.

    One that `ends` is done when it ends with exit code 0.
    """

    name: str
    kind: Kind
    words: Callable[[], Sequence[str]]
    ends: bool = False


def redis_part(plan: Plan) -> Part:
    """The server that `up` brings with it."""
    line = ["redis", *words(REDIS, plan.redis)]
    return Part("redis", "redis", lambda: line)


def parts_of(plan: Plan, *, producer: str, cores: int | None = None) -> list[Part]:
    """All processes but Redis, in the order of their start: whoever takes, before whoever gives."""
    parts = _workers(plan, len(os.sched_getaffinity(0)) if cores is None else cores)
    parts += [_recording(one) for one in plan.recordings]
    if plan.jobs is not None:
        jobs = ["jobs", *words(JOBS, plan.jobs)]
        parts.append(Part("jobs", "jobs", lambda: jobs))
    if plan.cameras:
        cameras = ["producer", "--name", producer]
        parts.append(Part("cameras", "cameras", lambda: cameras))
    return parts


def _workers(plan: Plan, cores: int) -> list[Part]:
    """A worker alone takes all cores by itself; several share them, unless somebody has said how."""
    parts: list[Part] = []
    for kind in plan.workers:
        given: dict[str, Any] = dict(kind)
        if plan.worker_count > 1:
            given.setdefault("threads", max(1, cores // plan.worker_count))
        for _ in range(kind.get("count", 1)):
            parts.append(_worker(len(parts) + 1, given))
    return parts


def _worker(index: int, given: Mapping[str, Any]) -> Part:
    line = ["worker", *words(WORKERS, given)]
    return Part(f"worker-{index}", "workers", lambda: line)


def _recording(recording: Recording) -> Part:
    """Each start writes into a folder of its own, named by its time, so that none overwrites another."""

    def line() -> list[str]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
        more = [] if recording.video else ["--no-video"]
        more += ["--until-end"] if recording.until_end else []
        return ["record", *recording.cameras, "-o", f"{recording.output.rstrip('/')}/{now}", *more]

    return Part(f"record-{recording.name}", "recordings", line, ends=recording.until_end)
