"""The engine `timed`: it holds a batch for the time that its file says, and other threads go on meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kinestream.errors import ModelError
from kinestream_workers.engines import open_engine

PICTURE = np.zeros((48, 64, 3), np.uint8)


def model(folder: Path, text: str) -> Path:
    path = folder / "slow.timed"
    path.write_text(text)
    return path


def test_it_takes_its_time_finds_nobody_and_holds_up_no_other_thread(tmp_path: Path) -> None:
    engine = open_engine(model(tmp_path, "base_ms = 200\nper_image_ms = 50"))
    batch = engine.new_batch(3)
    for slot in range(3):
        engine.fill(batch, slot, PICTURE)
    found = []
    thread = threading.Thread(target=lambda: found.extend(engine.infer(batch, [0, 2])))
    began_s = time.monotonic()
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
        thread.join(0.001)
    assert time.monotonic() - began_s >= 0.3
    assert turns > 10
    assert found == [(), ()]
    assert engine.description == "timed slow, 200 ms a batch and 50 ms an image, finds nobody"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("what?", "is no timed model"),
        ("base_ms = 1", "must say base_ms and per_image_ms and nothing else"),
        ("base_ms = 1\nper_image_ms = 2\nmore = 3", "and nothing else"),
        ("base_ms = 1\nper_image_ms = -2", "per_image_ms must be milliseconds, 0 or more, got -2"),
        ("base_ms = inf\nper_image_ms = 2", "base_ms must be milliseconds"),
        ("base_ms = true\nper_image_ms = 2", "base_ms must be milliseconds"),
        ("base_ms = 'long'\nper_image_ms = 2", "base_ms must be milliseconds"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        open_engine(model(tmp_path, text))
