"""A webcam as a source: its pictures as they come, stamped when OpenCV gives them.

Not for: opening it (see `kinestream.webcam`), nor opening it again when it was unplugged (see `feed.py`).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

from kinestream.errors import SourceError, UsageError
from kinestream.video import Image
from kinestream.webcam import Webcam, open_webcam
from kinestream_ingest.pacing import Pace
from kinestream_ingest.sources.readahead import TIMEOUT_S, ReadAhead
from kinestream_ingest.sources.source import Away, SourceFrame, camera_name

_log = logging.getLogger(__name__)


class WebcamSource:
    """The webcam that `text` names: `0`, `/dev/video0`, or `webcam://0?size=1280x720&fps=30&format=MJPG`.

    Pace `camera`, the default, lets the newest picture win. Raises `Away` if it cannot be opened or gives
    no picture within `timeout_s` seconds.
    """

    live = True
    returns = True
    clock = "arrival"
    frames = None

    def __init__(self, text: str, pace: Pace | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        device, wishes = _parse(text)
        try:
            webcam = open_webcam(device, **wishes)
        except SourceError as error:
            raise Away(str(error)) from None
        _log.info("%s", webcam.summary)
        self.name = _name(device)
        self.description = f"webcam {device}, {webcam.granted}"
        self.fps = webcam.granted.fps
        self._ahead = ReadAhead(
            lambda closed: _pictures(webcam, closed),
            newest_wins=pace in (None, "camera"),
            timeout_s=timeout_s,
            label=f"webcam {device}",
        )
        try:
            self.height, self.width = self._ahead.first().picture("").shape[:2]
        except SourceError as error:
            raise Away(f"cannot watch webcam {device}: {error}") from None

    def repeats(self) -> Iterator[SourceFrame]:
        """Nothing: every picture is new."""
        yield from ()

    def __iter__(self) -> Iterator[SourceFrame]:
        return iter(self._ahead)

    def close(self) -> None:
        """End the iteration at once; the webcam is given back after its next picture."""
        self._ahead.close()


def _pictures(webcam: Webcam, closed: Callable[[], bool]) -> Generator[SourceFrame]:
    with webcam:
        while not closed():
            image = webcam.read()
            yield SourceFrame(picture=partial(_given, image), captured_us=time.time_ns() // 1000)


def _given(image: Image, label: str) -> Image:
    return image


def webcam_name(text: str) -> str:
    """What its camera is called unless somebody says otherwise."""
    device, _ = _parse(text)
    return _name(device)


def _name(device: int | str) -> str:
    return f"webcam-{device}" if isinstance(device, int) else camera_name(device.rpartition("/")[2])


def _parse(text: str) -> tuple[int | str, dict[str, Any]]:
    """The device, and the wishes as `open_webcam` takes them."""
    place, _, query = text.removeprefix("webcam://").partition("?")
    wishes: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "size" and (found := re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)):
            wishes |= {"width": int(found[1]), "height": int(found[2])}
        elif name == "fps" and re.fullmatch(r"\d+(\.\d+)?", value):
            wishes["fps"] = float(value)
        elif name == "format":
            wishes["format"] = value
        else:
            raise UsageError(
                f"unknown webcam option {name}={value}; there are size=1280x720, fps=30 and format=MJPG"
            )
    place = unquote(place)
    if not place.isdecimal() and not place.startswith("/"):
        raise SourceError(f"a webcam is a number or a device path, as in webcam://0, got {place or 'none'}")
    return int(place) if place.isdecimal() else place, wishes
