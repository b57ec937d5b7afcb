"""MJPEG from standard input: every picture once, as soon as it is complete, whatever stands between them."""

from __future__ import annotations

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cameras import jpegs as card_jpegs
from kinestream.errors import SourceError
from kinestream_ingest.sources import NoPicture
from kinestream_ingest.sources.stdin import StdinSource, jpegs


class Trickle(io.BytesIO):
    """Gives a few bytes at a time, as pipes may."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(self._size)


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_every_picture_however_it_comes(size: int) -> None:
    pictures = card_jpegs()[:2]
    if size == 1:
        pictures = [bytes(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].data)] * 2
    data = b"--frame\r\n\r\n".join([b"", *pictures, b"\xff\xd8"])
    assert [*jpegs(Trickle(data, size))] == pictures


def test_a_thumbnail_within_is_no_picture_of_its_own() -> None:
    inner = card_jpegs()[0][:60_000]
    outer = card_jpegs()[1]
    segment = b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner
    whole = outer[:2] + segment + outer[2:]
    assert [*jpegs(io.BytesIO(whole + outer))] == [whole, outer]


def test_what_is_broken_is_passed_over() -> None:
    good = card_jpegs()[0]
    assert [*jpegs(io.BytesIO(b"\xff\xd8\xff\xe0\x00\x04ab!!" + good))] == [good]


def test_a_source(capfd: pytest.CaptureFixture[str]) -> None:
    pictures = card_jpegs()
    without = pictures[1][: pictures[1].index(b"\xff\xda")] + pictures[1][-4:]
    stream = io.BytesIO(pictures[0] + without + pictures[2])
    source = StdinSource("playback", timeout_s=20, stream=stream)
    assert (source.width, source.height, source.name) == (640, 360, "stdin")
    shapes = []
    for frame in source:
        try:
            shapes.append(frame.picture("").shape)
        except NoPicture as error:
            shapes.append(error.cause)
    assert shapes[0] == shapes[-1] == (360, 640, 3)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff\xe0"])
def test_nothing_comes(data: bytes) -> None:
    with pytest.raises(SourceError, match="standard input gives no MJPEG: it ended before a picture came"):
        StdinSource(timeout_s=20, stream=io.BytesIO(data))


def test_through_a_pipe(redis_url: str) -> None:
    words = [sys.executable, "-m", "kinestream", "ingest", "-", "--camera", "piped", "--lane", "every-frame"]
    done = subprocess.run(
        [*words, "--redis", redis_url], input=b"".join(card_jpegs()), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert b"piped: 10 produced = " in done.stdout
