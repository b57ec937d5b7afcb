"""Pictures so large that a batch must not wait for them: decoded aside, one at a time, on a thread of its
own.

Decoding 50 megapixels takes longer than a hundred batches. If they waited for it, one such camera would slow
down all others. So a batch goes without a large picture, which joins a later one once it is decoded;
meanwhile no more frames of its camera are taken, and those give way or wait in the stream as if all workers
were busy. Not for: what becomes of a picture afterwards (see `preparing.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from kinestream.held import Held
from kinestream.messages import Frame
from kinestream.processes import be_nice
from kinestream_workers.batches import Taken
from kinestream_workers.decoding import decode


class Aside:
    """Large pictures; each goes to `ready` on the event loop when it is decoded.

    At most one is decoded and not yet in a batch: it takes 150 MB.
    """

    def __init__(self, ready: Callable[[Taken], None], is_stale: Callable[[Held, Frame], bool]) -> None:
        """What `is_stale` by the time that its turn comes is not decoded any more."""
        self._ready = ready
        self._is_stale = is_stale
        self._waiting: asyncio.Queue[Taken] = asyncio.Queue()
        self._cameras: Counter[str] = Counter()
        self._in_a_batch = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside", initializer=be_nice, initargs=(10,))

    def __len__(self) -> int:
        """How many frames are aside, the one that waits for its batch included."""
        return self._cameras.total()

    @property
    def cameras(self) -> Set[str]:
        """Cameras of which a frame is aside."""
        return self._cameras.keys()

    def put(self, large: Iterable[Taken]) -> None:
        """Put frames aside that were found too large while they were prepared."""
        for taken in large:
            self._cameras[taken.held.camera] += 1
            self._waiting.put_nowait(taken)

    def joined(self, frames: Iterable[Taken]) -> None:
        """Tell that these are in a batch; those that were never aside do not count."""
        for taken in frames:
            if taken.frame is not None:
                camera = taken.held.camera
                self._cameras[camera] -= 1
                if not self._cameras[camera]:
                    del self._cameras[camera]
                self._in_a_batch.set()

    async def keep(self) -> None:
        """Decode until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            taken = await self._waiting.get()
            self._in_a_batch.clear()
            self._ready(await loop.run_in_executor(self._pool, self._decoded, taken))
            del taken
            await self._in_a_batch.wait()

    def close(self) -> None:
        """End the thread once it has finished what it is at."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decoded(self, taken: Taken) -> Taken:
        assert taken.frame is not None, "only a frame that was unpacked is known to be large"
        begun_s = time.monotonic()
        if self._is_stale(taken.held, taken.frame):
            return taken
        try:
            image = decode(taken.frame)
        except Exception as error:  # told where all errors of frames are: when it joins a batch
            return replace(taken, error=error)
        return replace(taken, image=image, decoded_ms=(time.monotonic() - begun_s) * 1000)
