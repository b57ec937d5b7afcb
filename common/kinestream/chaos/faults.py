"""Doing one fault to the stage, from its beginning to its end. Not for: when (see `schedule.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

from kinestream.chaos.actors import Actor, until
from kinestream.chaos.figures import Happened
from kinestream.chaos.schedule import Fault
from kinestream.chaos.stage import Stage
from kinestream.errors import KinestreamError

_END_S = 60.0
"""For a process that was told to end; it finishes its batch, and may have to wait for Redis. A producer that
was told to end while Redis is away gives up at once."""


_TRIES = 30
_TRY_S = 0.03
"""Looks for a moment at which a worker holds frames, and what is between them: a second in all."""


async def perform(fault: Fault, stage: Stage, happened: Happened) -> None:
    """Do it and undo it, once the fault before it of the same target is over.

    What is wrong with how a process took it becomes an incident of the stage.
    """
    async with stage.busy.setdefault(fault.target, asyncio.Lock()):
        happened.faults.append(fault)
        await _perform(fault, stage, happened)


async def _perform(fault: Fault, stage: Stage, happened: Happened) -> None:
    try:
        if fault.target in stage.workers:
            await _to_process(fault, stage, stage.workers[fault.target])
        elif fault.target == stage.watcher.name:
            await _to_process(fault, stage, stage.watcher)
        elif fault.kind in _CAMERA_FLAGS or fault.kind == "cut-camera":
            await _to_camera(fault, stage)
        elif fault.target in stage.producers:
            await _to_process(fault, stage, stage.producers[fault.target])
        elif fault.kind == "poison":
            await stage.poison.offer()
        else:
            back_ms = await _to_redis(fault, stage)
            happened.redis_back_ms.append((fault.kind, back_ms))
    except KinestreamError as error:
        stage.incidents.append(f"{fault.kind} {fault.target} at {fault.at_s:.1f} s: {error}")


async def _to_process(fault: Fault, stage: Stage, actor: Actor) -> None:
    match fault.kind.partition("-")[0]:
        case "kill":
            await _stop_with_frames_in_hand(stage, actor)
            actor.absent = True
            actor.send(signal.SIGKILL)
            await asyncio.sleep(fault.duration_s)
            actor.start()
        case "freeze":
            await _stop_with_frames_in_hand(stage, actor)
            with _frozen(actor):
                await asyncio.sleep(fault.duration_s)
        case "drain":
            await drain(stage, actor)
            await asyncio.sleep(fault.duration_s)
            actor.start()
        case "replace":
            await _replace(fault, stage, actor)
        case other:
            raise ValueError(f"nobody knows how to {other} a process")


async def _stop_with_frames_in_hand(stage: Stage, actor: Actor) -> None:
    """Stop a worker at a moment when it holds frames: only those can be lost, or told twice.

    If no such moment is found soon (it may be starting, or Redis be away), it stays as it is. Other processes
    hold no frames.
    """
    if actor.role != "worker":
        return
    for _ in range(_TRIES):
        actor.send(signal.SIGSTOP)
        if await stage.holds_frames(actor):
            return
        actor.send(signal.SIGCONT)
        await asyncio.sleep(_TRY_S)


async def drain(stage: Stage, actor: Actor) -> None:
    """Tell a process to end, as an operator would, and wait for that; note an exit code that is not 0.

    One that never came to work may say 1 or 2: Redis or the camera was away. One that is told to end while
    Redis is away cannot say goodbye, and says so with 1.
    """
    child, was_ready = actor.child, actor.is_ready
    actor.absent = True
    actor.send(signal.SIGTERM)
    await until(lambda: child.exit_code is not None, _END_S, f"{actor.name} to end after SIGTERM")
    if child.exit_code and was_ready and "stopped while Redis" not in actor.last_line:
        said = f"exit code {child.exit_code}: {actor.last_line}"
        stage.incidents.append(f"{actor.name} was told to end, {said}")


async def _replace(fault: Fault, stage: Stage, actor: Actor) -> None:
    """Start a second producer of the camera while the first one is frozen: the first is fenced, and ends."""
    await actor.until_ready()  # else it might begin its run after the one that shall replace it
    first = actor.child
    with _frozen(actor):
        actor.start()
        stage.fenced.append((actor.name, first))
        await asyncio.sleep(fault.duration_s)
        await actor.until_ready()


@contextlib.contextmanager
def _frozen(actor: Actor) -> Iterator[None]:
    """Stop the process that plays now, and let it go on, whoever plays then."""
    child = actor.child
    actor.send(signal.SIGSTOP)
    try:
        yield
    finally:
        if child.exit_code is None:
            os.kill(child.pid, signal.SIGCONT)


_CAMERA_FLAGS = {"hang-camera": "hanging", "flood-camera": "flooding", "garble-camera": "garbling"}


async def _to_camera(fault: Fault, stage: Stage) -> None:
    camera = stage.networks[fault.target]
    flag = _CAMERA_FLAGS.get(fault.kind)
    if flag is None:
        camera.cut()
        return
    setattr(camera, flag, True)
    try:
        await asyncio.sleep(fault.duration_s)
    finally:
        setattr(camera, flag, False)


async def _to_redis(fault: Fault, stage: Stage) -> int:
    """Returns when Redis answered again, in milliseconds since 1970."""
    ways: dict[str, Callable[[float], Awaitable[int]]] = {
        "restart-redis": stage.server.restart,
        "kill-redis": stage.server.kill,
        "freeze-redis": stage.server.freeze,
    }
    return await ways[fault.kind](fault.duration_s)
