"""One run from the first process to the last: set up, faults by the schedule, settling, evidence.

Not for: what is settled and looked at afterwards (see `settling.py`), nor for words about it (the command).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinestream.chaos.actors import READY_S, is_alive, until
from kinestream.chaos.camera import NetworkCamera, test_card_pictures
from kinestream.chaos.evidence import Reading
from kinestream.chaos.faults import perform
from kinestream.chaos.figures import Happened
from kinestream.chaos.schedule import plan
from kinestream.chaos.server import Server
from kinestream.chaos.settling import settle
from kinestream.chaos.stage import FPS, SIZE, Stage, camera_names, make_stage
from kinestream.chaos.verdict import Evidence
from kinestream.redis import connect
from kinestream.tasks import cancel

_LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run is made of; the same settings give the same schedule."""

    seconds: float
    seed: int
    cameras: int
    workers: int
    faults_per_minute: float


async def play(
    settings: Settings, place: Path, folder: Path, say: Callable[[str], object], stop: asyncio.Event
) -> tuple[Evidence, Happened]:
    """Play one run and return what came of it. `place` is for Redis, `folder` for logs.

    All processes are ended, whatever happens. Raises `KeyboardInterrupt` if `stop` is set, `KinestreamError`
    if the pipeline does not even come up.
    """
    server = Server(place, folder, say)
    sorts = camera_names(settings.cameras)
    pictures = await asyncio.to_thread(
        test_card_pictures, f"testcard://?athletes=1&fps={FPS}&size={SIZE}&loop=1&seed={settings.seed}"
    )
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(server.url))
        networks = {
            name: await stack.enter_async_context(NetworkCamera(pictures, FPS))
            for name, sort in sorts.items()
            if sort == "network"
        }
        stage = make_stage(
            client,
            server,
            folder,
            networks=networks,
            cameras=settings.cameras,
            workers=settings.workers,
            picture=pictures[0],
            say=say,
        )
        stack.callback(_end_all, stage)
        playing = asyncio.create_task(_play(settings, stage, say, folder))
        return await _unless_stopped(playing, stop)


async def _play(
    settings: Settings, stage: Stage, say: Callable[[str], object], folder: Path
) -> tuple[Evidence, Happened]:
    commits, ordered, happened = Reading(), Reading(), Happened()
    await stage.server.start()
    async with contextlib.AsyncExitStack() as readers:
        for reading, order in ((commits, False), (ordered, True)):
            await readers.enter_async_context(_beside(reading.follow(stage.server.url, order=order)))
        for actor in stage.actors[1:]:
            actor.start()
        for actor in stage.actors[1:]:
            await actor.until_ready(first_try=True)
        await until(lambda: set(stage.producers) <= set(commits.ok), READY_S, "poses of every camera")
        async with _beside(stage.look_after()):
            async with _beside(stage.measure()):
                await _faults(settings, stage, happened, say)
            say("The faults are over, everything shall settle.")
            ledgers = await settle(stage, commits, ordered)
        evidence = Evidence(
            lanes=stage.lanes,
            commits=commits.told,
            ordered={"in order": ordered.told, "resumed": stage.watch_logs.reading().told},
            ledgers=ledgers,
            poison=stage.poison.offered,
            samples=stage.samples,
        )
    await _last_looks(stage, folder)
    evidence.incidents = stage.incidents
    return evidence, happened


async def _faults(settings: Settings, stage: Stage, happened: Happened, say: Callable[[str], object]) -> None:
    """Do what the schedule says, each fault in a task of its own, and wait for the last one."""
    faults = plan(
        settings.seed,
        seconds=settings.seconds,
        faults_per_minute=settings.faults_per_minute,
        targets=stage.targets,
    )
    say(f"{len(faults)} faults in {settings.seconds:g} s:")
    happened.begun_ms = time.time_ns() // 1_000_000
    began = time.monotonic()
    async with asyncio.TaskGroup() as under_way:
        for fault in faults:
            await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
            say(str(fault))
            under_way.create_task(perform(fault, stage, happened))
        await asyncio.sleep(max(0.0, began + settings.seconds - time.monotonic()))
    happened.ended_ms = time.time_ns() // 1_000_000


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let something go on beside the block; if it fails, the block is cancelled and its error raised."""
    block = asyncio.current_task()
    assert block is not None
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: None if done.cancelled() else block.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if task.done() and not task.cancelled():
            task.result()
        raise
    finally:
        await cancel(task)


async def _unless_stopped(
    playing: asyncio.Task[tuple[Evidence, Happened]], stop: asyncio.Event
) -> tuple[Evidence, Happened]:
    try:
        while not playing.done():
            await asyncio.wait({playing}, timeout=_LOOK_S)
            if stop.is_set():
                raise KeyboardInterrupt
        return playing.result()
    finally:
        await cancel(playing)


async def _last_looks(stage: Stage, folder: Path) -> None:
    """Redis ends as the last one; then nothing may be left running or lying about."""
    if code := await stage.server.stop():
        stage.incidents.append(f"kinestream redis was told to end, exit code {code}")
    stage.incidents += _left(stage)
    stage.incidents += [f"{log.name} holds a traceback" for log in _logs_of_bugs(folder)]


def _left(stage: Stage) -> list[str]:
    processes = [process for actor in stage.actors for process in actor.processes] + stage.server.processes
    files = {path.name for path in stage.server.place.iterdir()} - {"lock", "redis.log"}
    found = [f"process {process.pid} is left" for process in processes if is_alive(process)]
    return found + [f"{name} is left in the runtime directory" for name in sorted(files)]


def _logs_of_bugs(folder: Path) -> list[Path]:
    sign = "Traceback (most recent call last)"
    return [log for log in sorted(folder.glob("*.log")) if sign in log.read_text(errors="replace")]


def _end_all(stage: Stage) -> None:
    """End whatever still runs, at once; after a good run nothing does."""
    children = [actor.child for actor in reversed(stage.actors) if actor.generation]
    for child in [*children, *(child for _, child in stage.fenced)]:
        if child.exit_code is None:
            child.kill()
    for process in stage.server.processes:
        if is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
