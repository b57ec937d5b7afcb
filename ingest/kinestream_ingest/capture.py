"""The capture thread: reads a source, takes or skips its frames, encodes them, hands them over.

Decoding, drawing and encoding release the interpreter for most of their time, so one thread keeps a camera's
work off the event loop. Not for: anything that touches Redis (see `producer.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from kinestream.errors import SourceError
from kinestream_ingest.encoder import EncodedImage, EncodeError, Encoder
from kinestream_ingest.handover import Handover
from kinestream_ingest.pacing import Thinning
from kinestream_ingest.rhythm import Rhythm
from kinestream_ingest.sources import NoPicture, Source, SourceFrame

SIZE_CHANGED = "size-changed"
"""Cause of the first picture that has another size than those before it."""

MOST_BACK_US = 1_000_000
"""By how much a camera's times may go back within a run: what NTP's steps and a change from arrival to the
camera's own clock amount to."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Captured:
    """An encoded frame; `index` counts the frames taken of the source, those given up on included."""

    index: int
    image: EncodedImage
    captured_us: int
    media_time_s: float | None
    clock: str


class Capture:
    """Reads `source` in a thread of its own from `start` on.

    `label(index, captured_us)` is what a test card writes into its picture. `seen` counts the frames that
    came from the source, `taken` those that were not skipped.
    """

    def __init__(
        self,
        source: Source,
        handover: Handover[Captured],
        *,
        encoder: Encoder,
        thinning: Thinning,
        label: Callable[[int, int], str],
        rhythm: Rhythm | None = None,
        clock_offset_ms: float = 0.0,
    ) -> None:
        """`clock_offset_ms` is added to the times of a clock that is known to be wrong."""
        self.seen = 0
        self.taken = 0
        self._source = source
        self._handover = handover
        self._encoder = encoder
        self._thinning = thinning
        self._label = label
        self._done = 0
        self._began_us = 0
        self._shift_us: int | None = None
        self._rhythm = rhythm or Rhythm()
        self._offset_us = round(1000 * clock_offset_ms)
        self._latest_us = 0
        self._last_failure = ""
        self._size: tuple[int, int] | None = None
        # A daemon: a decoder that hangs must not keep a process that was told to stop.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self, *, done: int = 0, began_us: int = 0) -> None:
        """Begin to read; the first `done` frames taken are passed over, since they were offered before.

        With `began_us` the first frame counts as captured then, so that whoever goes on with a recording
        gives its frames the times that they would have had.
        """
        self._done, self._began_us = done, began_us
        self._thread.start()

    def close(self) -> None:
        """Let the thread end at its next frame; what it has handed over is forgotten."""
        self._source.close()
        self._handover.stop()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            for frame in self._source:
                self.seen += 1
                frame = self._in_time(frame)
                self._rhythm.note(frame.captured_us)
                at_s = frame.captured_us / 1e6 if frame.media_time_s is None else frame.media_time_s
                if self._thinning.takes(at_s) and not self._hand_over(frame):
                    break
        except Exception as error:  # it is the loop's to deal with, where every other error is
            self._handover.end(error)
        else:
            self._handover.end()
        finally:
            self._source.close()

    def _in_time(self, frame: SourceFrame) -> SourceFrame:
        """The frame with the time that it shall have: within a run of a camera, times only grow.

        A camera's clock that is set back a little stands still for a while; further back is another run.
        """
        captured_us = frame.captured_us + self._offset_us
        if self._source.returns:
            back_us = self._latest_us - captured_us
            if back_us > MOST_BACK_US:
                raise SourceError(f"its clock was set back by {back_us / 1e6:.1f} s")
            captured_us = max(captured_us, self._latest_us + 1)
            self._latest_us = captured_us
        return frame if captured_us == frame.captured_us else replace(frame, captured_us=captured_us)

    def _check_size(self, image: EncodedImage) -> None:
        """A camera whose pictures have another size than before goes on as another run.

        Raises `SourceError` then; a folder's pictures may have a size each.
        """
        size = image.width, image.height
        first = self._size or size
        self._size = first
        if self._source.returns and size != first:
            self._handover.give_up(SIZE_CHANGED)
            raise SourceError(f"its pictures were {first[0]}x{first[1]}, and now are {size[0]}x{size[1]}")

    def _hand_over(self, frame: SourceFrame) -> bool:
        index, self.taken = self.taken, self.taken + 1
        if self._shift_us is None:
            self._shift_us = self._began_us - frame.captured_us if self._began_us else 0
        captured_us = frame.captured_us + self._shift_us
        if index < self._done:
            return True
        try:
            image = self._encoder.encode(frame, self._label(index, captured_us))
        except (EncodeError, NoPicture) as error:
            if str(error) not in ("", self._last_failure):  # as a rule they fail one after another, all alike
                _log.warning("frame %d is given up on: %s", index, error)
            self._last_failure = str(error)
            self._handover.give_up(error.cause)
            return True
        self._check_size(image)
        clock = frame.clock or self._source.clock
        return self._handover.put(Captured(index, image, captured_us, frame.media_time_s, clock))
