"""One frame's bytes into one slot of the tensor that the engine reads: decode, letterbox, channels first.

Every step writes into memory that is reused from batch to batch, and OpenCV releases the GIL while it works,
so a few threads can fill the slots of the next batch while the session runs this one.

The letterbox is rtmlib's, to the pixel: the image scaled to fit, at the top left, size truncated by int(),
bilinear, the rest 114. A network's output depends on every one of these choices, which is why none of them is
improved on here.

Not for: the limits on what may be decoded (`Frame.unpack` holds them, before anything is allocated), nor for
what the engine makes of the tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.errors import MessageError
from kinestream.messages import Frame

PAD = 114
"""Grey of the padding, 0–255: what RTMO (as every network of the YOLOX family) was trained with."""

_DECODE = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
# The header that names the size, and the view that the producer wrote, know nothing of an EXIF rotation.


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How one image lies in its slot, and which part of its source it shows: the way back for coordinates.

    `ratio` is network pixels per image pixel (rtmlib's number, the same for both axes), `image_size` the
    encoded image's (width, height), `view` the rectangle (x, y, w, h) of the source that it shows, in source
    pixels.
    """

    ratio: float
    image_size: tuple[int, int]
    view: tuple[float, float, float, float]

    def to_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pixels of the network, any shape, into pixels of the encoded image, in float32 as rtmlib."""
        return pixels / self.ratio

    def to_source(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        """Points [..., 2] (x, y) in the encoded image into points in the source, both corner-based."""
        x, y, width, height = self.view
        columns, rows = self.image_size
        return points.astype(np.float64) * (width / columns, height / rows) + (x, y)


def fill_slot(frame: Frame, slot: NDArray[np.float32]) -> Letterbox:
    """Decode a frame and letterbox it into `slot` [3, H, W]; raises `MessageError` as `decode` does."""
    return letterbox_into(decode(frame), slot, frame.view)


def decode(frame: Frame) -> NDArray[np.uint8]:
    """The frame's image as BGR [rows, columns, 3]; for codec `raw` a read-only view of its bytes.

    Greyscale becomes three equal channels, transparency and an EXIF rotation are ignored. Raises
    `MessageError`, with the cause, if the bytes are cut short or corrupt, or if they decode to another size
    than the header claims.
    """
    columns, rows = frame.encoded_size()
    if frame.codec == "raw":
        return np.frombuffer(frame.data, np.uint8).reshape(rows, columns, 3)
    try:
        # OpenCV returns None for most bad images, raises for some, and is typed as if it did neither.
        decoded: Any = cv2.imdecode(np.frombuffer(frame.data, np.uint8), _DECODE)
    except cv2.error as error:
        raise MessageError(f"the {frame.codec} cannot be decoded: {error.err}") from error
    if decoded is None:
        raise MessageError(
            f"the {frame.codec} of {len(frame.data)} bytes cannot be decoded: cut short or corrupt"
        )
    image: NDArray[np.uint8] = decoded
    if image.shape[:2] != (rows, columns):
        found = f"{image.shape[1]}x{image.shape[0]}"
        raise MessageError(f"the {frame.codec} claims {columns}x{rows} in its header and decodes to {found}")
    return image


def letterbox_into(
    image: NDArray[np.uint8],
    slot: NDArray[np.float32],
    view: tuple[float, float, float, float] | None = None,
) -> Letterbox:
    """Scale a BGR image [rows, columns, 3] into the top left of `slot` [3, H, W] (0–255), and pad the rest.

    Everything in the slot is overwritten. `view` is the source rectangle that the image shows; without it the
    image is its own source. Source of the arithmetic: rtmlib, `RTMO.preprocess`. Where rtmlib would scale one
    side of a very long image to nothing and fail, that side keeps one pixel.
    """
    rows, columns = image.shape[:2]
    height, width = slot.shape[1:]
    ratio = min(height / rows, width / columns)
    scaled_width, scaled_height = max(1, int(columns * ratio)), max(1, int(rows * ratio))
    scaled: Any = image
    if (scaled_width, scaled_height) != (columns, rows):
        scaled = cv2.resize(image, (scaled_width, scaled_height), interpolation=cv2.INTER_LINEAR)
    for plane, channel in zip(
        slot, cv2.split(scaled), strict=True
    ):  # half the time of assigning a transposed view
        np.copyto(plane[:scaled_height, :scaled_width], channel)
    slot[:, scaled_height:, :] = PAD
    slot[:, :scaled_height, scaled_width:] = PAD
    return Letterbox(ratio, (columns, rows), view or (0.0, 0.0, float(columns), float(rows)))
