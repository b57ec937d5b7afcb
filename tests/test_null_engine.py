"""The engine `null`: nothing is inferred, at once, and nobody found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinestream.errors import EngineError
from kinestream_workers.engines import EngineOptions, open_engine

PICTURE = np.zeros((48, 64, 3), np.uint8)


def test_null_is_a_model_that_finds_nobody() -> None:
    engine = open_engine("null")
    batch = engine.new_batch(3)
    for slot in range(3):
        engine.fill(batch, slot, PICTURE)
    assert engine.infer(batch, [0, 2]) == [(), ()]
    assert engine.description == "null null, computes nothing, finds nobody"
    assert engine.skeleton == "coco17"
    engine.close()


def test_any_file_of_that_ending_is_one(tmp_path: Path) -> None:
    path = tmp_path / "load.null"
    path.write_text("for a load test")
    assert open_engine(path).name == "load"


def test_it_has_no_device() -> None:
    options = EngineOptions(device="cuda", require_device=True)
    with pytest.raises(EngineError, match="cuda did not come up: the engine null computes nothing"):
        open_engine("null", options)
