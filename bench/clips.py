"""Films made into what the cameras of `gym.py` send: encoded pictures in files, or raw ones in one file.

Not for: sending them.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.video import read_video


def pictures(film: Path, count: int, width: int, height: int) -> list[NDArray[np.uint8]]:
    """The first `count` pictures of a film, fitted into this size with black beside them."""
    made = []
    for frame in read_video(film):
        scale = min(width / frame.image.shape[1], height / frame.image.shape[0])
        size = int(frame.image.shape[1] * scale), int(frame.image.shape[0] * scale)
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        made.append(canvas)
        if len(made) == count:
            break
    return made


def write_h264(folder: Path, images: list[NDArray[np.uint8]], fps: int) -> None:
    """One access unit a file, with a keyframe every second, as IP cameras have it."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = images[0].shape[:2]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, fps), Fraction(fps)
    options = f"keyint={fps}:scenecut=0:sliced-threads=0"
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", "crf": "23", "x264-params": options}
    folder.mkdir(parents=True)
    (folder / "fps").write_text(str(fps))
    units: list[bytes] = []
    for number, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
        frame.pts = number
        units += map(bytes, encoder.encode(frame))
    units += [bytes(packet) for packet in encoder.encode(None)]
    for number, unit in enumerate(units):
        (folder / f"{number:04}").write_bytes(unit)


def write_jpegs(folder: Path, images: list[NDArray[np.uint8]], fps: int) -> None:
    """One JPEG a file."""
    folder.mkdir(parents=True)
    (folder / "fps").write_text(str(fps))
    for number, image in enumerate(images):
        (folder / f"{number:04}").write_bytes(bytes(cv2.imencode(".jpg", image)[1].data))


def write_raw(file: Path, images: list[NDArray[np.uint8]]) -> None:
    """I420, one picture after another."""
    with file.open("wb") as out:
        for image in images:
            out.write(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())
