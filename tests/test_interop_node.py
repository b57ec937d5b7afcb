"""A stock msgpack library of another language, npm's @msgpack/msgpack, reads and writes both messages."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kinestream.fields import MAX_INTEGER
from kinestream.messages import Frame, PoseResult
from kinestream.packing import packed_fields
from samples import frame, person, result

FOLDER = Path(__file__).parent / "node"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="needs node on PATH"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / "@msgpack" / "msgpack").is_dir(),
        reason="needs tests/node/node_modules: npm install --prefix tests/node --no-package-lock",
    ),
]


def node(task: str, given: bytes) -> bytes:
    """Run messages.mjs with `given` on its standard input; returns its standard output."""
    assert NODE
    done = subprocess.run(
        [NODE, FOLDER / "messages.mjs", task], input=given, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def read(packed: bytes) -> dict[str, Any]:
    """What Node sees in packed bytes."""
    seen: dict[str, Any] = json.loads(node("read", packed))
    return seen


def bytes_in_json(data: bytes) -> dict[str, str]:
    """How messages.mjs shows bytes."""
    return {"base64": base64.b64encode(data).decode()}


def encoded_picture() -> bytes:
    """A real JPEG, with every value of a byte in it."""
    noise = np.random.default_rng(3).integers(0, 255, (720, 640, 3)).astype(np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    assert set(data) == set(range(256))
    return data


FRAMES = [
    frame(data=encoded_picture()),
    frame(run=MAX_INTEGER, seq=MAX_INTEGER, captured_us=MAX_INTEGER, media_time_s=None, lane="every-frame"),
]
RESULTS = [
    result(people=(person(score=1.0), person(keypoints=tuple((0.1 * i, -3.0, 1e-9) for i in range(17))))),
    PoseResult(camera="c", run=MAX_INTEGER, seq=3, seq_to=9, status="dropped", cause="keine Luft — 静か 🏃"),
    PoseResult(camera="c", run=1, seq=300, status="end", lost_from=290),
]


@pytest.mark.parametrize("sent", FRAMES)
def test_node_reads_every_field_of_a_frame(sent: Frame) -> None:
    expected = {"version": 1} | {name: getattr(sent, name) for name in packed_fields(Frame)}
    assert read(sent.pack()) == expected | {"view": list(sent.view), "data": bytes_in_json(sent.data)}


@pytest.mark.parametrize("sent", RESULTS)
def test_node_reads_every_field_of_a_result(sent: PoseResult) -> None:
    seen = read(sent.pack())
    assert seen == json.loads(json.dumps(sent.as_dict()))
    assert PoseResult.from_dict(seen) == sent


@pytest.mark.parametrize("wanted", FRAMES)
def test_python_accepts_a_frame_that_node_writes(wanted: Frame) -> None:
    message = {"version": 1} | {name: getattr(wanted, name) for name in packed_fields(Frame)}
    packed = node("write", json.dumps(message | {"data": bytes_in_json(wanted.data)}).encode())
    got = Frame.unpack(packed)
    assert got == wanted
    assert {type(number) for number in got.view} == {float}  # Node packs 720.0 as an integer


@pytest.mark.parametrize("wanted", RESULTS)
def test_python_accepts_a_result_that_node_writes(wanted: PoseResult) -> None:
    assert PoseResult.unpack(node("write", json.dumps(wanted.as_dict()).encode())) == wanted


def test_a_frame_that_node_writes_with_nothing_but_what_is_required() -> None:
    message = {
        "version": 1,
        "camera": "js",
        "run": 7,
        "seq": 0,
        "captured_us": 1_790_000_000_000_000,
        "width": 2,
    }
    message |= {
        "height": 1,
        "view": [0, 0, 2, 1],
        "codec": "raw",
        "lane": "live",
        "data": bytes_in_json(b"bgrBGR"),
    }
    got = Frame.unpack(node("write", json.dumps(message).encode()))
    assert (got.camera, got.captured_us, got.data) == ("js", 1_790_000_000_000_000, b"bgrBGR")
    assert (got.media_time_s, got.encoded_ms) == (None, 0.0)
