"""The contender that guides show: a FastAPI server with a WebSocket, JSON, pictures as base64, one a call.

    python guide.py MODEL FOLDER          server and clients
    python guide.py serve MODEL SOCKET    the server alone

Four clients, as the other contenders have four cameras, each with one picture under way. Not for: use; it has
no queue, no limit, and loses what is under way when it ends.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from load import answer_with, punctual_loop, read_jpegs
from oneimage import decode, one_by_one

CLIENTS = 4
PATIENT: dict[str, Any] = {"max_size": None, "ping_interval": None}
"""Clients of a benchmark wait between two measurements for longer than a ping may take."""


def serve(model: str, socket: str) -> None:
    import uvicorn

    app, people = FastAPI(), one_by_one(model)

    async def pose(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                asked = await websocket.receive_json()
                image = decode(base64.b64decode(asked["image"]))
                await websocket.send_json({"id": asked["id"], "people": people(image)})
        except WebSocketDisconnect:
            pass

    app.add_api_websocket_route("/pose", pose)
    uvicorn.run(app, uds=socket, log_level="error", ws_ping_interval=None)


class Guide:
    """Clients, a connection each."""

    width = CLIENTS

    def __init__(self, connections: list[Any]) -> None:
        self._connections = connections
        self._asked = 0

    async def ask(self, lane: int, jpeg: bytes) -> None:
        self._asked += 1
        image = base64.b64encode(jpeg).decode()
        await self._connections[lane].send(json.dumps({"id": self._asked, "image": image}))
        json.loads(await self._connections[lane].recv())


async def connected(socket: Path) -> Guide:
    from websockets.asyncio.client import unix_connect

    while not await asyncio.to_thread(socket.exists):
        await asyncio.sleep(0.05)
    return Guide([await unix_connect(str(socket), "ws://guide/pose", **PATIENT) for _ in range(CLIENTS)])


def main() -> None:
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
        return
    model, folder = sys.argv[1:]
    with (
        tempfile.TemporaryDirectory(prefix="ks-guide-") as place,
        asyncio.Runner(loop_factory=punctual_loop) as loop,
    ):
        socket = Path(place) / "socket"
        server = subprocess.Popen([sys.executable, __file__, "serve", model, str(socket)])
        try:
            guide = loop.run(connected(socket))
            answer_with(loop, guide, read_jpegs(folder), server=server.pid, client=os.getpid())
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
