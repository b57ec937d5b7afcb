"""The command `kinestream worker`. Not for: what a worker does (see `worker.py`)."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any

import click

from kinestream.cli import redis_option
from kinestream.errors import UsageError
from kinestream_workers.settings import WorkerSettings

_log = logging.getLogger(__name__)


def _default(setting: str) -> str:
    """How a help text ends; read from the settings, so that it is written once."""
    (default,) = (field.default for field in dataclasses.fields(WorkerSettings) if field.name == setting)
    return f"  [default: {default:g}]"


@click.command(short_help="Take frames from Redis in batches and infer poses.")
@click.option(
    "--model",
    default="testcard",
    show_default=True,
    metavar="NAME|FILE",
    help="`testcard`, `testcard-fixed`, or the path of an RTMO .onnx file.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    help="Where to infer; auto takes a GPU that onnxruntime can use, else the CPU.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of one inference on a CPU.  [default: physical cores]"
)
@click.option(
    "--max-batch",
    type=click.IntRange(1, 256),
    help=f"Frames inferred together, at most.{_default('max_batch')}",
)
@click.option(
    "--max-wait-ms",
    type=click.FloatRange(0, 10_000),
    help="How long a frame waits for others to share its batch while the engine is idle."
    f"{_default('max_wait_ms')}",
)
@click.option(
    "--max-age-ms",
    type=click.FloatRange(0),
    help="A live frame older than this is committed as stale without being inferred."
    f"{_default('max_age_ms')}",
)
@click.option(
    "--lease-ms",
    type=click.IntRange(100),
    default=5000,
    show_default=True,
    help="How long frames of a dead worker wait until others take them; equal for all workers.",
)
@click.option(
    "--engine-timeout-s",
    type=click.FloatRange(1),
    help="An engine that is at one batch for longer hangs, and ends the worker with exit code 1."
    f"{_default('engine_timeout_s')}",
)
@click.option("--name", help="Name of this worker, unique among all.  [default: host, process, random]")
@redis_option
def worker(
    model: str,
    device: str,
    threads: int | None,
    lease_ms: int,
    redis_url: str | None,
    **given: Any,
) -> None:
    """Take frames of all cameras from Redis, infer the poses of all people in them, publish the results.

    Start as many workers as the athletes need: they share the cameras by themselves, and when one dies, the
    others finish its frames. The first Ctrl-C finishes the batch at hand and gives the rest back, the second
    one stops.

    \b
    kinestream worker                                the test card's graph
    kinestream worker --model rtmo-s.onnx            an RTMO export of your own
    kinestream worker --threads 1                    one of several on one machine
    """
    from kinestream.embedded import find_redis_url
    from kinestream.fields import MAX_TEXT
    from kinestream.keys import RETURNED
    from kinestream_workers.models import resolve_model

    name = given["name"]
    if name is not None and (name in ("", RETURNED) or len(name) > MAX_TEXT):
        raise UsageError(
            f"a worker's name has 1 to {MAX_TEXT} characters and is not {RETURNED!r}, got {name[:80]!r}"
        )
    resolve_model(model)  # what is wrong with the arguments comes before what is wrong with Redis
    url = find_redis_url(redis_url)
    asyncio.run(_work(url, model, device, threads, lease_ms, given))


async def _work(
    url: str,
    model: str,
    device: str,
    threads: int | None,
    lease_ms: int,
    given: dict[str, Any],
) -> None:
    from kinestream.delivery import Limits
    from kinestream.groupconsumer import GroupConsumer
    from kinestream.processes import capture_signals
    from kinestream.redis import connect
    from kinestream_workers.engines import open_engine
    from kinestream_workers.worker import Worker

    settings = dataclasses.replace(
        WorkerSettings(), **{name: value for name, value in given.items() if value is not None}
    )
    with capture_signals() as stop:
        engine = await asyncio.to_thread(open_engine, model, device=device, threads=threads)
        costs = await asyncio.to_thread(engine.warm_up, settings.max_batch)
        _log.info("%s, %s", engine.description, _shown(costs))
        client = connect(url)
        try:
            consumer = GroupConsumer(client, settings.name, limits=Limits(lease_ms=lease_ms))
            working = Worker(consumer, engine, settings)
            await working.run(stop)
            _log.info("worker %s committed %d frames", settings.name, working.committed)
        finally:
            await client.aclose()


def _shown(costs: dict[int, float]) -> str:
    return ", ".join(f"{ms:.1f} ms a batch of {size}" for size, ms in sorted(costs.items()))
