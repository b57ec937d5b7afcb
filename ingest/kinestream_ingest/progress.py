"""How it goes, for whoever looks at the terminal: a bar for what has an end, a line of figures for a camera.

Without a terminal it is a log line every few seconds. What came of the frames is read from the ledger.
Not for: the sum at the end (see `cli.py`), or a view of all cameras (`kinestream watch`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.logs import about, log_above
from kinestream_ingest.offering import Offering
from kinestream_ingest.sources import Source

_TERMINAL_INTERVAL_S = 0.5
_LOG_INTERVAL_S = 5.0

_PATIENCE_S = 1.0
"""At the end, for a last look into the ledger of a Redis that may hang."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How it goes: `fps` since the figures before, the others since the run began.

    `seen` are the source's frames, skipped ones included; `late_ms` is how long after its capture the last
    frame was acknowledged, `away_s` for how long the camera has been away.
    """

    seen: int
    fps: float
    dropped: int
    in_flight: int
    late_ms: float
    away_s: float


Show = Callable[[Figures], None]


class Shown(Protocol):
    """What can be shown: a `Producer`, or a `Feed`, which has had several of them.

    `seen` and `offered` only grow; `offering` and `source` are those of now.
    """

    @property
    def seen(self) -> int: ...

    @property
    def offered(self) -> int: ...

    @property
    def away_s(self) -> float: ...

    @property
    def offering(self) -> Offering: ...

    @property
    def source(self) -> Source: ...


def _in_foreground() -> bool:
    """Whether stderr is a terminal, and ours: in the background, after a `&`, it is shared with others."""
    try:
        return sys.stderr.isatty() and os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # no controlling terminal
        return sys.stderr.isatty()


@contextlib.asynccontextmanager
async def shown_progress(producer: Shown, redis: Redis, *, keys: Keys | None = None) -> AsyncIterator[None]:
    """Show on stderr how `producer` is doing while the block runs."""
    terminal = _in_foreground()
    with _on_terminal(producer) if terminal else _in_log(producer) as show:
        interval_s = _TERMINAL_INTERVAL_S if terminal else _LOG_INTERVAL_S
        done = asyncio.Event()
        showing = asyncio.create_task(_keep_showing(producer, redis, keys, show, interval_s, done))
        try:
            yield
        finally:
            done.set()  # a client of somebody else's may swallow the cancellation, before Python 3.12
            showing.cancel()
            await asyncio.wait([showing], timeout=_PATIENCE_S)


async def _keep_showing(
    producer: Shown, redis: Redis, keys: Keys | None, show: Show, interval_s: float, done: asyncio.Event
) -> None:
    dropped = in_flight = before = 0
    before_s = time.monotonic()
    while True:
        await asyncio.sleep(interval_s)
        offering = producer.offering
        with contextlib.suppress(RedisError):  # it is away, as a warning says; the last figures stand
            run = offering.runs[-1].number if offering.runs else 0
            ledger = await read_ledger(redis, offering.camera, run, keys=keys)
            if ledger is not None:
                dropped, in_flight = ledger.dropped + ledger.stale, ledger.in_flight
        if done.is_set():
            return
        now_s = time.monotonic()
        fps = (producer.offered - before) / (now_s - before_s)
        before, before_s = producer.offered, now_s
        show(
            Figures(
                seen=producer.seen,
                fps=fps,
                dropped=dropped,
                in_flight=in_flight,
                late_ms=1000 * offering.late_s,
                away_s=producer.away_s,
            )
        )


@contextlib.contextmanager
def _on_terminal(producer: Shown) -> Iterator[Show]:
    camera, total = producer.offering.camera, producer.source.frames
    live = producer.offering.lane == "live"
    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
    if not live:
        columns += [BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}")]
        columns += [TimeRemainingColumn(compact=True), TextColumn("left")]
    else:
        columns += [TextColumn("{task.fields[figures]}")]
    with Progress(*columns, console=Console(stderr=True)) as progress, log_above():
        task = progress.add_task(camera, total=total, figures="")

        def show(figures: Figures) -> None:
            progress.update(task, completed=figures.seen, figures=_line(figures, live))

        yield show
        progress.update(task, completed=producer.seen)


@contextlib.contextmanager
def _in_log(producer: Shown) -> Iterator[Show]:
    camera, total = producer.offering.camera, producer.source.frames
    live = producer.offering.lane == "live"

    def show(figures: Figures) -> None:
        seen = f"{figures.seen} of {total}" if total else str(figures.seen)
        _log.info("%s: %s frames read, %s", camera, seen, _line(figures, live), extra=about(camera))

    yield show


def _line(figures: Figures, live: bool) -> str:
    """The figures of a camera; a recording cannot be late, and loses nothing on its way."""
    if figures.away_s:
        return f"away for {figures.away_s:.0f} s, {figures.in_flight} in flight"
    rate = f"{figures.fps:.1f} frames/s"
    if not live:
        return rate
    return f"{rate}, {figures.dropped} dropped, {figures.in_flight} in flight, {figures.late_ms:.0f} ms late"
