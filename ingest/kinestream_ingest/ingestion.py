"""One `kinestream ingest`: from the first connection over all frames to the sums of its runs.

Not for: the options and their help (see `cli.py`), nor connections that break (`feed.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kinestream.embedded import find_redis_url
from kinestream.errors import KinestreamError, RedisUnavailable, UsageError
from kinestream.ledger import read_ledger
from kinestream.messages import Lane
from kinestream.metrics.telemetry import Telemetry
from kinestream.overview import sum_line
from kinestream.processes import capture_signals
from kinestream.redis import connect, through_outages
from kinestream.run import run_of_token
from kinestream.turns import Wishes
from kinestream_ingest.encoder import Encoder
from kinestream_ingest.feed import Feed
from kinestream_ingest.firstconnection import first_connection
from kinestream_ingest.pacing import Thinning
from kinestream_ingest.progress import shown_progress
from kinestream_ingest.sources import Source
from kinestream_ingest.telling import process_name, state_of, told

if TYPE_CHECKING:
    from kinestream_ingest.metrics import IngestMetrics

_SHOWN_RUNS = 10
"""Sums that are shown at the end: a camera with a bad connection has hundreds of runs."""


async def ingest_source(
    text: str,
    open_it: Callable[[], Source],
    redis_url: str | None,
    *,
    camera: str | None,
    lane: Lane | None,
    wishes: Wishes,
    reconnect: bool | None,
    run_key: str | None,
    encoder: Encoder,
    thinning: Thinning,
    telemetry: Telemetry,
) -> None:
    """Read the source `text`, which `open_it` opens, to its end, or until this process is told to stop.

    The other arguments are the command's options. Raises `KinestreamError`.
    """
    telemetry.health.doing = "opening the source"
    with capture_signals() as stop:
        again = reconnect is not False and run_key is None
        source = await first_connection(open_it, text, stop, again=again, camera=camera, redis_url=redis_url)
        if source is None:
            return
        encoder.check(source)
        if reconnect and not source.returns:
            raise UsageError(f"--reconnect is for cameras; {source.description} is read once")
        its_lane: Lane = lane or ("live" if source.live else "every-frame")
        if run_key is not None and (source.returns or its_lane == "live" or not run_key):
            raise UsageError(
                f"--run-key KEY is for what is read once, on the every-frame lane: {source.description} is "
                + ("a camera" if source.returns else "live" if its_lane == "live" else "given an empty key")
            )
        url = find_redis_url(redis_url)
        name = camera or source.name
        async with connect(url) as redis, telemetry.watching_redis(url):
            if run_key and await _is_over(redis, name, run_key, stop):
                return
            feed = Feed(
                redis,
                source,
                camera=name,
                lane=its_lane,
                reopen=open_it if source.returns and reconnect is not False else None,
                encoder=encoder,
                thinning=thinning,
                stop=stop,
                run_key=run_key or "",
                priority=wishes.priority,
                max_age_ms=wishes.max_age_ms,
            )
            _tell(telemetry, feed, stop)
            # A run with a key is gone on with by whoever has the key: that its reader is silent is no reason
            # to end it, and a state that is not told any more would be one (see `kinestream.abandoned`).
            state = partial(state_of, feed, process_name())
            telling = contextlib.nullcontext() if run_key else told(state, redis)
            try:
                async with telling, shown_progress(feed, redis):
                    await feed.produce()
            except RedisUnavailable:
                raise  # without sums: who was told to stop does not wait again for a Redis that hangs
            except KinestreamError:
                await _show_sums(redis, feed)
                raise
            await _show_sums(redis, feed)


async def _is_over(redis: Redis, camera: str, run_key: str, stop: asyncio.Event) -> bool:
    """Whether the run of this key has ended, so that there is nothing left to do."""
    what = f"looking for a run of {camera}"
    run, is_open = await through_outages(lambda: run_of_token(redis, camera, run_key), what=what, stop=stop)
    if run and not is_open:
        click.echo(f"{camera}: run {run}, which has this key, is over already")
    return run > 0 and not is_open


def _tell(telemetry: Telemetry, feed: Feed, stop: asyncio.Event) -> None:
    """From now on it has something to tell, and is ready while its camera is there and has an open run."""

    def collector() -> IngestMetrics:
        from kinestream_ingest.metrics import IngestMetrics  # prometheus-client, where it is asked for

        return IngestMetrics(lambda: [feed])

    def missing() -> str:
        if stop.is_set():
            return "ending"
        if feed.away_s:
            return f"the source has been away for {feed.away_s:.0f} s"
        return "" if feed.offering.open else "no run is open"

    telemetry.register(collector)
    telemetry.health.add_check(missing)
    telemetry.health.doing = ""


async def _show_sums(redis: Redis, feed: Feed) -> None:
    """One line a run: what became of its frames so far; several if the camera or Redis was away."""
    camera, runs = feed.offering.camera, feed.runs
    with contextlib.suppress(RedisError):  # it went away, and an error says so
        if len(runs) > _SHOWN_RUNS:
            click.echo(f"{camera}: {len(runs)} runs, the last {_SHOWN_RUNS} of them:")
        for run in runs[-_SHOWN_RUNS:]:
            ledger = await read_ledger(redis, camera, run)
            if ledger is not None:
                click.echo(sum_line(ledger) + f", run {run}" * (len(runs) > 1))
