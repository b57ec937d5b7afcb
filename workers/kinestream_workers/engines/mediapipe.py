"""MediaPipe's pose landmarkers: 33 keypoints a person, with heels and toes, for one or two people.

The model runs in IMAGE mode, where nothing carries over from picture to picture: frames of many cameras come
interleaved, workers are interchangeable, and a frame that is inferred twice must give the same. So there is
none of the tracking and smoothing that MediaPipe's own demos show, which needs one landmarker a camera.

What carries a video over the frames in which its detector fails is missing too. That detector sees any
picture as 224 x 224 pixels, so that in a wide scene it overlooks people, or places them wrongly. A long
picture in which nobody was found, or only people who are a small part of it, is therefore looked at again,
square by square (`squares.py`): three more looks at one of 16:9.

A landmarker takes one picture at a time, on about one core of the CPU: a batch costs what its pictures cost,
and more cores are filled by more workers. MediaPipe has a way of its own to a GPU, which is not offered.

MediaPipe is an extra: only the constructor imports it. Its library writes a few lines to stderr while it
loads, and has no switch for that.

Not for: the RTMO family (`rtmo.py`), nor for other `.task` files, such as those of hands or faces.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError, ModelError
from kinestream.messages import Person
from kinestream.skeletons import BLAZEPOSE33
from kinestream_workers.engines.devices import parse_device
from kinestream_workers.engines.engine import EngineOptions, Image
from kinestream_workers.engines.nms import keep_best
from kinestream_workers.engines.sessions import first_line
from kinestream_workers.engines.squares import Square, squares

logger = logging.getLogger(__name__)

MAX_POSES = 6
"""People that are looked for. It costs nothing where there are fewer; of a group, MediaPipe's detector finds
one or two, so that a larger number finds no more.
"""

MIN_VISIBILITY = 0.5
"""Keypoints that are less visible than this do not count for a person's box. The number is MediaPipe's, which
draws no others: it places all 33 always, and those outside the picture by guess.
"""

MAX_IOU = 0.7
"""How much two people's boxes may overlap, intersection over union: MediaPipe finds some people twice, nearly
at the same place (0.85 and more), and two people overlapped by less than 0.5 in the clips looked at.
"""

_INSTALL = "pip install 'kinestream[mediapipe]'"
_NO_CERTIFICATES = os.devnull


@dataclass(frozen=True, slots=True)
class MediapipeSlot:
    """One picture: its pixels as red, green, blue, and the same as MediaPipe's image."""

    rgb: Image
    image: Any


class MediapipeEngine:
    """One pose landmarker (see `kinestream_workers.engines.Engine` for the methods).

    Raises `ModelError` if the file is no pose landmarker, `EngineError` if MediaPipe is not installed or does
    not load, or if a required device is not the CPU, `UsageError` for an unknown device.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".task",)

    def __init__(self, path: Path, options: EngineOptions) -> None:
        _check_device(options)
        self._mediapipe = _import_mediapipe()
        self._landmarker = _open_landmarker(self._mediapipe, path)
        self.name = path.stem
        self.skeleton = BLAZEPOSE33.name

    @property
    def description(self) -> str:
        """E.g. `mediapipe pose_landmarker_lite on CPU, one image at a time, up to 6 people`."""
        return f"mediapipe {self.name} on CPU, one image at a time, up to {MAX_POSES} people"

    def new_batch(self, size: int) -> list[MediapipeSlot | None]:
        """Slots for `size` images, all empty."""
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        return [None] * size

    def fill(self, batch: list[MediapipeSlot | None], slot: int, image: Image) -> None:
        """Put an image into its slot, as MediaPipe wants it."""
        rgb: Any = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        batch[slot] = MediapipeSlot(rgb, self._image(rgb))

    def infer(self, batch: list[MediapipeSlot | None], slots: Sequence[int]) -> list[tuple[Person, ...]]:
        """People of these slots, one image after another; MediaPipe gives up the GIL meanwhile."""
        filled = [content for slot in slots if (content := batch[slot]) is not None]
        if len(filled) != len(slots):
            raise ValueError("a slot that was never filled cannot be inferred")
        return [self._people(content) for content in filled]

    def close(self) -> None:
        """Close the landmarker, which ends its threads."""
        self._landmarker.close()

    def _people(self, slot: MediapipeSlot) -> tuple[Person, ...]:
        height, width = slot.rgb.shape[:2]
        people = self._detect(slot.image)
        parts = squares(width, height)
        if parts and all(_length(person) <= parts[0].fits for person in people):
            people = self._in_squares(slot.rgb, parts) or people
        return _best_first(people)

    def _in_squares(self, rgb: Image, parts: Sequence[Square]) -> list[Person]:
        """The people in the squares of a picture, in pixels of the picture."""
        people = []
        for square in parts:
            pixels = rgb[square.y : square.y + square.side, square.x : square.x + square.side]
            for person in self._detect(self._image(np.ascontiguousarray(pixels)), square.x, square.y):
                x1, y1, x2, y2 = person.box
                if square.owns((x1 + x2) / 2, (y1 + y2) / 2):
                    people.append(person)
        return people

    def _detect(self, image: Any, left: int = 0, top: int = 0) -> list[Person]:
        """People in one of MediaPipe's images, which lies at (left, top) of the picture."""
        try:
            found = self._landmarker.detect(image).pose_landmarks
        except Exception as error:  # MediaPipe's errors have no base of their own
            raise EngineError(f"{self.name} failed on an image: {first_line(error)}") from error
        size, corner = (image.width, image.height), (left, top)
        return [_person(_landmarks(pose), size, corner) for pose in found]

    def _image(self, rgb: Image) -> Any:
        """MediaPipe's image of contiguous pixels; it keeps a copy."""
        return self._mediapipe.Image(self._mediapipe.ImageFormat.SRGB, rgb)


def _length(person: Person) -> float:
    x1, y1, x2, y2 = person.box
    return max(x2 - x1, y2 - y1)


def _best_first(people: Sequence[Person]) -> tuple[Person, ...]:
    """Without those who were found twice."""
    if not people:
        return ()
    boxes = np.array([person.box for person in people], np.float32)
    scores = np.array([person.score for person in people], np.float32)
    return tuple(people[index] for index in keep_best(boxes, scores, min_score=-1, max_iou=MAX_IOU))


def _landmarks(pose: Sequence[Any]) -> NDArray[np.float64]:
    """MediaPipe's landmarks of one person as [33, 3]: x and y from 0 to 1 where they lie in the picture, and
    visibility.
    """
    landmarks = np.array([(point.x, point.y, point.visibility) for point in pose], float)
    if landmarks.shape != (len(BLAZEPOSE33.names), 3) or not np.isfinite(landmarks).all():
        raise EngineError(f"wanted {len(BLAZEPOSE33.names)} finite landmarks a person, got {len(pose)}")
    return landmarks


def _person(landmarks: NDArray[np.float64], size: tuple[int, int], corner: tuple[int, int]) -> Person:
    """A person in pixels of the picture; MediaPipe's image is the part of it at `corner` with `size` (width,
    height).

    MediaPipe's 0 is the left or upper edge of the picture and its 1 the right or lower edge, so the products
    are corner-based as they are. A keypoint's score is its visibility. The score of the person is the mean of
    them, since MediaPipe does not tell its own, and the box reaches around the keypoints that are visible: it
    ends at the eyes and the toes, not at the outline.
    """
    points = landmarks[:, :2] * size + corner
    visibility = landmarks[:, 2].clip(0, 1)
    seen = visibility >= MIN_VISIBILITY
    around = points[seen] if seen.any() else points
    (x1, y1), (x2, y2) = around.min(axis=0).tolist(), around.max(axis=0).tolist()
    rows = zip(points.tolist(), visibility.tolist(), strict=True)
    return Person(
        box=(x1, y1, x2, y2),
        score=float(visibility.mean()),
        keypoints=tuple((x, y, score) for (x, y), score in rows),
    )


def _check_device(options: EngineOptions) -> None:
    device = parse_device(options.device, [])
    if device is None:
        return
    if options.require_device:
        raise EngineError(f"{device.name} did not come up: the engine mediapipe runs on the CPU only")
    logger.warning("%s: the engine mediapipe runs on the CPU only; using the CPU", device.name)


def _import_mediapipe() -> Any:
    try:
        import mediapipe
        import mediapipe.tasks.python.vision
    except ImportError as error:
        raise EngineError(f"MediaPipe cannot be imported ({first_line(error)}): {_INSTALL}") from error
    return mediapipe


def _open_landmarker(mediapipe: Any, path: Path) -> Any:
    vision = mediapipe.tasks.vision

    class Options(mediapipe.tasks.BaseOptions):  # type: ignore[misc]
        """MediaPipe's own, without the certificates of those whom it would report to.

        When a landmarker is closed, MediaPipe reports how it was used to its maker: counts, times, versions;
        never pictures. There is no switch for it. A camera pipeline must not talk to strangers unasked.
        Without certificates it trusts no server, so the connection to play.googleapis.com ends with the
        greeting and the report is not sent. That it connects at all, only a firewall can prevent.
        """

        def to_ctypes(self) -> Any:
            options = super().to_ctypes()
            options.ca_bundle_path = _NO_CERTIFICATES.encode()
            return options

    options = vision.PoseLandmarkerOptions(
        base_options=Options(model_asset_path=str(path)),
        running_mode=vision.RunningMode.IMAGE,
        num_poses=MAX_POSES,
    )
    try:
        return vision.PoseLandmarker.create_from_options(options)
    except OSError as error:
        if isinstance(error, FileNotFoundError):  # what MediaPipe calls a bundle without one of its files
            raise _no_landmarker(path, error) from error
        # Its library needs libEGL and libGLESv2, even on the CPU.
        raise EngineError(
            f"MediaPipe does not load: {first_line(error)} (on Debian: apt install libegl1 libgles2)"
        ) from error
    except Exception as error:  # MediaPipe's errors have no base of their own
        raise _no_landmarker(path, error) from error


def _no_landmarker(path: Path, error: Exception) -> ModelError:
    return ModelError(f"MediaPipe cannot load {path} as a pose landmarker: {first_line(error)}")
