"""A valid message of each kind, with changes, and ways to break its packed map.

Not for: frames whose image is decoded (see `frames.py`).
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgpack
import pytest

from headers import jpeg_header
from kinestream.errors import MessageError
from kinestream.messages import Frame, Person, PoseResult

RUN = 1_700_000_000


def frame(**changes: Any) -> Frame:
    """A valid frame with `changes`."""
    values: dict[str, Any] = {
        "camera": "pitch-1",
        "run": RUN,
        "seq": 41,
        "captured_us": 1_700_000_000_123_456,
        "width": 1280,
        "height": 720,
        "view": (320.0, 0.0, 640.5, 720.0),
        "codec": "jpeg",
        "data": jpeg_header(640, 720),
        "lane": "live",
        "media_time_s": 1.3666666666666667,
        "encoded_ms": 2.25,
        "clock": "camera",
    }
    return Frame(**values | changes)


def person(**changes: Any) -> Person:
    """A valid person of 17 keypoints with `changes`."""
    values: dict[str, Any] = {
        "box": (10.5, 20.25, 110.0, 320.75),
        "score": 0.87,
        "keypoints": tuple((10.0 + i, 20.1 * i, i / 17) for i in range(17)),
    }
    return Person(**values | changes)


def result(**changes: Any) -> PoseResult:
    """A valid `ok` result of two people with `changes`."""
    values: dict[str, Any] = {
        "camera": "pitch-1",
        "run": RUN,
        "seq": 41,
        "status": "ok",
        "captured_us": 1_700_000_000_123_456,
        "media_time_s": 1.3666666666666667,
        "width": 1280,
        "height": 720,
        "model": "testcard",
        "skeleton": "coco17",
        "people": (person(), person(score=0.5)),
        "timings": {"encoded": 2.25, "queued": 1.0, "inferred": 30.5},
        "worker": "worker-1",
        "batch": 3,
        "clock": "arrival",
    }
    return PoseResult(**values | changes)


def plain(message: Frame | PoseResult) -> dict[str, Any]:
    """The message as another language's library would show it."""
    unpacked: dict[str, Any] = msgpack.unpackb(message.pack())
    return unpacked


def with_field(message: Frame | PoseResult, name: str, value: bytes) -> bytes:
    """The message with one more field, whose value is packed already."""
    fields = plain(message)
    packer = msgpack.Packer(autoreset=False)
    packer.pack_map_header(len(fields) + 1)
    for item in chain.from_iterable(fields.items()):
        packer.pack(item)
    packer.pack(name)
    return bytes(packer.bytes()) + value


def refused(message: Frame | PoseResult, **changes: Any) -> str:
    """Pack the message's map with `changes`, let its own class read it, and return the error's text."""
    with pytest.raises(MessageError) as caught:
        type(message).unpack(msgpack.packb(plain(message) | changes))
    text = str(caught.value)
    assert len(text) < 300
    assert "\n" not in text
    return text
