"""A frame's bytes into an image, and people in that image back into the frame's source.

Not for: the limits on what may be decoded (`Frame.unpack` holds them, before anything is allocated), nor for
what an engine does with an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from kinestream.errors import MessageError
from kinestream.messages import Frame, Person

_DECODE = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
# The header that names the size, and the view that the producer wrote, know nothing of an EXIF rotation.


def decode(frame: Frame) -> NDArray[np.uint8]:
    """The frame's image as BGR [rows, columns, 3]; for codec `raw` a read-only view of its bytes.

    Greyscale becomes three equal channels, transparency and an EXIF rotation are ignored. Raises
    `MessageError`, with the cause, if the bytes are cut short or corrupt, or if they decode to another size
    than the header claims.
    """
    columns, rows = frame.encoded_size()
    if frame.codec == "raw":
        return np.frombuffer(frame.data, np.uint8).reshape(rows, columns, 3)
    image = _sound_jpeg(frame.data) if frame.codec == "jpeg" else None
    if image is None:
        image = _by_opencv(frame)
    if image.shape[:2] != (rows, columns):
        found = f"{image.shape[1]}x{image.shape[0]}"
        raise MessageError(f"the {frame.codec} claims {columns}x{rows} in its header and decodes to {found}")
    return image


def _sound_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """A JPEG's pixels, for three quarters of what OpenCV takes and to the bit the same; None for a doubtful
    one.

    Its faster arithmetic (`fastdct`, `fastupsample`) would take a sixth off again, but the pixels differ by
    up to 60, and poses with them.
    """
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "BGR")
    except ValueError:
        return None
    return image


def _by_opencv(frame: Frame) -> NDArray[np.uint8]:
    """The image that OpenCV makes of the bytes: it mends more than others do, and is the judge of all."""
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
    return image


def in_source(people: Sequence[Person], frame: Frame) -> tuple[Person, ...]:
    """People in pixels of the frame's encoded image as people in pixels of its source, both corner-based."""
    return moved(people, *frame.encoded_size(), view=frame.view)


def moved(
    people: Sequence[Person], columns: int, rows: int, *, view: tuple[float, float, float, float]
) -> tuple[Person, ...]:
    """People in pixels of an image of this size as people in pixels of the picture whose part `view` (x, y,
    w, h) the image shows, both corner-based.
    """
    x, y, width, height = view
    if (x, y, width, height) == (0, 0, columns, rows):
        return tuple(people)
    across, down = width / columns, height / rows
    return tuple(
        Person(
            box=(
                x + person.box[0] * across,
                y + person.box[1] * down,
                x + person.box[2] * across,
                y + person.box[3] * down,
            ),
            score=person.score,
            keypoints=tuple((x + across * px, y + down * py, score) for px, py, score in person.keypoints),
        )
        for person in people
    )
