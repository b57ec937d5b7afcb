"""The cameras of `gym.py` as MJPEG over HTTP, to kill, start again and freeze.

    python gym_mjpeg.py PORT FOLDER

Each folder in FOLDER is a stream at http://127.0.0.1:<PORT + its place>/: one JPEG a file, and `fps`. While
FOLDER/<name>.frozen exists, that stream sends nothing. Not for: reading it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from kinestream.chaos.camera import NetworkCamera

_LOOK_S = 0.05


async def main(port: int, folders: list[Path]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        cameras = {}
        for place, folder in enumerate(folders):
            pictures = [one.read_bytes() for one in sorted(folder.iterdir()) if one.name != "fps"]
            fps = float((folder / "fps").read_text())
            camera = NetworkCamera(pictures, fps, port=port + place)
            cameras[folder] = await stack.enter_async_context(camera)
        print("ready", flush=True)
        while True:
            for folder, camera in cameras.items():
                camera.hanging = folder.with_suffix(".frozen").exists()
            await asyncio.sleep(_LOOK_S)


if __name__ == "__main__":
    found = sorted(one for one in Path(sys.argv[2]).iterdir() if one.is_dir())
    asyncio.run(main(int(sys.argv[1]), found))
