"""`--mode`: what the names of qualities mean in one stage and in two, and what does not go together."""

from __future__ import annotations

import pytest
from rtmlib.tools.solution.body import Body
from rtmlib.tools.solution.body_with_feet import BodyWithFeet

from kinestream.errors import UsageError
from kinestream_workers.modes import MODES, TWO_STAGES, engine_in_mode, in_mode
from kinestream_workers.zoo import HALPE, NAMES, PAIRS, zoo_model


@pytest.mark.parametrize("model", [*NAMES, "auto", "testcard", "people.onnx", "./rtmo-s"])
def test_without_a_mode_a_name_is_itself(model: str) -> None:
    assert in_mode(model, None) == model


@pytest.mark.parametrize("quality", Body.MODE)
def test_a_quality_is_what_rtmlib_takes_for_it(quality: str) -> None:
    assert in_mode(quality, "rtmo") == quality
    assert zoo_model(in_mode(quality, "rtmo")).urls[0] == Body.RTMO_MODE[quality]["pose"]
    name = in_mode(quality, "rtmpose")
    for pair, theirs in ((name, Body), (name + HALPE, BodyWithFeet)):
        model = zoo_model(pair)
        assert model.quality == quality and model.urls[0] == theirs.MODE[quality]["pose"]
        assert model.detector and zoo_model(model.detector).urls[0] == theirs.MODE[quality]["det"]


def test_auto_stays_open_in_one_stage_and_is_the_smallest_in_two() -> None:
    assert in_mode("auto", "rtmo") == "auto"
    assert in_mode("auto", "rtmpose") == in_mode("lightweight", "rtmpose") == "rtmpose-s"


def test_a_models_own_name_and_a_path_are_what_they_are() -> None:
    assert {in_mode(name, "rtmpose") for name in PAIRS} == set(PAIRS) > set(TWO_STAGES.values())
    assert in_mode("rtmo-t", "rtmo") == "rtmo-t" and in_mode("testcard", "rtmo") == "testcard"
    assert in_mode("models/people.rtmpose", "rtmo") == "models/people.rtmpose"


@pytest.mark.parametrize(
    ("model", "mode", "complaint"),
    [
        ("rtmo-m", "rtmpose", "rtmo-m is no model of the mode rtmpose, which has rtmpose-s, "),
        ("testcard", "rtmpose", "testcard is no model of the mode rtmpose"),
        ("null", "rtmpose", "null is no model of the mode rtmpose"),
        ("rtmpose-s-halpe26", "rtmo", "rtmpose-s-halpe26 is no model of the mode rtmo, which has rtmo-t, "),
        ("rtmo-s", "rtmo3", "mode must be rtmo or rtmpose, got 'rtmo3'"),
    ],
)
def test_what_does_not_go_together(model: str, mode: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=f"^{complaint}"):
        in_mode(model, mode)


def test_a_mode_is_an_engine() -> None:
    assert [engine_in_mode(None, mode) for mode in (None, *MODES)] == [None, "rtmo", "rtmpose"]
    assert engine_in_mode("mediapipe", None) == "mediapipe" and engine_in_mode("rtmo", "rtmo") == "rtmo"
    with pytest.raises(UsageError, match="the mode rtmpose is the engine rtmpose, and the engine rtmo was"):
        engine_in_mode("rtmo", "rtmpose")
