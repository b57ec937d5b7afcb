"""A TCP port in front of a server's unix socket, whose network a test can cut.

Not for: servers that die; those are killed themselves (see `servers.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

from servers import free_port

_CHUNK = 1 << 16


class Proxy:
    """Forwards both ways, in its own thread; after `cut` connections stay open, and nothing gets through."""

    def __init__(self, socket: Path) -> None:
        self.port = free_port()
        self._socket = socket
        self._loop = asyncio.new_event_loop()
        self._through = asyncio.Event()
        self._through.set()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="proxy", daemon=True)
        self._thread.start()
        assert ready.wait(10)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """From now on nothing gets through; what was on its way arrives after `mend`."""
        self._loop.call_soon_threadsafe(self._through.clear)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._through.set)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        listener = self._loop.run_until_complete(
            asyncio.start_server(self._connected, "127.0.0.1", self.port)
        )
        ready.set()
        self._loop.run_forever()
        listener.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._through.wait()
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError:  # the server is not there
            writer.close()
            return
        both = asyncio.gather(self._forward(reader, there_writer), self._forward(there_reader, writer))
        with contextlib.suppress(OSError):
            await both

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._through.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
