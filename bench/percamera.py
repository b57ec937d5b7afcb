"""What a camera costs the process that reads it: time of the CPU, memory, threads; in one process or in many.

    python bench/percamera.py FILM [--size 1280x720] [--fps 30] [--seconds 20]

H.264 over RTSP from GStreamer's server, read by one producer with 1, 2 and 4 cameras, and by one `ingest`
process a camera. No worker runs: frames give way in Redis, which costs the reader the same. Memory is what
would be free if the processes ended (USS). Prints one JSON object a line, with how many such cameras a core
would feed.

Not for: what happens when cameras break (see `gym.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from clips import pictures, write_h264
from gym import Server

from kinestream.cameraspec import CameraSpec
from kinestream.camerastate import camera_states
from kinestream.embedded import own_redis
from kinestream.processes import start_child
from kinestream.redis import connect
from kinestream.wanted import drop_camera, want_camera

_WARM_UP_S = 6.0


def _used(processes: list[psutil.Process]) -> tuple[float, float, int]:
    """Seconds of the CPU, megabytes, threads, of all together."""
    times = [process.cpu_times() for process in processes]
    cpu_s = sum(one.user + one.system for one in times)
    memory = sum(process.memory_full_info().uss for process in processes) / 1e6
    return cpu_s, memory, sum(process.num_threads() for process in processes)


async def _measured(url: str, names: list[str], processes: list[int], seconds: float) -> dict[str, Any]:
    async with connect(url) as redis:
        until = time.monotonic() + 30
        while True:
            states = await camera_states(redis, names)
            if sum(one.state == "live" for one in states.values()) == len(names):
                break
            if time.monotonic() > until:
                raise SystemExit(f"not all are live: {states}")
            await asyncio.sleep(0.2)
        await asyncio.sleep(_WARM_UP_S)
        readers = [
            one
            for pid in processes
            for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        ]
        before, began = _used(readers)[0], time.monotonic()
        await asyncio.sleep(seconds)
        (cpu_s, memory, threads), took_s = _used(readers), time.monotonic() - began
        states = await camera_states(redis, names)
    fps = sum(one.fps or 0.0 for one in states.values())
    cores = (cpu_s - before) / took_s
    return {
        "cameras": len(names),
        "processes": len(processes),
        "fps": round(fps, 1),
        "cores": round(cores, 2),
        "ms_a_frame": round(1000 * cores / fps, 2) if fps else None,
        "mb": round(memory),
        "threads": threads,
    }


async def _one_producer(url: str, sources: dict[str, str], pid: int, seconds: float) -> dict[str, Any]:
    async with connect(url) as redis:
        for name, source in sources.items():
            await want_camera(redis, CameraSpec(name=name, source=source))
        found = await _measured(url, [*sources], [pid], seconds)
        for name in sources:
            await drop_camera(redis, name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("film", type=Path)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--port", type=int, default=18754)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ks-percamera-")))
        images = pictures(options.film, 2 * options.fps, width, height)
        for number in range(4):
            write_h264(folder / "clips" / f"camera-{number}", images, options.fps)
        server = stack.enter_context(Server("rtsp", folder / "clips", options.port))
        asyncio.run(server.start())
        sources = {
            f"camera-{number}": f"rtsp://127.0.0.1:{options.port}/camera-{number}" for number in range(4)
        }
        url = stack.enter_context(own_redis()).url
        for count in (1, 2, 4):
            some = dict([*sources.items()][:count])
            with _child(["producer"], url, folder) as child:
                _say(options, asyncio.run(_one_producer(url, some, child.pid, options.seconds)))
        for count in (1, 2):
            with contextlib.ExitStack() as readers:
                some = [*sources.items()][:count]
                pids = [
                    readers.enter_context(_child(["ingest", source, "--camera", name], url, folder)).pid
                    for name, source in some
                ]
                names = [name for name, _ in some]
                _say(options, asyncio.run(_measured(url, names, pids, options.seconds)))


def _child(words: list[str], url: str, folder: Path) -> Any:
    environment = {"KINESTREAM_REDIS_URL": url}
    return start_child(
        words, name=words[0], say=lambda _: None, environment=environment, log=folder / "child.log"
    )


def _say(options: argparse.Namespace, found: dict[str, Any]) -> None:
    whole = 1000 / (found["ms_a_frame"] * options.fps) if found["ms_a_frame"] else 0
    print(json.dumps(found | {"size": options.size, "cameras_a_core": round(whole, 1)}), flush=True)


if __name__ == "__main__":
    main()
