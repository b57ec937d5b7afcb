"""`bench/rtmo_s.py`: the graph of RTMO-s's size, which our engine and rtmlib's class run alike."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from kinestream.testcard import TestCard
from kinestream_workers.engines import EngineOptions
from kinestream_workers.engines.rtmo import RtmoEngine

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rtmo_s import rtmo_s

    folder = tmp_path_factory.mktemp("graph")
    path: Path = rtmo_s(folder=folder)
    assert rtmo_s(folder=folder) == path, "built once"
    return path


def test_it_has_the_published_size_and_says_that_it_knows_nothing(graph: Path) -> None:
    from rtmo_s import count

    parameters, multiplications = count(graph)
    assert parameters == pytest.approx(9.9e6, rel=0.01)
    assert sum(multiplications.values()) == pytest.approx(12e9, rel=0.05)
    model = onnx.load(graph, load_external_data=False)
    assert "Random weights" in model.graph.doc_string
    assert "random-weights" in graph.name


def test_our_engine_and_rtmlib_give_the_same(graph: Path) -> None:
    from rtmlib import RTMO

    picture = TestCard.parse("testcard://?athletes=4&motion=walk&size=640x480").draw(0.5)
    engine = RtmoEngine(graph, EngineOptions(threads=1))
    batch = engine.new_batch(2)
    for slot in range(2):
        engine.fill(batch, slot, picture)
    first, second = engine.infer(batch, range(2))
    theirs, scores = RTMO(str(graph), model_input_size=(640, 640), backend="onnxruntime")(picture)
    assert len(first) == 4
    assert first == pytest.approx(second)
    ours = np.array([person.keypoints for person in first])
    np.testing.assert_allclose(ours[..., :2], theirs, atol=0.01)
    np.testing.assert_allclose(ours[..., 2], scores, atol=1e-4)
