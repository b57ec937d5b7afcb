"""The command `kinestream worker`. Not for: what a worker does (see `worker.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kinestream.cli import SOURCE_VARIABLE, redis_option
from kinestream.durations import parse_ms
from kinestream.errors import UsageError
from kinestream.heartbeat import heartbeat_option, with_heartbeat
from kinestream.metrics.telemetry import Telemetry, metrics_options, served
from kinestream_workers.settings import WorkerSettings

if TYPE_CHECKING:
    from kinestream_workers.engines import Engine
    from kinestream_workers.metrics import WorkerMetrics
    from kinestream_workers.worker import Worker

_log = logging.getLogger(__name__)


def _default(setting: str) -> str:
    """How a help text ends; read from the settings, so that it is written once."""
    (default,) = (field.default for field in dataclasses.fields(WorkerSettings) if field.name == setting)
    return f"  [default: {default:g}]"


@click.command(short_help="Take frames from Redis in batches and infer poses.")
@click.option(
    "--model",
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="A name of `kinestream models list`, `testcard`, `testcard-fixed`, or the path of a file. `auto` is "
    "rtmo-s if it is here or can be downloaded, else `testcard`.",
)
@click.option(
    "--mode",
    metavar="NAME",
    help="rtmo, or rtmpose: a detector, then a network that looks at each person. It says what lightweight, "
    "balanced, performance and auto mean.  [default: rtmo]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Where to infer: auto, cpu, cuda[:N], tensorrt[:N], openvino or mps. auto takes CUDA if this "
    "onnxruntime has it; what does not come up is a warning, and the CPU.",
)
@click.option("--require-device", is_flag=True, help="End if the device, or the precision, does not come up.")
@click.option(
    "--engine",
    metavar="NAME",
    help="Engine of the model, such as rtmo.  [default: by the file's ending]",
)
@click.option(
    "--runtime",
    default="onnxruntime",
    show_default=True,
    metavar="NAME",
    help="What runs an ONNX file: onnxruntime, or openvino (the extra of that name), which has bf16.",
)
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    metavar="NAME",
    help="What it computes in: fp32; bf16 with openvino, on CPUs that have it; fp16 or bf16 with tensorrt.",
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
    "--target-p95",
    "target_p95_ms",
    callback=lambda _context, _option, given: None if given is None else parse_ms(given, "target-p95"),
    metavar="TIME",
    help="Keep 95 of 100 live frames within this time from offer to result, such as 80ms: sets the size of "
    "batches, and drops live frames that cannot make it. --max-batch and --max-wait-ms rule when given.",
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
@heartbeat_option
@metrics_options
@redis_option
def worker(
    model: str,
    mode: str | None,
    device: str,
    require_device: bool,
    engine: str | None,
    runtime: str,
    precision: str,
    threads: int | None,
    lease_ms: int,
    heartbeat_file: Path | None,
    metrics_port: int | None,
    metrics_host: str,
    redis_url: str | None,
    **given: Any,
) -> None:
    """Take frames of all cameras from Redis, infer the poses of all people in them, publish the results.

    Start as many workers as the athletes need: they share the cameras by themselves, and when one dies, the
    others finish its frames. The first Ctrl-C finishes the batch at hand and gives the rest back, the second
    one stops.

    \b
    kinestream worker                                rtmo-s, or else the test card's graph
    kinestream worker --model rtmo-m                 one of RTMO's published models
    kinestream worker --mode rtmpose                 a detector, and RTMPose
    kinestream worker --model rtmpose-m-halpe26      the same, larger, with heels and toes
    kinestream worker --model rtmo-s.onnx            an RTMO export of your own
    kinestream worker --threads 1                    one of several on one machine
    """
    from kinestream.embedded import find_redis_url
    from kinestream.fields import MAX_TEXT
    from kinestream.keys import RETURNED
    from kinestream_workers.engines import EngineOptions, engine_class
    from kinestream_workers.models import AUTO, FALLBACK, resolve_model
    from kinestream_workers.modes import engine_in_mode, in_mode

    name = given["name"]
    if name is not None and (name in ("", RETURNED) or len(name) > MAX_TEXT):
        raise UsageError(
            f"a worker's name has 1 to {MAX_TEXT} characters and is not {RETURNED!r}, got {name[:80]!r}"
        )
    # What is wrong with the arguments comes before what is wrong with Redis.
    options = EngineOptions(
        device=device, require_device=require_device, threads=threads, runtime=runtime, precision=precision
    )
    engine, model = engine_in_mode(engine, mode), in_mode(model, mode)
    if model == AUTO and os.environ.get(SOURCE_VARIABLE, "").startswith("testcard:"):
        _log.info("model %s: %s, since %s is a test card", AUTO, FALLBACK, SOURCE_VARIABLE)
        model = FALLBACK
    with served(metrics_port, metrics_host) as telemetry:
        path = resolve_model(model)
        opening = partial(engine_class(path, engine), path, options)
        url = find_redis_url(redis_url)
        work = _work(url, opening, lease_ms, given, telemetry)
        asyncio.run(telemetry.turning(with_heartbeat(heartbeat_file, work)))


async def _work(
    url: str,
    open_engine: Callable[[], Engine],
    lease_ms: int,
    given: dict[str, Any],
    telemetry: Telemetry,
) -> None:
    from kinestream.delivery import Limits
    from kinestream.groupconsumer import GroupConsumer
    from kinestream.processes import capture_signals
    from kinestream.redis import connect
    from kinestream_workers.engines import warm_up, warm_up_within
    from kinestream_workers.engines.engine import EngineHangs
    from kinestream_workers.starting import unless_stopped
    from kinestream_workers.target import LARGEST
    from kinestream_workers.thrift import be_steady, be_thrifty
    from kinestream_workers.worker import Worker

    settings = dataclasses.replace(
        WorkerSettings(), **{name: value for name, value in given.items() if value is not None}
    )
    steered = settings.target_p95_ms is not None and given["max_batch"] is None
    be_thrifty()
    telemetry.health.doing = "opening and warming up the engine"
    with capture_signals() as stop, contextlib.closing(await unless_stopped(open_engine, stop)) as engine:
        if steered and settings.target_p95_ms is not None:
            warming = partial(warm_up_within, engine, LARGEST, settings.target_p95_ms / 2)
            costs = await unless_stopped(warming, stop)
            settings = dataclasses.replace(settings, max_batch=max(costs), batch_is_fixed=False)
        else:
            costs = await unless_stopped(partial(warm_up, engine, settings.max_batch), stop)
        _log.info("%s, %s", engine.description, _shown(costs))
        _warn_if_out_of_reach(settings, costs)
        async with connect(url) as client, telemetry.watching_redis(url):
            consumer = GroupConsumer(client, settings.name, limits=Limits(lease_ms=lease_ms))
            working = Worker(consumer, engine, settings, costs)
            _tell(telemetry, working, engine, settings.name, stop)
            be_steady()
            try:
                await working.run(stop)
            except EngineHangs as error:
                # It cannot be closed, and may hang in a thread that the interpreter waits for at its end.
                click.echo(f"kinestream worker: {error}", err=True)
                os._exit(1)
            _log.info("worker %s committed %d frames", settings.name, working.committed)


def _tell(telemetry: Telemetry, working: Worker, engine: Engine, name: str, stop: asyncio.Event) -> None:
    """From now on it is ready, unless it is told to stop, and has something to tell."""

    def collector() -> WorkerMetrics:
        from kinestream_workers.metrics import WorkerMetrics

        return WorkerMetrics(working, engine, name)

    telemetry.register(collector)
    telemetry.health.add_check(lambda: "ending" if stop.is_set() else "")
    telemetry.health.doing = ""


def _warn_if_out_of_reach(settings: WorkerSettings, costs: dict[int, float]) -> None:
    """Say so at once where no live frame can be in time: it waits for a batch, then for its own."""
    target_ms = settings.target_p95_ms
    if target_ms is None:
        return
    least_ms = 2 * costs[settings.max_batch if settings.batch_is_fixed else 1]
    if least_ms > target_ms:
        _log.warning(
            "a latency target of %g ms is out of reach: under load a frame waits for one batch and then for "
            "its own, which is %.0f ms here; frames are served as soon as can be",
            target_ms,
            least_ms,
        )


def _shown(costs: dict[int, float]) -> str:
    return ", ".join(f"{ms:.1f} ms a batch of {size}" for size, ms in sorted(costs.items()))
