"""Pictures to JPEG, turned, cut and resized if asked to; pictures that repeat are encoded once.

Not for: how a picture is turned and cut (`framing.py`), threads, nor what happens to a picture that cannot be
encoded (see `capture.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import cv2

from kinestream.errors import KinestreamError, UsageError
from kinestream.messages import MAX_DATA_BYTES
from kinestream.metrics.cumulative import Cumulative
from kinestream.region import Box
from kinestream.video import Image
from kinestream_ingest.framing import Framing
from kinestream_ingest.sources import Source, SourceFrame

QUALITY = 85
"""Markers of the test card are read back to a third of a pixel at this quality, at 2.5 bits a pixel."""


_REPEATS_BYTES = 256 * 2**20
"""Kept of pictures that repeat: 40 s of the test card at 1280×720 and 30 fps; the rest is encoded each
time."""


REGION_OUTSIDE = "region-outside"
"""Cause of a frame whose picture is too small for the region: the camera has changed its size."""


class EncodeError(KinestreamError):
    """A picture cannot be made into an image that a frame may carry; `cause` is for the ledger."""

    def __init__(self, text: str, cause: str = "encoder-failed") -> None:
        super().__init__(text)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A JPEG; the upright picture's size in pixels, and which part (x, y, w, h) of it the JPEG shows.

    `encoded_ms` is what it took in milliseconds, turning and cutting included.
    """

    data: bytes
    width: int
    height: int
    view: Box
    encoded_ms: float


class Encoder:
    """Makes JPEGs (4:2:0) of one quality, 1 to 100, no side longer than `max_side` pixels, after `framing`.

    `took` counts what the pictures took, repeated ones once. Raises `UsageError` for numbers that are out of
    range.
    """

    def __init__(
        self, *, quality: int = QUALITY, max_side: int | None = None, framing: Framing | None = None
    ) -> None:
        if not 1 <= quality <= 100:
            raise UsageError(f"quality must be 1 to 100, got {quality}")
        if max_side is not None and max_side < 16:
            raise UsageError(f"max-side must be at least 16 pixels, got {max_side}")
        self.took = Cumulative()
        self._parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
        self._max_side = max_side
        self._framing = framing or Framing()
        self._repeats: dict[int, EncodedImage] = {}
        self._repeats_bytes = 0

    def encode(self, frame: SourceFrame, label: str) -> EncodedImage:
        """Encode one picture of a source; `label` is for a source that writes into its pictures.

        Raises `EncodeError` if the codec refuses the picture, or its image would not fit into a frame, and
        `NoPicture` if the source has none.
        """
        known = None if frame.repeat is None else self._repeats.get(frame.repeat)
        if known is not None:
            return known
        encoded = self._encode(frame.picture(label))
        if frame.repeat is not None and not self.full:
            self._repeats_bytes += len(encoded.data)
            self._repeats[frame.repeat] = replace(encoded, encoded_ms=0.0)
        return encoded

    def check(self, source: Source) -> None:
        """Raise `UsageError` unless the pictures of `source`, by its first one, have the region in them."""
        self._framing.check(source.width, source.height)

    @property
    def full(self) -> bool:
        """Whether no more repeating pictures are kept."""
        return self._repeats_bytes >= _REPEATS_BYTES

    def _encode(self, picture: Image) -> EncodedImage:
        height, width = picture.shape[:2]
        began = time.perf_counter()
        try:
            framed = self._framing.frame(picture)
            done, jpeg = cv2.imencode(".jpg", self._resized(framed.picture), self._parameters)
        except UsageError as error:
            raise EncodeError(str(error), REGION_OUTSIDE) from error
        except cv2.error as error:
            raise EncodeError(f"a picture of {width}x{height} cannot be encoded: {error.err}") from error
        if not done:
            raise EncodeError(f"a picture of {width}x{height} cannot be encoded")
        data = jpeg.tobytes()
        if len(data) > MAX_DATA_BYTES:
            raise EncodeError(
                f"a picture of {width}x{height} has {len(data)} bytes, {MAX_DATA_BYTES} are allowed: "
                "lower --quality or --max-side"
            )
        encoded_ms = 1000 * (time.perf_counter() - began)
        self.took.add(encoded_ms)
        return EncodedImage(data, framed.width, framed.height, framed.view, encoded_ms)

    def _resized(self, picture: Image) -> Image:
        height, width = picture.shape[:2]
        if self._max_side is None or max(width, height) <= self._max_side:
            return picture
        scale = self._max_side / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
