"""The newest picture of a webcam, however slow the one who asks.

A driver keeps a few pictures (V4L2: four) and gives the oldest first. Whoever takes 150 ms for each would
always look at one that is over half a second old; so a thread reads them all, and only the newest one stays.

Not for: sources that must lose nothing, nor for ingest, which sends what it reads.
"""

from __future__ import annotations

import atexit
import threading
import time
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kinestream.webcam import Webcam


class Newest:
    """Reads `webcam` on a thread of its own until it is left; a context manager, which closes the webcam."""

    def __init__(self, webcam: Webcam) -> None:
        self._webcam = webcam
        self._changed = threading.Condition()
        self._newest: tuple[NDArray[np.uint8], float] | None = None
        self._error: BaseException | None = None
        # A daemon, or a loop over a webcam that was left without being closed would keep the program from
        # ending.
        self._thread = threading.Thread(target=self._run, name="webcam", daemon=True)

    def read(self) -> tuple[NDArray[np.uint8], float]:
        """Wait for a picture that was not given yet; return it, and when it came, seconds since 1970.

        Raises what `Webcam.read` raised once all pictures before it were given.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._error)
            if self._newest is None:
                assert self._error is not None
                raise self._error
            picture, self._newest = self._newest, None
            return picture

    def _run(self) -> None:
        try:
            while True:
                picture = self._webcam.read(), time.time()
                with self._changed:
                    self._newest = picture
                    self._changed.notify()
        except BaseException as error:  # also a bug: it is raised where the pictures are waited for
            with self._changed:
                self._error = error
                self._changed.notify()

    def close(self) -> None:
        """Close the webcam, once the picture that is being read is there, and end the thread."""
        atexit.unregister(self.close)
        self._webcam.close()  # the next read ends the thread
        self._thread.join()

    def __enter__(self) -> Self:
        # Python freezes daemons when it ends, with whatever locks they hold: this one must have ended before.
        atexit.register(self.close)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
